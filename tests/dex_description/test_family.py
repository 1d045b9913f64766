# SPDX-License-Identifier: Apache-2.0
"""Every hand and arm there is a configuration for: moves, is limited and coupled as published, and is a physical body."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest
import yaml

from dex_core.config import FINGERS, RobotConfig, find_share, load_robot, read_description

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "kinematics"
ARM_FILES = {"panda": "panda_fer", "g1": "g1_29dof_rev_1_0"}
HANDS = sorted(path.stem for path in find_share("config", "hands").glob("*.yaml"))
ARMS = sorted(path.stem for path in find_share("config", "arms").glob("*.yaml"))
HAND_SIDES = [(name, side) for name in HANDS for side in ("left", "right")]
ROBOTS = HAND_SIDES + [(name, "") for name in ARMS]
UNCOUPLED_THERE = {"dexh13"}  # 13 motors for 16 joints: the published file leaves the three distal joints free
POSES, CLOSE_M, CLOSE_RAD = 200, 1e-6, 1e-6
CHECK_POSES = yaml.safe_load((Path(__file__).parent / "check_poses.yaml").read_text())


def label(case: tuple[str, str]) -> str:
    return "_".join(part for part in case if part)


each_robot = pytest.mark.parametrize("case", ROBOTS, ids=label)
each_hand = pytest.mark.parametrize("case", HAND_SIDES, ids=label)


@dataclass(frozen=True)
class Joint:
    """A joint that moves: names without the side's prefix, ``follows`` with chains of followers resolved."""

    child: str
    axis: tuple[float, ...]
    limits: tuple[float, float]
    follows: tuple[str, float, float] | None


class Robot:
    """A URDF under pinocchio, couplings applied here by the file's own tags: a joint may follow one that is not its ancestor."""

    def __init__(self, text: str, side: str) -> None:
        self.model = pin.buildModelFromXML(text)
        self.data = self.model.createData()
        self.tree = ElementTree.fromstring(text)
        self.bare = (lambda name: name.removeprefix(f"{side}_")) if side else (lambda name: name)
        self.frame = {self.bare(f.name): i for i, f in enumerate(self.model.frames) if f.type == pin.FrameType.BODY}
        self.column = {self.bare(name): self.model.joints[i].idx_q for i, name in enumerate(self.model.names) if i}
        self.raw = {self.bare(j.get("name")): j for j in self.tree.findall("joint") if j.get("type") != "fixed"}
        self.joints = {name: self._joint(name) for name in self.raw}

    @property
    def actuated(self) -> list[str]:
        return [name for name, joint in self.joints.items() if joint.follows is None]

    def _joint(self, name: str) -> Joint:
        element = self.raw[name]
        axis, limit = element.find("axis"), element.find("limit")
        return Joint(
            self.bare(element.find("child").get("link")), tuple(float(v) for v in axis.get("xyz").split()),
            (float(limit.get("lower")), float(limit.get("upper"))), self._follows(name),
        )

    def _follows(self, name: str) -> tuple[str, float, float] | None:
        mimic = self.raw[name].find("mimic")
        if mimic is None:
            return None
        parent = self.bare(mimic.get("joint"))
        multiplier, offset = float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
        above = self._follows(parent)
        return (parent, multiplier, offset) if above is None else (above[0], multiplier * above[1], multiplier * above[2] + offset)

    def expand(self, q: dict[str, float]) -> dict[str, float]:
        """Every joint's position from the actuated ones', where the file says how; others are taken over as they are."""
        coupled = {n: j.follows[1] * q[j.follows[0]] + j.follows[2] for n, j in self.joints.items() if j.follows is not None}
        return {**q, **coupled}

    def poses(self, q: dict[str, float], links: list[str], root: str) -> np.ndarray:
        """(k, 4, 4) poses of ``links`` in ``root``; ``q`` names every joint that moves."""
        full = pin.neutral(self.model)
        for name, column in self.column.items():
            full[column] = q.get(name, 0.0)
        pin.framesForwardKinematics(self.model, self.data, full)
        base = self.data.oMf[self.frame[root]].inverse()
        return np.array([(base * self.data.oMf[self.frame[link]]).homogeneous for link in links])


@cache
def config(name: str) -> RobotConfig:
    return load_robot(name)


@cache
def ours(name: str, side: str) -> Robot:
    return Robot(read_description(config(name).urdf, side), side)


@cache
def theirs(name: str, side: str) -> Robot:
    stem = ARM_FILES.get(name, name)
    candidates = [REFERENCE / f"{stem}_{side}.urdf", REFERENCE / f"{stem}.urdf"]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        pytest.skip(f"the published description {candidates[0].name} is not here")
    return Robot(path.read_text(), side)


def bare(side: str, name: str) -> str:
    return name.removeprefix(f"{side}_") if side else name


def wanted_links(name: str, side: str) -> list[str]:
    """Tips, flange or palm, and every link that moves, as our file names them; tips that only we have are left out."""
    robot = config(name)
    tips = [finger.tip for finger in (robot.fingers or {}).values()]
    moving = [joint.child for joint in ours(name, side).joints.values()]
    links = dict.fromkeys(bare(side, link) for link in [*tips, robot.tip_link, *robot.tool_links, *moving])
    published = theirs(name, side).frame
    return [link for link in links if link in published or link not in [bare(side, tip) for tip in tips]]


def common_root(name: str, side: str) -> str:
    """Our root, or the palm where the published file has no such root."""
    root = bare(side, config(name).root_link)
    return root if root in theirs(name, side).frame else bare(side, config(name).tip_link)


def random_positions(robot: Robot, rng: np.random.Generator) -> dict[str, float]:
    return {name: float(rng.uniform(*robot.joints[name].limits)) for name in robot.actuated}


def tips(name: str, side: str, q: dict[str, float]) -> dict[str, np.ndarray]:
    """finger -> (3,) tip in the root frame."""
    robot, fingers = ours(name, side), config(name).fingers
    links = [bare(side, finger.tip) for finger in fingers.values()]
    places = robot.poses(robot.expand(q), links, bare(side, config(name).root_link))[:, :3, 3]
    return dict(zip(fingers, places, strict=True))


@each_robot
def test_joints_and_links_are_those_published(case: tuple[str, str]) -> None:
    mine, reference = ours(*case), theirs(*case)
    assert sorted(bare(case[1], name) for name in config(case[0]).actuated) == sorted(mine.actuated)
    assert set(wanted_links(*case)) <= set(reference.frame)
    if case[0] in HANDS:
        assert set(mine.joints) == set(reference.joints)
    for name, joint in mine.joints.items():
        published = reference.joints[name]
        assert (joint.child, joint.axis) == (published.child, published.axis), name
        assert joint.limits == pytest.approx(published.limits, abs=1e-9), name


@each_robot
def test_couplings_are_those_published(case: tuple[str, str]) -> None:
    mine, reference = ours(*case), theirs(*case)
    for name, joint in mine.joints.items():
        published = reference.joints[name].follows
        if joint.follows is None or published is None:
            assert joint.follows == published or case[0] in UNCOUPLED_THERE, name
            continue
        assert joint.follows[0] == published[0], name
        assert joint.follows[1:] == pytest.approx(published[1:], abs=1e-9), name


@each_robot
def test_moves_as_published(case: tuple[str, str]) -> None:
    mine, reference = ours(*case), theirs(*case)
    links, root = wanted_links(*case), common_root(*case)
    rng = np.random.default_rng(11)
    for _ in range(POSES):
        q = random_positions(mine, rng)
        # Ours first, so that joints that only we couple get our values in both; then each file by its own tags.
        here = mine.poses(mine.expand(q), links, root)
        there = reference.poses(reference.expand(mine.expand(q)), links, root)
        assert np.abs(here[:, :3, 3] - there[:, :3, 3]).max() < CLOSE_M
        turn = np.einsum("kji,kjl->kil", here[:, :3, :3], there[:, :3, :3])
        sine = np.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], axis=1)
        assert 0.5 * np.linalg.norm(sine, axis=1).max() < CLOSE_RAD
        assert np.trace(turn, axis1=1, axis2=2).min() > 2.9


@pytest.mark.parametrize("pose", ("zero", "mid"))
@each_hand
def test_tips_are_where_the_tables_say(case: tuple[str, str], pose: str) -> None:
    if label(case) not in CHECK_POSES:
        pytest.skip(f"no table of check poses for {label(case)}")
    robot = ours(*case)
    q = {name: 0.0 if pose == "zero" else 0.5 * sum(robot.joints[name].limits) for name in robot.actuated}
    found = tips(*case, q)
    table = CHECK_POSES[label(case)][pose]
    assert set(found) == set(table)
    for finger, place in table.items():
        assert found[finger] == pytest.approx(place, abs=1.5e-6), finger


@pytest.mark.parametrize("pose", CHECK_POSES["arms"], ids=lambda pose: f"{pose['arm']}-{pose['link']}")
def test_flange_is_where_the_table_says(pose: dict) -> None:
    if pose["arm"] not in ARMS:
        pytest.skip(f"no configuration of {pose['arm']}")
    found = ours(pose["arm"], "").poses(pose["q"], [pose["link"]], config(pose["arm"]).root_link)[0]
    assert found[:3, 3] == pytest.approx(pose["xyz"], abs=1.5e-6)
    turn, published = pin.Quaternion(found[:3, :3]).coeffs(), np.array(pose["xyzw"])
    assert abs(turn @ published) / np.linalg.norm(published) == pytest.approx(1.0, abs=1e-10)


@each_robot
def test_what_moves_is_a_physical_body(case: tuple[str, str]) -> None:
    robot = ours(*case)
    links = {robot.bare(link.get("name")): link for link in robot.tree.findall("link")}
    for joint in robot.joints.values():
        inertial = links[joint.child].find("inertial")
        assert inertial is not None, f"{joint.child} has no mass"
        mass = float(inertial.find("mass").get("value"))
        assert mass > 0.0, joint.child
        i = {key: float(value) for key, value in inertial.find("inertia").attrib.items()}
        tensor = np.array([[i["ixx"], i["ixy"], i["ixz"]], [i["ixy"], i["iyy"], i["iyz"]], [i["ixz"], i["iyz"], i["izz"]]])
        moments = np.linalg.eigvalsh(tensor)
        assert moments[0] > 0.0, joint.child
        assert moments[0] + moments[1] >= moments[2] * (1.0 - 1e-6), f"{joint.child} breaks the triangle inequality"
        if case[0] in HANDS:
            assert np.sqrt(moments[2] / mass) < 0.12, f"{joint.child}: its mass lies further away than a hand is long"


@each_hand
def test_tips_are_moved_by_exactly_their_joints(case: tuple[str, str]) -> None:
    robot, fingers = ours(*case), config(case[0]).fingers
    assert list(fingers) == [name for name in FINGERS if name in fingers]
    rng = np.random.default_rng(5)
    travel = {name: dict.fromkeys(robot.actuated, 0.0) for name in fingers}
    for _ in range(5):
        q = random_positions(robot, rng)
        before = tips(*case, q)
        for joint in robot.actuated:
            low, high = robot.joints[joint].limits
            after = tips(*case, {**q, joint: low if q[joint] > 0.5 * (low + high) else high})
            for name, place in before.items():
                travel[name][joint] = max(travel[name][joint], float(np.linalg.norm(after[name] - place)))
    for name, finger in fingers.items():
        moving = {joint for joint, way in travel[name].items() if way > 1e-4}
        assert moving == {bare(case[1], joint) for joint in finger.joints}, name


@each_hand
def test_tips_are_apart_and_touch_what_they_are_part_of(case: tuple[str, str]) -> None:
    robot = ours(*case)
    middle = {name: 0.5 * sum(robot.joints[name].limits) for name in robot.actuated}
    places = np.array(list(tips(*case, middle).values()))
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(len(places), 1)]
    assert apart.min() > 0.005
    for finger in config(case[0]).fingers.values():
        assert tip_to_shape_m(robot, bare(case[1], finger.tip)) < 0.012, finger.tip


def tip_to_shape_m(robot: Robot, tip: str) -> float:
    """Distance of a tip frame to the nearest collision shape it is rigidly tied to; 0 inside."""
    fixed = {robot.bare(j.find("child").get("link")): j for j in robot.tree.findall("joint") if j.get("type") == "fixed"}
    links = {robot.bare(link.get("name")): link for link in robot.tree.findall("link")}
    pose, nearest = np.eye(4), np.inf
    while True:
        for shape in links[tip].findall("collision"):
            nearest = min(nearest, outside_m(shape, pose[:3, 3]))
        if tip not in fixed:
            return nearest
        pose = origin_of(fixed[tip]) @ pose
        tip = robot.bare(fixed[tip].find("parent").get("link"))


def origin_of(element: ElementTree.Element) -> np.ndarray:
    origin = element.find("origin")
    words = {} if origin is None else origin.attrib
    xyz, rpy = (np.array([float(v) for v in words.get(key, "0 0 0").split()]) for key in ("xyz", "rpy"))
    return pin.SE3(pin.rpy.rpyToMatrix(*rpy), xyz).homogeneous


def outside_m(shape: ElementTree.Element, point: np.ndarray) -> float:
    """How far ``point`` lies outside of a box, cylinder or sphere."""
    local = np.linalg.inv(origin_of(shape)) @ np.append(point, 1.0)
    primitive = shape.find("geometry")[0]
    if primitive.tag == "sphere":
        return max(0.0, float(np.linalg.norm(local[:3]) - float(primitive.get("radius"))))
    if primitive.tag == "box":
        half = 0.5 * np.array([float(v) for v in primitive.get("size").split()])
        return float(np.linalg.norm(np.maximum(np.abs(local[:3]) - half, 0.0)))
    over = (np.hypot(local[0], local[1]) - float(primitive.get("radius")), abs(local[2]) - 0.5 * float(primitive.get("length")))
    return float(np.linalg.norm(np.maximum(over, 0.0)))
