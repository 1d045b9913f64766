# SPDX-License-Identifier: Apache-2.0
"""Every hand's configuration agrees with its URDF, its hardware, its palm and the arms it can be mounted on."""
from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dex_core.config import HardwareJoint, JointLimit, RobotConfig, SideConfig, find_share, load_cell, load_robot, read_description
from dex_core.errors import ConfigError
from dex_core.kinematics import HandKinematics, load_hand
from dex_core.kinematics.tree import rotation_rpy

HANDS = sorted(path.stem for path in find_share("config", "hands").glob("*.yaml"))
ARMS = sorted(path.stem for path in find_share("config", "arms").glob("*.yaml"))
CASES = [(name, side) for name in HANDS for side in ("left", "right")]
GRIPPERS = {"panda_gripper"}

each_hand = pytest.mark.parametrize("name", HANDS)
each_side = pytest.mark.parametrize("name, side", CASES)


@cache
def config(name: str, side: str = "right") -> RobotConfig:
    return load_robot(name).for_side(side)


@cache
def hand(name: str, side: str, coupling: str = "") -> HandKinematics:
    return load_hand(name, side, coupling=coupling)


@cache
def urdf_limits(name: str, side: str) -> dict[str, dict[str, float]]:
    tree = ElementTree.fromstring(read_description(config(name).urdf, side))
    return {j.get("name"): {k: float(v) for k, v in j.find("limit").attrib.items()} for j in tree.findall("joint") if j.find("limit") is not None}


def units(robot: RobotConfig, joint: str, q: float) -> float:
    limit, map_ = robot.limits[joint], robot.hardware[joint]
    return map_.at_lower + (q - limit.lower_rad) / (limit.upper_rad - limit.lower_rad) * (map_.at_upper - map_.at_lower)


def radians(limit: JointLimit, map_: HardwareJoint, counted: float) -> float:
    return limit.lower_rad + (counted - map_.at_lower) / (map_.at_upper - map_.at_lower) * (limit.upper_rad - limit.lower_rad)


def opened(kinematics: HandKinematics) -> np.ndarray:
    if len(kinematics.names) == 1:  # a gripper is closed at zero
        return kinematics.upper_rad
    return np.clip(np.zeros(len(kinematics.names)), kinematics.lower_rad, kinematics.upper_rad)


def in_palm(name: str, side: str, q: np.ndarray) -> dict[str, np.ndarray]:
    """finger -> (3,) tip in the palm frame."""
    frame = config(name).palm[side]
    link = hand(name, side).pose(q, frame.link)
    rotation = link[:3, :3] @ rotation_rpy(frame.rpy_rad)
    origin = link[:3, 3] + link[:3, :3] @ np.array(frame.xyz_m)
    return dict(zip(hand(name, side).fingers, (hand(name, side).fingertips(q) - origin) @ rotation, strict=True))


@each_side
def test_limits_lie_inside_the_urdf(name: str, side: str) -> None:
    for joint, limit in config(name, side).limits.items():
        urdf = urdf_limits(name, side)[joint]
        assert urdf["lower"] - 1e-6 <= limit.lower_rad < limit.upper_rad <= urdf["upper"] + 1e-6, joint
        assert limit.upper_rad - limit.lower_rad > 0.6 * (urdf["upper"] - urdf["lower"]), joint
        assert urdf["effort"] > 0.0 and urdf["velocity"] > 0.0, f"{joint}: a placeholder of zero forbids motion"
        assert limit.effort_nm is not None, joint
        assert limit.step_rad <= 1.2 * (limit.upper_rad - limit.lower_rad), joint
        assert 0.005 <= limit.velocity_rad_s / limit.acceleration_rad_s2 <= 0.5, f"{joint}: full speed takes so many seconds"


@each_side
def test_hardware_units_map_there_and_back(name: str, side: str) -> None:
    robot = config(name, side)
    if not robot.hardware:
        pytest.skip(f"{name} counts in radians")
    assert robot.hardware_unit
    for joint, map_ in robot.hardware.items():
        limit = robot.limits[joint]
        assert abs(map_.at_upper - map_.at_lower) > 1e-3, joint
        for q in np.linspace(limit.lower_rad, limit.upper_rad, 5):
            assert radians(limit, map_, units(robot, joint, q)) == pytest.approx(q, abs=1e-9), joint


@pytest.mark.parametrize("name, joint, q, counted", [
    ("ability", "index_q1", math.pi / 2.0, 90.0), ("ability", "thumb_q2", 0.0, 0.0), ("ability", "thumb_q1", -math.pi / 2.0, -90.0),
    ("inspire", "index_proximal_joint", 0.0, 1000.0), ("inspire", "index_proximal_joint", 1.47, 0.0),
    ("xhand1", "hand_index_joint1", 1.0, 1.0), ("xhand1", "hand_thumb_rota_joint1", -0.5, -0.5),
    ("dexh13", "thumb_joint_0", -math.pi / 9.0, -20.0), ("dexh13", "index_joint_1", math.pi / 3.0, 60.0),
    ("leap", "1", 0.0, 2048.0), ("leap", "1", math.pi / 2.0, 3072.0), ("leap", "12", math.pi / 2.0, 3072.0),
])
@pytest.mark.parametrize("side", ("left", "right"))
def test_hardware_counts_as_its_manual_says(name: str, side: str, joint: str, q: float, counted: float) -> None:
    assert units(config(name, side), joint, q) == pytest.approx(counted, abs=1e-5)


@pytest.mark.parametrize("side", ("left", "right"))
@pytest.mark.parametrize("name, joint, finger, open_units, closed_units", [
    ("ability", "middle_q1", "middle", 0.0, 90.0), ("inspire", "middle_proximal_joint", "middle", 1000.0, 200.0),
    ("xhand1", "hand_mid_joint1", "middle", 0.0, 1.4), ("dexh13", "middle_joint_1", "middle", 0.0, 80.0), ("leap", "5", "middle", 2048.0, 2900.0),
])
def test_hardware_closes_where_it_counts_to(name: str, side: str, joint: str, finger: str, open_units: float, closed_units: float) -> None:
    robot, kinematics = config(name, side), hand(name, side)
    q, travel = opened(kinematics), []
    for counted in (open_units, closed_units):
        q[robot.actuated.index(joint)] = radians(robot.limits[joint], robot.hardware[joint], counted)
        travel.append(in_palm(name, side, q)[finger][0])
    assert travel[1] - travel[0] > 0.03


@each_side
def test_palm_frame_points_where_the_fingers_close_to(name: str, side: str) -> None:
    if name in GRIPPERS:
        pytest.skip("a gripper's fingers do not curl")
    kinematics, robot = hand(name, side), config(name, side)
    closed = opened(kinematics)
    for finger in (entry for key, entry in robot.fingers.items() if key != "thumb"):
        for joint in finger.joints:  # a joint that flexes has nearly all of its range on one side of zero; one that spreads has not
            column = robot.actuated.index(joint)
            ends = kinematics.lower_rad[column], kinematics.upper_rad[column]
            far = max(ends, key=abs)
            if abs(far) > 1.6 * min(abs(end) for end in ends):
                closed[column] = 0.6 * far
    before, after = in_palm(name, side, opened(kinematics)), in_palm(name, side, closed)
    for finger in before.keys() - {"thumb"}:
        assert after[finger][0] - before[finger][0] > 0.02, f"{finger} closes towards +X"
        assert before[finger][2] > 2.0 * abs(before[finger][0]) and before[finger][2] > 0.05, f"{finger} lies along +Z"
        assert after[finger][2] < before[finger][2], finger


@each_side
def test_thumb_is_on_its_side_of_the_palm(name: str, side: str) -> None:
    places = in_palm(name, side, opened(hand(name, side)))
    others = [place[1] for finger, place in places.items() if finger != "thumb"]
    outwards = 1.0 if side == "right" else -1.0
    assert outwards * (places["thumb"][1] - max(others, key=lambda y: outwards * y)) > 0.01
    if name not in GRIPPERS:
        assert sorted(others, key=lambda y: -outwards * y) == others, "index is next to the thumb, the little finger furthest"


@each_side
def test_metis_wrist_stands_to_the_palm_as_metis_says(name: str, side: str) -> None:
    robot = config(name)
    q = opened(hand(name, side))
    palm, wrist = (
        hand(name, side).pose(q, frame.link)[:3, :3] @ rotation_rpy(frame.rpy_rad) for frame in (robot.palm[side], robot.metis_wrist[side])
    )
    away = 1.0 if side == "left" else -1.0
    expected = np.stack([away * palm[:, 2], -palm[:, 0], -away * palm[:, 1]], axis=1)
    assert wrist == pytest.approx(expected, abs=2e-3)
    assert np.linalg.det(wrist) == pytest.approx(1.0)


@each_side
def test_is_mounted_on_every_arm(name: str, side: str) -> None:
    robot = config(name)
    assert set(robot.mounts) == set(ARMS) | {"xarm7", "fr3", "panda", "g1"}
    q = opened(hand(name, side))
    palm = hand(name, side).pose(q, robot.palm[side].link)[:3, :3] @ rotation_rpy(robot.palm[side].rpy_rad)
    grasp = (robot.grasp or robot.palm)[side]
    grasping = hand(name, side).pose(q, grasp.link)[:3, :3] @ rotation_rpy(grasp.rpy_rad)
    for arm, mount in ((arm, sides[side]) for arm, sides in robot.mounts.items()):
        outwards = np.eye(3)[0 if arm == "g1" else 2]
        fingers, grasps = (rotation_rpy(mount.rpy_rad) @ axes[:, 2] @ outwards for axes in (palm, grasping))
        assert fingers > 0.8 and max(fingers, grasps) > 0.999, f"on {arm} the fingers, or on a wedge the grasp frame, point away from the flange"
        assert 0.0 <= mount.xyz_m @ outwards <= 0.2, f"on {arm} the hand stands on the flange"


@pytest.mark.parametrize("side", ("left", "right"))
def test_inspire_is_mounted_as_in_the_cell(side: str) -> None:
    assert load_cell("xarm_bimanual").interface(f"{side}_hand").mount == config("inspire").mounts["xarm7"][side]


@each_hand
def test_every_block_says_where_it_comes_from(name: str) -> None:
    robot = config(name)
    wanted = {"position", "velocity", "acceleration", "step", "effort", "palm", "metis_wrist", "mounts"}
    wanted |= {block for block in ("hardware", "couplings") if getattr(robot, block)}
    assert wanted <= set(robot.sources)
    assert all(len(words) > 3 for words in robot.sources.values())


@each_side
def test_couplings_are_alternatives_of_one_hand(name: str, side: str) -> None:
    robot = config(name, side)
    if not robot.couplings:
        pytest.skip(f"{name} has no alternative couplings")
    usual = hand(name, side)
    middle = 0.5 * (usual.lower_rad + usual.upper_rad)
    for coupling in robot.couplings:
        other = hand(name, side, coupling)
        assert other.names == usual.names
        assert np.linalg.norm(other.fingertips(middle) - usual.fingertips(middle), axis=1).max() < 0.06


@pytest.mark.parametrize("name, coupling", [("ability", "linear"), ("inspire", "dex_urdf"), ("dexh13", "one_to_one")])
@pytest.mark.parametrize("side", ("left", "right"))
def test_the_usual_coupling_is_the_urdfs(name: str, coupling: str, side: str) -> None:
    usual, named = hand(name, side), hand(name, side, coupling)
    for q in np.random.default_rng(3).uniform(usual.lower_rad, usual.upper_rad, (10, len(usual.names))):
        assert named.fingertips(q) == pytest.approx(usual.fingertips(q), abs=1e-12)


@pytest.mark.parametrize("degrees, driven_rad", [(0.0, 0.71101), (30.0, 1.27581), (60.0, 1.87288), (90.0, 2.38589), (99.0, None)])
def test_abilitys_linkage_gives_the_makers_angles(degrees: float, driven_rad: float | None) -> None:
    linkage, linear = hand("ability", "right", "four_bar"), hand("ability", "right")
    q = np.zeros(6)
    q[0] = math.radians(degrees)
    turned = linkage.pose(q, "index_L2")[:3, :3].T @ linear.pose(q, "index_L2")[:3, :3]
    difference = math.atan2(turned[1, 0], turned[0, 0])  # how far the linear coupling turns the distal link beyond the linkage
    assert abs(math.degrees(difference)) < 2.4
    if driven_rad is not None:
        assert 1.05851325 * q[0] + 0.72349796 - difference == pytest.approx(driven_rad, abs=1e-5)


def test_names_people_use_are_known() -> None:
    assert load_robot("xhand") == config("xhand1")
    assert load_robot("paxini") == config("dexh13")


def test_what_is_different_on_a_side_replaces_what_is_usual() -> None:
    leap = load_robot("leap")
    left, right = leap.for_side("left"), leap.for_side("right")
    assert (left.limits["12"].lower_rad, right.limits["12"].lower_rad) == (-2.094, -0.349)
    assert left.limits["0"] == right.limits["0"] and left.by_side is None
    assert load_robot("allegro").for_side("left").fingers["index"].tip == load_robot("allegro").fingers["ring"].tip
    assert "left_palm_fold" in load_robot("svh").for_side("left").couplings
    with pytest.raises(ConfigError, match="no coupling 'left_palm_fold'"):
        load_hand("svh", "right", coupling="left_palm_fold")


def test_a_side_names_only_joints_there_are() -> None:
    with pytest.raises(ConfigError, match="by_side 'left'.*nobody"):
        replace(load_robot("inspire"), by_side={"left": SideConfig(limits={"nobody": JointLimit(0.0, 1.0, 1.0, 1.0, 1.0)})})
