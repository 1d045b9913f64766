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
    half = 0.5 * gap_m + TASK.objects["left_can"].radius_m
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


LEMONS = load_task("reorganize_lemons")


def lying(lemon: tuple[float, float, float], lime: tuple[float, float, float], bowl_quat: tuple[float, ...] = UPRIGHT) -> dict[str, np.ndarray]:
    return {
        "lemon": np.array([*lemon, *UPRIGHT]), "lime": np.array([*lime, *UPRIGHT]), "bowl": np.array([0.4, 0.0, 0.03, *bowl_quat]),
    }


IN_BOWL, ON_TABLE = (0.42, 0.01, 0.035), (0.4, 0.3, 0.025)


@pytest.fixture
def lemons() -> Judge:
    judge = Judge(LEMONS)
    judge.reset(lying(ON_TABLE, (0.4, -0.3, 0.025)))
    return judge


@pytest.mark.parametrize("lemon, lime, speeds, touched, success, word", [
    (IN_BOWL, (0.38, 0.0, 0.035), {}, frozenset(), True, "lemon and lime in the bowl"),
    (IN_BOWL, (0.4, -0.3, 0.025), {}, frozenset(), False, "lemon in the bowl"),
    (IN_BOWL, (0.38, 0.0, 0.035), {"lime": 0.3}, frozenset(), False, "lime still moving"),
    (IN_BOWL, (0.38, 0.0, 0.035), {}, frozenset({"lemon"}), False, "lemon still held"),
    (IN_BOWL, (0.38, 0.0, 0.15), {}, frozenset(), False, "lemon in the bowl"),
    (IN_BOWL, (0.5, 0.0, 0.035), {}, frozenset(), False, "lemon in the bowl"),
])
def test_fruits_must_lie_let_go_in_the_bowl(lemons: Judge, lemon, lime, speeds, touched, success: bool, word: str) -> None:  # noqa: ANN001
    verdict = lemons.judge(lying(lemon, lime), speeds, touched)
    assert verdict.success is success and word in verdict.detail


def test_a_tipped_bowl_loses(lemons: Judge) -> None:
    verdict = lemons.judge(lying(IN_BOWL, (0.38, 0.0, 0.035), tilted(0.5)))
    assert not verdict.success and not verdict.upright and "bowl fell" in verdict.detail


def test_progress_of_lemons_grows_with_each_fruit(lemons: Judge) -> None:
    ways = [(ON_TABLE, (0.4, -0.3, 0.025)), ((0.4, 0.15, 0.1), (0.4, -0.3, 0.025)), (IN_BOWL, (0.4, -0.3, 0.025)), (IN_BOWL, (0.38, 0.0, 0.035))]
    progress = [lemons.judge(lying(*way)).progress for way in ways]
    assert progress == sorted(progress) and progress[0] == 0.0 and 0.49 < progress[2] < 0.51 and progress[3] == 1.0
