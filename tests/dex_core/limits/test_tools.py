# SPDX-License-Identifier: Apache-2.0
"""Tools of a whole cell: positions and Jacobians against Pinocchio and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ShapeError
from dex_core.kinematics import load_arm
from dex_core.kinematics.tree import KinematicTree
from dex_core.limits.tools import ToolKinematics, ToolPoint
from dex_description import compose_cell_urdf


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def tools(cell: CellConfig) -> ToolKinematics:
    points = [ToolPoint("left_link_eef"), ToolPoint("right_link_eef", (0.0, 0.02, 0.1)), ToolPoint("right_link3"), ToolPoint("right_index_tip")]
    return ToolKinematics(KinematicTree(compose_cell_urdf(cell), cell.joint_names), points)


def test_flanges_are_where_pinocchio_says(cell: CellConfig, tools: ToolKinematics):
    q, arm = np.random.default_rng(0).uniform(-1.0, 1.0, (4, 26)), load_arm("xarm7")
    found = tools.positions(q)
    for k in range(4):
        left, right = arm.flange_pose(q[k, :7]), arm.flange_pose(q[k, 7:14])
        np.testing.assert_allclose(found[k, 0], left[:3, 3] + (0.0, 0.4, 0.0), atol=1e-12)
        np.testing.assert_allclose(found[k, 1], (right @ (0.0, 0.02, 0.1, 1.0))[:3] + (0.0, -0.4, 0.0), atol=1e-12)
        np.testing.assert_allclose(tools.jacobians(q[k])[0, :, :7], arm.flange_jacobian(q[k, :7]), atol=1e-12)


def test_jacobians_are_the_derivatives(tools: ToolKinematics):
    """Also of a point below a coupled joint of a hand, whose chain is longer than the others'."""
    q, step = np.random.default_rng(1).uniform(0.1, 0.5, 26), 1e-6
    columns = np.arange(7, 14)
    ahead, behind = (tools.positions(q + sign * step * np.eye(26)[columns]) for sign in (1.0, -1.0))
    for row in (1, 3):
        numeric = (ahead[:, row] - behind[:, row]).T / (2.0 * step)
        np.testing.assert_allclose(tools.jacobians(q)[row, :3, :7], numeric, atol=1e-8)


def test_postures_of_another_length_are_refused(tools: ToolKinematics):
    with pytest.raises(ShapeError, match="26"):
        tools.positions(np.zeros((1, 7)))
