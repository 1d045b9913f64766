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
from dex_sim.toolpose import GraspArm

CELL = load_cell("xarm_bimanual")
ARMS = {side: GraspArm(CELL, side) for side in ("left", "right")}


@pytest.mark.parametrize("side", ARMS)
@given(x=st.floats(0.24, 0.58), y=st.floats(0.0, 0.5), z=st.floats(0.06, 0.20), turn=st.floats(-0.9, 0.9))
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
    with pytest.raises(ValueError, match="left: a tool pose needs"):
        GraspArm(cell, "left")


@pytest.mark.parametrize("hand", ["ability", "dexh13", "inspire", "leap", "xhand1"])
def test_the_grasp_frame_of_every_hand_goes_where_it_is_told(hand: str) -> None:
    cell, rng = load_cell("xarm_bimanual", hand=hand), np.random.default_rng(3)
    for sign, side in ((1.0, "left"), (-1.0, "right")):
        arm = GraspArm(cell, side)
        poses = rng.uniform([0.28, 0.05, 0.03, -2.2], [0.50, 0.38, 0.25, -0.9], (40, 4)) * [1.0, sign, 1.0, sign]
        reached = np.array([arm.pose(q) for q in arm.joints(poses)])
        assert np.allclose(reached, poses, atol=1e-4)
