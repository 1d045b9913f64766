# SPDX-License-Identifier: Apache-2.0
"""Fingertip positions -> joints of a hand: bound-constrained Levenberg-Marquardt on analytic Jacobians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import DexError
from dex_core.kinematics.hand import HandKinematics
from dex_core.types import Array, frozen_array

MAX_ITERATIONS = 60
STEP_TOLERANCE_RAD = 1e-7
COST_TOLERANCE = 1e-8
"""Relative: a step that lowers the cost by less ends the search; far from any target that is where creeping begins."""
RESTARTS = 8
MIN_DAMPING = 1e-4
"""Relative to the Hessian's diagonal."""


class FingertipSolution(NamedTuple):
    """Result for T steps.

    Attributes:
        position_rad: (T, n) inside the limits [rad]; where a target is out of reach, the closest point found.
        residual_m: (T,) largest distance of a fingertip from its target [m].
        feasible: (T,) residual within the tolerance.
    """

    position_rad: Array
    residual_m: Array
    feasible: np.ndarray


class FingertipSolver:
    """Minimises the sum of squared tip distances within the joint limits, each step started from the one before.

    Deterministic: no random numbers, no time limit. One thread at a time (the kinematics own a work space).

    Args:
        kinematics: of the hand; its joint names carry no side prefix.
        lower_rad, upper_rad: (n,) limits to keep, in the order of ``kinematics.names`` [rad].
        tolerance_m: residual up to which a target counts as reached [m].
    """

    def __init__(self, kinematics: HandKinematics, lower_rad: ArrayLike, upper_rad: ArrayLike, tolerance_m: float = 1e-3) -> None:
        n = len(kinematics.names)
        self._kinematics = kinematics
        self._lower = frozen_array(lower_rad, (n,), "lower limits")
        self._upper = frozen_array(upper_rad, (n,), "upper limits")
        if not (self._lower < self._upper).all():
            raise DexError(f"lower limits {self._lower} must be below upper limits {self._upper}", code="limit")
        self._tolerance_m = tolerance_m

    @property
    def joints(self) -> tuple[str, ...]:
        """Joint names without prefix, the order of every solution."""
        return self._kinematics.names

    @property
    def fingers(self) -> tuple[str, ...]:
        """Semantic names of the fingers it can place."""
        return self._kinematics.fingers

    def solve(self, targets_m: ArrayLike, fingers: Sequence[str], start_rad: ArrayLike) -> FingertipSolution:
        """Joints for (T, k, 3) targets of ``fingers`` in the hand's root frame [m].

        Args:
            targets_m: (T, k, 3).
            fingers: k semantic names; joints that move none of them stay at ``start_rad``.
            start_rad: (n,) measured joints the first step starts from [rad].
        """
        unknown = [f for f in fingers if f not in self.fingers]
        if unknown or not fingers or len(set(fingers)) != len(fingers):
            raise DexError(f"fingers {list(fingers)}: each of {list(self.fingers)} at most once, at least one", code="joint_names")
        targets = frozen_array(targets_m, (None, len(fingers), 3), "fingertip targets")
        rows = np.array([self.fingers.index(f) for f in fingers], dtype=np.intp)
        q = np.clip(frozen_array(start_rad, (len(self.joints),), "start of the search"), self._lower, self._upper)
        out = np.empty((len(targets), q.size))
        residual = np.empty(len(targets))
        for t, target in enumerate(targets):
            q, residual[t] = self._solve_step(target, rows, q, restart=t == 0)
            out[t] = q
        return FingertipSolution(out, residual, residual <= self._tolerance_m)

    def _solve_step(self, target: Array, rows: np.ndarray, q0: Array, *, restart: bool) -> tuple[Array, float]:
        q, cost = self._descend(target, rows, q0)
        if restart and self._residual(q, target, rows) > self._tolerance_m:
            for start in self._starts(q0):
                other, other_cost = self._descend(target, rows, start)
                if other_cost < cost - 1e-12:
                    q, cost = other, other_cost
        return q, self._residual(q, target, rows)

    def _starts(self, q0: Array) -> list[Array]:
        """A fixed grid along the diagonal and its mirror images, where a curled finger's second minimum is found."""
        span = self._upper - self._lower
        shares = np.linspace(0.0, 1.0, RESTARTS // 2)
        alternate = np.arange(q0.size) % 2
        return [self._lower + span * s for s in shares] + [self._lower + span * np.where(alternate, s, 1.0 - s) for s in shares]

    def _descend(self, target: Array, rows: np.ndarray, q0: Array) -> tuple[Array, float]:
        q, damping = q0, MIN_DAMPING
        error = self._error(q, target, rows)
        cost = float(error @ error)
        for _ in range(MAX_ITERATIONS):
            jacobian = self._kinematics.fingertip_jacobian(q)[rows].reshape(-1, q.size)  # (3k, n)
            gradient = jacobian.T @ error
            free = ~(((q <= self._lower) & (gradient < 0.0)) | ((q >= self._upper) & (gradient > 0.0)))
            free &= np.abs(jacobian).sum(axis=0) > 1e-12  # joints that move none of the wanted fingers stay
            if not free.any():
                break
            step, q_new, cost_new, damping = self._try_steps(q, cost, jacobian[:, free], gradient[free], free, damping, target, rows)
            if step == 0.0:
                break
            settled = step < STEP_TOLERANCE_RAD or cost - cost_new < COST_TOLERANCE * cost
            q, cost = q_new, cost_new
            if settled:
                break
            error = self._error(q, target, rows)
        return q, cost

    def _try_steps(
        self, q: Array, cost: float, jacobian: Array, gradient: Array, free: np.ndarray, damping: float, target: Array, rows: np.ndarray
    ) -> tuple[float, Array, float, float]:
        """Raises the damping until a step inside the limits lowers the cost; returns (largest move [rad], q, cost, damping)."""
        hessian = jacobian.T @ jacobian  # (f, f)
        scale = np.diag(hessian) + 1e-9
        while damping < 1e8:
            delta = np.zeros(q.size)
            delta[free] = np.linalg.solve(hessian + damping * np.diag(scale), gradient)
            q_new = np.clip(q + delta, self._lower, self._upper)
            error = self._error(q_new, target, rows)
            cost_new = float(error @ error)
            if cost_new < cost:
                moved = (q_new - q)[free]
                predicted = float(moved @ (2.0 * gradient - hessian @ moved))
                gain = (cost - cost_new) / max(predicted, 1e-300)
                rule = max(0.1, 1.0 - (2.0 * min(gain, 1.0) - 1.0) ** 3) if gain > 0.25 else 10.0  # far from any target the true curvature is larger
                return float(np.abs(moved).max()), q_new, cost_new, max(damping * rule, MIN_DAMPING)
            damping *= 10.0
        return 0.0, q, cost, damping

    def _error(self, q: Array, target: Array, rows: np.ndarray) -> Array:
        return (target - self._kinematics.fingertips(q)[rows]).ravel()

    def _residual(self, q: Array, target: Array, rows: np.ndarray) -> float:
        return float(np.linalg.norm(target - self._kinematics.fingertips(q)[rows], axis=1).max())
