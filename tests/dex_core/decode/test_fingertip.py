# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.decode import FingertipSolver
from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.kinematics import HandKinematics
from dex_description import interface_urdf

HAND = load_cell("xarm_bimanual").interface("left_hand")
KINEMATICS = HandKinematics(HAND.robot, interface_urdf(HAND))
LOWER = np.array([HAND.robot.limits[j].lower_rad for j in KINEMATICS.names])
UPPER = np.array([HAND.robot.limits[j].upper_rad for j in KINEMATICS.names])
SOLVER = FingertipSolver(KINEMATICS, LOWER, UPPER)
HOME = np.array(HAND.home)
shares = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).map(np.array)


@given(shares, shares)
@settings(max_examples=40)
def test_any_reachable_pose_is_found_from_any_start(goal: np.ndarray, start: np.ndarray) -> None:
    q = LOWER + goal * (UPPER - LOWER)
    solution = SOLVER.solve(KINEMATICS.fingertips(q)[None], KINEMATICS.fingers, LOWER + start * (UPPER - LOWER))
    assert solution.feasible[0] and solution.residual_m[0] < 1e-5
    np.testing.assert_allclose(KINEMATICS.fingertips(solution.position_rad[0]), KINEMATICS.fingertips(q), atol=1e-5)


@given(st.lists(st.floats(-0.3, 0.3), min_size=15, max_size=15).map(np.array), shares)
@settings(max_examples=40)
def test_whatever_is_asked_stays_inside_the_limits(target: np.ndarray, start: np.ndarray) -> None:
    solution = SOLVER.solve(target.reshape(1, 5, 3), KINEMATICS.fingers, LOWER + start * (UPPER - LOWER))
    assert (solution.position_rad >= LOWER).all() and (solution.position_rad <= UPPER).all()
    tips = KINEMATICS.fingertips(solution.position_rad[0])
    assert solution.residual_m[0] == pytest.approx(np.linalg.norm(target.reshape(5, 3) - tips, axis=1).max())


def test_out_of_reach_gives_the_closest_point() -> None:
    q = 0.5 * (LOWER + UPPER)
    target = KINEMATICS.fingertips(q) + [0.0, 0.0, 0.05]
    solution = SOLVER.solve(target[None], KINEMATICS.fingers, HOME)
    assert not solution.feasible[0]
    cost = np.sum((KINEMATICS.fingertips(solution.position_rad[0]) - target) ** 2)
    rng = np.random.default_rng(0)
    for other in rng.uniform(LOWER, UPPER, (500, 6)):
        assert cost <= np.sum((KINEMATICS.fingertips(other) - target) ** 2) + 1e-9


def test_the_same_twice_and_smooth_along_a_path() -> None:
    path = LOWER + (0.1 + 0.8 * np.linspace(0, 1, 64)[:, None]) * (UPPER - LOWER)
    targets = np.array([KINEMATICS.fingertips(q) for q in path])
    first, second = (SOLVER.solve(targets, KINEMATICS.fingers, path[0]) for _ in range(2))
    assert first.position_rad.tobytes() == second.position_rad.tobytes()
    np.testing.assert_allclose(first.position_rad, path, atol=1e-5)


def test_a_path_that_leaves_reach_and_returns_does_not_flip() -> None:
    q = LOWER + 0.4 * (UPPER - LOWER)
    tips = KINEMATICS.fingertips(q)
    away = np.concatenate([np.linspace(0, 0.08, 20), np.linspace(0.08, 0, 20)])
    targets = tips + away[:, None, None] * np.array([0.0, 0.0, 1.0])
    solution = SOLVER.solve(targets, KINEMATICS.fingers, q)
    assert np.abs(np.diff(solution.position_rad, axis=0)).max() < 0.4
    np.testing.assert_allclose(solution.position_rad[-1], q, atol=1e-4)
    assert not solution.feasible[20] and solution.feasible[-1]


def test_some_fingers_only_leave_the_other_joints_alone() -> None:
    q = LOWER + 0.7 * (UPPER - LOWER)
    row = KINEMATICS.fingers.index("index")
    solution = SOLVER.solve(KINEMATICS.fingertips(q)[None, [row]], ("index",), HOME)
    moved = np.abs(solution.position_rad[0] - HOME) > 1e-9
    assert [n for n, m in zip(KINEMATICS.names, moved, strict=False) if m] == ["index_proximal_joint"]


def test_bad_requests_are_named() -> None:
    with pytest.raises(DexError, match="pinkie"):
        SOLVER.solve(np.zeros((1, 1, 3)), ("pinkie",), HOME)
    with pytest.raises(DexError):
        SOLVER.solve(np.zeros((1, 2, 3)), ("index", "index"), HOME)
    with pytest.raises(ShapeError):
        SOLVER.solve(np.zeros((1, 2, 3)), ("index",), HOME)
    with pytest.raises(NonFiniteError):
        SOLVER.solve(np.full((1, 1, 3), np.nan), ("index",), HOME)
    with pytest.raises(DexError, match="below"):
        FingertipSolver(KINEMATICS, UPPER, LOWER)
