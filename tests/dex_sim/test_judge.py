# SPDX-License-Identifier: Apache-2.0
"""The referee."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dex_core.config import load_task
from dex_sim.judge import Judge, tilt_rad

TASK = load_task("push_cans")
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def poses(gap_m: float, right_quat: tuple[float, ...] = UPRIGHT, z_m: float = 0.0505) -> dict[str, np.ndarray]:
    half = 0.5 * gap_m + TASK.can_radius_m
    return {"left_can": np.array([0.4, half, z_m, *UPRIGHT]), "right_can": np.array([0.4, -half, z_m, *right_quat])}


def tilted(angle: float) -> tuple[float, ...]:
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


@pytest.fixture
def judge() -> Judge:
    judge = Judge(TASK)
    judge.reset(poses(0.4))
    return judge


@pytest.mark.parametrize("gap, success", [(0.4, False), (0.0051, False), (0.0049, True), (-0.001, True)])
def test_touching_is_a_gap_of_five_millimetres(judge: Judge, gap: float, success: bool) -> None:
    verdict = judge.judge(poses(gap))
    assert verdict.success is success
    assert verdict.gap_m == pytest.approx(gap)


def test_progress_grows_from_zero_to_one(judge: Judge) -> None:
    progress = [judge.judge(poses(gap)).progress for gap in (0.5, 0.4, 0.3, 0.1, 0.01, 0.004)]
    assert progress[:2] == [0.0, 0.0] and progress[-1] == 1.0
    assert progress == sorted(progress)


@pytest.mark.parametrize("angle, upright", [(math.radians(9.0), True), (math.radians(11.0), False), (math.pi / 2, False), (math.pi, False)])
def test_a_fallen_can_loses(judge: Judge, angle: float, upright: bool) -> None:
    verdict = judge.judge(poses(0.001, tilted(angle)))
    assert verdict.upright is upright and verdict.success is upright
    assert upright or "right_can fell" in verdict.detail


def test_a_can_off_the_table_loses(judge: Judge) -> None:
    verdict = judge.judge(poses(0.001, z_m=-0.3))
    assert not verdict.success and not verdict.upright


def test_turning_about_its_axis_is_no_tilt() -> None:
    assert tilt_rad(np.array([0, 0, 0, math.cos(1.0), 0, 0, math.sin(1.0)])) == pytest.approx(0.0)
