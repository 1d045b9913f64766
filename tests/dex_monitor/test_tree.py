# SPDX-License-Identifier: Apache-2.0
"""Frames against pinocchio's forward kinematics of the whole cell."""
from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.errors import JointNameError
from dex_description import compose_cell_urdf, parse_urdf
from dex_monitor.tree import FrameTree, Transforms, multiply, quaternion_from_rpy


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def urdf(cell: CellConfig) -> str:
    return compose_cell_urdf(cell)


def chain(*parts: Transforms) -> dict[str, pin.SE3]:
    """Child -> pose in world, by walking parent to child."""
    local = {}
    for part in parts:
        for parent, child, t, q in zip(part.parents, part.children, part.translation_m, part.rotation_xyzw):
            local[child] = (parent, pin.SE3(pin.Quaternion(np.array(q)), np.array(t)))
    poses = {"world": pin.SE3.Identity()}

    def pose(link: str) -> pin.SE3:
        if link not in poses:
            parent, step = local[link]
            poses[link] = pose(parent) * step
        return poses[link]

    for link in local:
        pose(link)
    return poses


@pytest.mark.parametrize("seed", range(10))
def test_frames_equal_pinocchio_everywhere(cell: CellConfig, urdf: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = FrameTree(parse_urdf(urdf))
    position = {
        name: rng.uniform(limit.lower_rad, limit.upper_rad)
        for interface in cell.interfaces.values() for name, limit in zip(interface.names, interface.limits)
    }
    assert set(tree.joints) == set(position)
    poses = chain(tree.fixed, tree.moving(position))
    model = pin.buildModelFromXML(urdf, mimic=True)
    data, q = model.createData(), pin.neutral(model)
    for name, value in position.items():
        q[model.joints[model.getJointId(name)].idx_q] = value
    pin.framesForwardKinematics(model, data, q)
    checked = 0
    for frame, place in zip(model.frames, data.oMf):
        if frame.type == pin.FrameType.BODY and frame.name != "world":
            assert np.allclose(poses[frame.name].homogeneous, place.homogeneous, atol=1e-9), frame.name
            checked += 1
    assert checked == len(poses) - 1


def test_an_unknown_joint_is_an_error_and_a_missing_one_has_no_frame(cell: CellConfig, urdf: str) -> None:
    tree = FrameTree(parse_urdf(urdf))
    with pytest.raises(JointNameError):
        tree.moving({"joint1": 0.0})
    left = tree.moving(dict.fromkeys(cell.interface("left_hand").names, 0.3))
    assert len(left.children) == 12 and all(child.startswith("left_") for child in left.children)
    assert tree.moving({}).children == ()


def test_left_out_frames_are_left_out(urdf: str) -> None:
    every, some = FrameTree(parse_urdf(urdf)), FrameTree(parse_urdf(urdf), leave_out=("camera_link", "camera_color_optical_frame"))
    assert len(every.fixed.children) == len(some.fixed.children) + 2


def test_quaternions_of_roll_pitch_yaw() -> None:
    rng = np.random.default_rng(3)
    for rpy in rng.uniform(-3, 3, (20, 3)):
        q = quaternion_from_rpy(rpy)[0]
        assert np.allclose(pin.Quaternion(q).toRotationMatrix(), pin.rpy.rpyToMatrix(*rpy))
    a, b = rng.normal(size=(2, 5, 4))
    product = multiply(a, b)
    for k in range(5):
        assert np.allclose((pin.Quaternion(a[k]) * pin.Quaternion(b[k])).coeffs(), product[k])
