# SPDX-License-Identifier: Apache-2.0
"""Closed-form kinematics of an upright hand against the URDF's own."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import Pose, load_cell
from dex_sim.toolpose import ToolArm

CELL = load_cell("xarm_bimanual")
ARMS = {side: ToolArm(CELL, side) for side in ("left", "right")}


@pytest.mark.parametrize("side", ARMS)
@given(x=st.floats(0.24, 0.58), y=st.floats(0.0, 0.5), z=st.floats(0.22, 0.38), turn=st.floats(-0.9, 0.9))
def test_there_and_back(side: str, x: float, y: float, z: float, turn: float) -> None:
    sign = 1.0 if side == "left" else -1.0
    pose = np.array([x, sign * y, z, -sign * math.pi / 2 + turn])
    arm = ARMS[side]
    q = arm.joints(pose[None])[0]
    assert (q > arm.lower_rad).all() and (q < arm.upper_rad).all()
    assert np.allclose(arm.pose(q), pose, atol=3e-5)


@pytest.mark.parametrize("side", ARMS)
def test_home_is_an_upright_pose(side: str) -> None:
    arm = ARMS[side]
    assert np.allclose(arm.joints(arm.home[None])[0], CELL.interface(f"{side}_arm").home, atol=2e-4)


def test_out_of_reach_stretches_instead_of_failing() -> None:
    q = ARMS["left"].joints(np.array([[5.0, 5.0, 0.3, 0.0]]))
    assert np.isfinite(q).all()


def test_a_tilted_mount_is_refused() -> None:
    hand = CELL.interface("left_hand")
    tilted = dataclasses.replace(hand, mount=Pose((0.0, 0.0, 0.0), (0.1, 0.0, 0.0)))
    cell = dataclasses.replace(CELL, interfaces={**CELL.interfaces, "left_hand": tilted})
    with pytest.raises(ValueError, match="left: the tool pose needs"):
        ToolArm(cell, "left")
