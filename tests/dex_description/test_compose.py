# SPDX-License-Identifier: Apache-2.0
"""The composed cell: every robot, prefixed, at its mount."""
from __future__ import annotations

import dataclasses

import numpy as np
import pinocchio as pin
import pytest
import yaml

from dex_core.config import CellConfig, load_cell
from dex_description import camera_rotation, compose_cell_urdf, description_path, parse_urdf


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


def test_rviz_shows_robot_picture_objects_and_plan() -> None:
    displays = yaml.safe_load(description_path("rviz/cell.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {d.get("Topic", d.get("Description Topic", {})).get("Value") for d in displays}
    assert {"robot_description", "camera/color/image_raw", "scene/markers", "planned_chunk"} <= topics
