# SPDX-License-Identifier: Apache-2.0
"""The search behind every objective: optimal inside the limits, and the same in NumPy and in the kernel."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.contracts.hand_case import every_hand
from dex_core.kinematics.kernel.load import kernel
from dex_core.retarget import TargetHand
from dex_core.retarget.compiled import CompiledProblem
from dex_core.retarget.problem import VectorProblem


def parts(hand):
    tips = hand.kinematics.tips
    rows = range(len(tips))
    pairs = [(row, -1) for row in rows] + [(row, 0) for row in rows if row]
    return tips, pairs


def wanted(hand, seed):
    rng = np.random.default_rng(seed)
    k = hand.kinematics
    tips, pairs = parts(hand)
    near = rng.uniform(k.lower_rad, k.upper_rad)
    places = k.positions(near, tips)
    targets = np.array([places[a] - (places[b] if b >= 0 else 0.0) for a, b in pairs])
    n = len(k.names)
    targets += rng.normal(scale=0.01, size=targets.shape)  # out of reach
    return targets, rng.uniform(0.5, 2.0, len(pairs)), hand.rest_rad, np.full(n, 1e-5), k.clip(near + 0.1)


@pytest.mark.parametrize("case", every_hand(), ids="_".join)
def test_kernel_and_numpy_agree(case):
    if kernel() is None:
        pytest.skip("no compiled kernel here")
    hand = TargetHand.load(*case)
    slow, fast = (make(hand.kinematics, *parts(hand), hand.free) for make in (VectorProblem, lambda *a: CompiledProblem(*a, kernel())))
    for seed in range(3):
        task = wanted(hand, seed)
        one, two = slow.solve(*task), fast.solve(*task)
        assert two.cost == pytest.approx(one.cost, rel=1e-3)
        assert two.position_rad == pytest.approx(one.position_rad, abs=0.02)
        if one.iterations == two.iterations:
            assert two.position_rad == pytest.approx(one.position_rad, abs=1e-3)
        assert fast.cost(two.position_rad, *task[:4]) == pytest.approx(slow.cost(two.position_rad, *task[:4]))


@pytest.mark.parametrize("name", ["inspire", "schunk_svh", "leap", "shadow"])
def test_the_answer_is_optimal_inside_the_limits(name):
    hand = TargetHand.load(name, "right")
    problem = VectorProblem(hand.kinematics, *parts(hand), hand.free)
    low, high = hand.kinematics.lower_rad, hand.kinematics.upper_rad
    for seed in range(3):
        targets, weights, anchor, hold, start = wanted(hand, seed)
        found = problem.solve(targets, weights, anchor, hold, start)
        q = found.position_rad
        assert found.settled and (q >= low).all() and (q <= high).all()
        task = targets, weights, anchor, hold
        assert problem.cost(q, *task) == pytest.approx(found.cost)
        assert found.cost <= problem.cost(start, *task)
        for column in np.flatnonzero(hand.free):
            for step in (-1e-3, 1e-3):
                beside = q.copy()
                beside[column] += step
                if low[column] <= beside[column] <= high[column]:
                    assert problem.cost(beside, *task) > found.cost - 1e-7


def test_gradient_is_that_of_the_cost():
    hand = TargetHand.load("schunk_svh", "right")
    problem = VectorProblem(hand.kinematics, *parts(hand), hand.free)
    targets, weights, anchor, hold, q = wanted(hand, 1)
    gradient, hessian = problem._model(q, targets, weights, anchor, hold)
    for column in range(q.size):
        step = np.zeros(q.size)
        step[column] = 1e-6
        slope = (problem.cost(q + step, targets, weights, anchor, hold) - problem.cost(q - step, targets, weights, anchor, hold)) / 4e-6
        assert gradient[column] == pytest.approx(slope, abs=1e-6)
    assert hessian == pytest.approx(hessian.T)
    assert np.linalg.eigvalsh(hessian)[0] > 0.0


def test_joints_that_are_not_free_stay():
    hand = TargetHand.load("leap", "right")
    free = np.arange(16) % 2 == 0
    targets, weights, anchor, hold, start = wanted(hand, 2)
    for make in (VectorProblem, *([lambda *a: CompiledProblem(*a, kernel())] if kernel() else [])):
        found = make(hand.kinematics, *parts(hand), free).solve(targets, weights, anchor, hold, start)
        assert (found.position_rad[~free] == start[~free]).all()
        assert (found.position_rad[free] != start[free]).any()


def test_a_search_takes_from_each_start_the_finger_it_got_right():
    hand = TargetHand.load("leap", "right")
    problem = VectorProblem(hand.kinematics, hand.kinematics.tips, [(row, -1) for row in range(4)], hand.free)
    goal = hand.kinematics.clip(np.full(16, 0.4))
    task = hand.kinematics.fingertips(goal), np.ones(4), hand.rest_rad, np.full(16, 1e-9)
    wrong = hand.kinematics.lower_rad
    starts = [np.where(np.isin(np.arange(16), group), goal, wrong) for group in hand.groups]
    found = problem.search(*task, starts, hand.groups)
    assert found.cost <= min(problem.solve(*task, start).cost for start in starts) + 1e-15
    assert found.cost < 1e-7
