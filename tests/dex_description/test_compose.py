# SPDX-License-Identifier: Apache-2.0
"""The composed cell: every robot, prefixed, at its mount."""
from __future__ import annotations

import dataclasses

import numpy as np
import pinocchio as pin
import pytest
import yaml

from dex_core.config import CellConfig, load_cell, load_robot
from dex_core.config.load import names_in
from dex_description import RobotDescription, camera_rotation, compose_cell_urdf, description_path, interface_description, parse_urdf
from dex_description.forward import link_poses, transform
from dex_description.urdf import Origin


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def model(cell: CellConfig) -> pin.Model:
    return pin.buildModelFromXML(compose_cell_urdf(cell), mimic=True)


def poses_at_zero(model: pin.Model) -> pin.Data:
    data = model.createData()
    pin.framesForwardKinematics(model, data, np.zeros(model.nq))
    return data


def test_has_every_joint_of_the_cell_once(cell: CellConfig, model: pin.Model) -> None:
    description = parse_urdf(compose_cell_urdf(cell))
    assert sorted(description.actuated) == sorted(cell.joint_names)
    assert description.root == "world"
    assert model.nq == len(cell.joint_names)
    names = [link.name for link in description.links]
    assert len(names) == len(set(names))


def test_robots_stand_at_their_mounts(cell: CellConfig, model: pin.Model) -> None:
    data = poses_at_zero(model)
    for side, y in (("left", 0.40), ("right", -0.40)):
        assert np.allclose(data.oMf[model.getFrameId(f"{side}_link_base")].translation, (0.0, y, 0.0))
        flange, hand = (data.oMf[model.getFrameId(f"{side}_{name}")] for name in ("link_eef", "base"))
        mount = cell.interface(f"{side}_hand").mount
        expected = pin.SE3(pin.rpy.rpyToMatrix(*mount.rpy_rad), np.array(mount.xyz_m))
        assert np.allclose((flange.inverse() * hand).homogeneous, expected.homogeneous, atol=1e-9)


def test_camera_looks_where_it_is_told(cell: CellConfig, model: pin.Model) -> None:
    camera = next(iter(cell.cameras.values()))
    optical = poses_at_zero(model).oMf[model.getFrameId("camera_color_optical_frame")]
    towards = np.subtract(camera.look_at_m, camera.position_m)
    assert np.allclose(optical.translation, camera.position_m)
    assert np.allclose(optical.rotation[:, 2], towards / np.linalg.norm(towards), atol=1e-9)
    assert optical.rotation[2, 1] < 0.0, "y of an optical frame points down"


@pytest.mark.parametrize("look_at, message", [((1.0, 0.0, 1.0), "looks at its own position"), ((1.0, 0.0, 0.0), "no upright picture")])
def test_camera_without_direction_is_refused(cell: CellConfig, look_at: tuple[float, float, float], message: str) -> None:
    camera = dataclasses.replace(next(iter(cell.cameras.values())), position_m=(1.0, 0.0, 1.0), look_at_m=look_at)
    with pytest.raises(ValueError, match=message):
        camera_rotation(camera)


def chain(description: RobotDescription, link: str) -> list[str]:
    """The link and everything it hangs on, up to the root."""
    parents = {joint.child: joint.parent for joint in description.joints}
    found = [link]
    while found[-1] in parents:
        found.append(parents[found[-1]])
    return found


@pytest.mark.parametrize("hand", names_in("hands"))
@pytest.mark.parametrize("name, overrides", [("xarm_bimanual", {}), ("xarm_bimanual", {"arm": "fr3"}), ("franka", {}), ("g1", {})])
def test_any_hand_makes_a_valid_tree(name: str, overrides: dict[str, str], hand: str) -> None:
    cell = load_cell(name, hand=hand, **overrides)
    description = parse_urdf(compose_cell_urdf(cell))
    assert description.root == "world" and sorted(description.actuated) == sorted(cell.joint_names)
    for interface in cell.interfaces.values():
        own = interface_description(interface)
        for finger in (interface.robot.fingers or {}).values():
            above = chain(description, interface.prefix + finger.tip)
            assert above[-1] == "world" and interface.mounted_on in above
        for joint in own.joints:
            if joint.mimic is not None:
                mimic = description.joint(interface.prefix + joint.name).mimic
                assert (mimic.joint, mimic.multiplier) == (interface.prefix + joint.mimic.joint, joint.mimic.multiplier)
                assert mimic.joint in cell.joint_names


@pytest.mark.parametrize("hand", names_in("hands"))
def test_a_hand_moves_in_the_cell_as_it_does_alone(hand: str) -> None:
    cell = load_cell("g1", hand=hand)
    interface = cell.interface("left_hand")
    rng = np.random.default_rng(3)
    own = {joint: rng.uniform(limit.lower_rad, limit.upper_rad) for joint, limit in interface.robot.limits.items()}
    alone = link_poses(interface_description(interface), own)
    whole = link_poses(parse_urdf(compose_cell_urdf(cell)), {interface.prefix + joint: position for joint, position in own.items()})
    flange = whole[interface.mounted_on] @ transform(Origin(interface.mount.xyz_m, interface.mount.rpy_rad))
    for finger in interface.robot.fingers.values():
        assert np.allclose(whole[interface.prefix + finger.tip], flange @ alone[finger.tip], atol=1e-9)


def test_a_name_of_arm_and_hand_is_told_apart() -> None:
    links = [link.name for link in parse_urdf(compose_cell_urdf(load_cell("franka", hand="leap"))).links]
    assert {"right_arm_base", "right_base"} <= set(links)


def test_an_effort_of_zero_is_filled_from_the_configuration() -> None:
    cell = load_cell("xarm_bimanual", hand="dexh13")
    for joint in parse_urdf(compose_cell_urdf(cell)).joints:
        if joint.name in cell.joint_names:
            assert joint.velocity_rad_s and joint.effort_nm, joint.name


def test_rviz_names_no_hand() -> None:
    text = description_path("rviz/cell.rviz").read_text()
    robots = [load_robot(name) for name in names_in("hands")]
    links = {f"{side}_{link}" for robot in robots for side in robot.sides for link in (robot.root_link, robot.tip_link)}
    assert not [link for link in links if f"{link}:" in text]


def test_rviz_shows_robot_picture_objects_and_plan() -> None:
    displays = yaml.safe_load(description_path("rviz/cell.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {d.get("Topic", d.get("Description Topic", {})).get("Value") for d in displays}
    assert {"robot_description", "camera/color/image_raw", "scene/markers", "planned_chunk"} <= topics
