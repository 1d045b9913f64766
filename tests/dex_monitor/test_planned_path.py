# SPDX-License-Identifier: Apache-2.0
"""The path a chunk plans, against the frames of the whole cell."""
from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.errors import JointNameError
from dex_core.types import POSE_COLUMNS, ActionChunk, ActionSlice
from dex_description import compose_cell_urdf
from dex_monitor.planned_path import PlannedPath


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


def chunk(*slices: ActionSlice) -> ActionChunk:
    return ActionChunk(0, "goal", 0, 0.05, 1.0, slices)


def test_flange_path_equals_the_cells_forward_kinematics(cell: CellConfig) -> None:
    rng = np.random.default_rng(1)
    names = cell.interface("right_arm").names
    data = rng.uniform(-0.1, 1.0, (8, 7))
    shuffled = rng.permutation(7)
    part = ActionSlice("right_arm", "joint_position", data[:, shuffled], tuple(names[i] for i in shuffled))
    hand = ActionSlice("left_hand", "latent", np.zeros((8, 32)))
    paths = PlannedPath(cell).of_chunk(chunk(part, hand))
    assert list(paths) == ["right_arm"] and paths["right_arm"].shape == (8, 3)
    model = pin.buildModelFromXML(compose_cell_urdf(cell), mimic=True)
    work, flange = model.createData(), model.getFrameId("right_link_eef")
    for step, found in zip(data, paths["right_arm"]):
        q = pin.neutral(model)
        for name, value in zip(names, step):
            q[model.joints[model.getJointId(name)].idx_q] = value
        pin.framesForwardKinematics(model, work, q)
        assert np.allclose(found, work.oMf[flange].translation, atol=1e-9)


def test_a_slice_with_other_joints_is_refused(cell: CellConfig) -> None:
    wrong = ActionSlice("right_arm", "joint_position", np.zeros((2, 7)), cell.interface("left_arm").names)
    with pytest.raises(JointNameError):
        PlannedPath(cell).of_chunk(chunk(wrong))


def test_wrist_poses_are_a_path_themselves(cell: CellConfig) -> None:
    data = np.random.default_rng(2).uniform(-1.0, 1.0, (4, 9))
    paths = PlannedPath(cell).of_chunk(
        chunk(
            ActionSlice("left_arm", "wrist_pose", data, POSE_COLUMNS, "world"), ActionSlice("right_arm", "wrist_pose", data, POSE_COLUMNS, "camera")
        )
    )
    assert list(paths) == ["left_arm"]
    np.testing.assert_array_equal(paths["left_arm"], data[:, :3])
