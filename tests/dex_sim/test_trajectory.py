# SPDX-License-Identifier: Apache-2.0
"""Waypoints to joints: bounded speed, ends that are reached, starts that are the measured joints."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_sim.toolpose import ToolArm
from dex_sim.trajectory import JOINT_SPEED_RAD_S, Leg, sample_path

ARM = ToolArm(load_cell("xarm_bimanual"), "left")
START = np.array([0.40, 0.30, 0.30, -math.pi / 2])
STEPS, DT_S = 64, 0.05


def sampled(legs: list[Leg], q: np.ndarray | None = None) -> np.ndarray:
    joints = ARM.joints(START[None])[0] if q is None else q
    return sample_path(ARM, joints, START, legs, STEPS, DT_S)


def test_reaches_the_last_pose_and_stays() -> None:
    goal = np.array([0.40, 0.20, 0.24, -math.pi / 2 + 0.3])
    path = sampled([Leg(goal, 0.2)])
    assert np.allclose(ARM.pose(path[-1]), goal, atol=1e-4)
    assert np.allclose(path[-1], path[-5])


def test_no_leg_of_length_means_no_motion() -> None:
    assert np.allclose(sampled([Leg(START, 0.2)]), ARM.joints(START[None])[0], atol=1e-9)


@pytest.mark.parametrize("speed", (0.1, 0.3, 5.0))
def test_joint_speed_is_bounded(speed: float) -> None:
    path = sampled([Leg(np.array([0.30, 0.10, 0.35, -0.8]), speed), Leg(np.array([0.50, 0.40, 0.24, -2.0]), speed)])
    assert np.abs(np.diff(path, axis=0)).max() <= 1.02 * JOINT_SPEED_RAD_S * DT_S


def test_speed_along_a_straight_leg_is_constant() -> None:
    goal = START + np.array([0.0, -0.25, 0.0, 0.0])
    points = np.array([ARM.pose(q)[:2] for q in sampled([Leg(goal, 0.1)])])
    steps = np.linalg.norm(np.diff(points[:30], axis=0), axis=1)
    assert np.allclose(steps, 0.1 * DT_S, rtol=0.02)


def test_an_odd_start_is_forgotten_gently() -> None:
    q = ARM.joints(START[None])[0] + np.array([0.0, 0.0, 0.05, 0.0, -0.05, 0.0, 0.0])
    path = sampled([Leg(START, 0.2)], q)
    assert np.abs(path[0] - q).max() < 0.01
    assert np.abs(path[-1, [2, 4]]).max() < 1e-3
