# SPDX-License-Identifier: Apache-2.0
"""Vectors between points of a hand, wanted as weighted least squares with limits: what every objective of retargeting comes down to."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dex_core.kinematics import HandKinematics
from dex_core.types import Array

MAX_ITERATIONS = 60
STEP_TOLERANCE_RAD = 1e-6
COST_TOLERANCE = 1e-7
"""Relative: a step that lowers the cost by less ends the search."""
MIN_DAMPING, MAX_DAMPING = 1e-6, 1e8
"""Relative to the Hessian's diagonal."""
BOUND_PASSES = 4
"""So often a step that leaves the limits is taken again with those joints at their limits."""


class Solved(NamedTuple):
    """Joints (n,) [rad], the cost there, iterations, whether the search ended by itself, and the (p, 3) points in the root frame [m]."""

    position_rad: Array
    cost: float
    iterations: int
    settled: bool
    points_m: Array


class VectorProblem:
    """Minimises ``sum w |x_a - x_b - target|^2 + sum h (q - anchor)^2`` inside the limits, by Levenberg-Marquardt on analytic Jacobians.

    Deterministic. One thread at a time.

    Args:
        kinematics: of the hand.
        frames: names of the points, links or joints.
        pairs: of each vector the rows of its head and tail in ``frames``; tail -1: the root's origin.
        free: (n,) bool, joints that may move.
    """

    def __init__(self, kinematics: HandKinematics, frames: Sequence[str], pairs: Sequence[tuple[int, int]], free: Array) -> None:
        self._kinematics, self._frames = kinematics, tuple(frames)
        self._pairs = np.array(pairs, dtype=np.int32).reshape(-1, 2)
        self._free = np.asarray(free, dtype=bool)
        self._select = np.zeros((len(self._pairs), len(self._frames)))  # vectors = select @ points
        for row, (head, tail) in enumerate(self._pairs):
            self._select[row, head] += 1.0
            if tail >= 0:
                self._select[row, tail] -= 1.0

    def vectors(self, q: Array) -> Array:
        """(m, 3) at ``q`` in the root frame [m]."""
        return self._select @ self._kinematics.positions(q, self._frames)

    def at(self, q: Array, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array) -> Solved:
        """What :meth:`solve` would say of ``q`` (n,), inside the limits, without a search."""
        points = self._kinematics.positions(q, self._frames)
        cost = float(weights @ np.sum((self._select @ points - targets_m) ** 2, axis=1) + hold @ (q - anchor_rad) ** 2)
        return Solved(q, cost, 0, True, points)

    def cost(self, q: Array, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array) -> float:
        """What :meth:`solve` minimises, at ``q`` (n,) inside the limits."""
        return self.at(q, targets_m, weights, anchor_rad, hold).cost

    def search(
        self, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array, starts: Sequence[Array], groups: Sequence[Array],
        known: Sequence[Solved] = (),
    ) -> Solved:
        """The best of what is ``known``, of what is found from ``starts``, and of both exchanged group by group of columns (fingers are
        nearly independent, so no single start has to be right for all of them)."""
        task = (targets_m, weights, anchor_rad, hold)
        found = [*known, *(self.solve(*task, start) for start in starts)]
        best = min(found, key=lambda solved: solved.cost)
        mixed, cost = best.position_rad.copy(), best.cost
        for group in groups:
            for other in found:
                if other is best:
                    continue
                trial = mixed.copy()
                trial[group] = other.position_rad[group]
                trial_cost = self.cost(trial, *task)
                if trial_cost < cost:
                    mixed, cost = trial, trial_cost
        return min(best, self.solve(*task, mixed), key=lambda solved: solved.cost) if cost < best.cost else best

    def solve(self, targets_m: Array, weights: Array, anchor_rad: Array, hold: Array, start_rad: Array) -> Solved:
        """Joints for (m, 3) targets with (m,) weights, held to ``anchor_rad`` with (n,) weights ``hold`` [m^2/rad^2]."""
        lower, upper = self._kinematics.lower_rad, self._kinematics.upper_rad
        q, damping = np.clip(start_rad, lower, upper), MIN_DAMPING
        cost = self.cost(q, targets_m, weights, anchor_rad, hold)
        for iteration in range(MAX_ITERATIONS):
            gradient, hessian = self._model(q, targets_m, weights, anchor_rad, hold)
            movable = self._free & ~(((q <= lower) & (gradient > 0.0)) | ((q >= upper) & (gradient < 0.0)))
            moved, lowered = 0.0, 0.0
            while damping < MAX_DAMPING and movable.any():
                q_new = np.clip(q + _bounded_step(hessian, gradient, damping, movable, lower - q, upper - q), lower, upper)
                cost_new = self.cost(q_new, targets_m, weights, anchor_rad, hold)
                if cost_new < cost:
                    step = q_new - q
                    moved, lowered = float(np.abs(step).max()), cost - cost_new
                    gain = lowered / max(float(-step @ (2.0 * gradient + hessian @ step)), 1e-300)
                    # far from any target the true curvature is larger than the model's: a poor gain asks for more damping
                    rule = max(0.1, 1.0 - (2.0 * min(gain, 1.0) - 1.0) ** 3) if gain > 0.25 else 10.0
                    q, cost, damping = q_new, cost_new, max(rule * damping, MIN_DAMPING)
                    break
                damping *= 10.0
            if moved < STEP_TOLERANCE_RAD or lowered < COST_TOLERANCE * cost:
                return Solved(q, cost, iteration + 1, True, self._kinematics.positions(q, self._frames))
        return Solved(q, cost, MAX_ITERATIONS, False, self._kinematics.positions(q, self._frames))

    def _model(self, q: Array, targets: Array, weights: Array, anchor: Array, hold: Array) -> tuple[Array, Array]:
        """Half the gradient (n,) and half the Gauss-Newton Hessian (n, n) of the cost."""
        points = np.stack([self._kinematics.jacobian(q, frame)[:3] for frame in self._frames])  # (p, 3, n)
        jacobian = np.einsum("mp,pin->min", self._select, points)
        error = self.vectors(q) - targets
        gradient = np.einsum("m,mi,min->n", weights, error, jacobian) + hold * (q - anchor)
        flat = (jacobian * np.sqrt(weights)[:, None, None]).reshape(-1, q.size)
        return gradient, flat.T @ flat + np.diag(hold)


def _bounded_step(hessian: Array, gradient: Array, damping: float, movable: Array, low: Array, high: Array) -> Array:
    """(n,) damped step; joints it would take out of ``low`` to ``high`` go to that end, and the others are solved for again."""
    step, inside = np.zeros(gradient.size), movable.copy()
    damped = hessian + np.diag(damping * (np.diag(hessian) + 1e-12))
    for _ in range(BOUND_PASSES):
        rows = np.flatnonzero(inside)
        if rows.size == 0:
            break
        fixed = np.flatnonzero(movable & ~inside)
        step[rows] = np.linalg.solve(damped[np.ix_(rows, rows)], -gradient[rows] - damped[np.ix_(rows, fixed)] @ step[fixed])
        out = inside & ((step < low) | (step > high))
        if not out.any():
            break
        step[out] = np.clip(step, low, high)[out]
        inside &= ~out
    return step
