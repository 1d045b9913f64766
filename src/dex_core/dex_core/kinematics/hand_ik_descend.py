# SPDX-License-Identifier: Apache-2.0
"""Many bound-constrained Levenberg-Marquardt searches side by side, in NumPy."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dex_core.types import Array

ENOUGH = 1e-12
"""A squared distance below this ends a search [m^2]."""
PROXIMITY = 1e-6
"""Pull of a redundant finger to its reference while it searches [m^2/rad^2]."""
SETTLED_RAD = 1e-7
CREEPING = 1e-9
LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-9, 1e-6, 1e9
FLOOR = 1e-9
"""Added to the Hessian's diagonal where it is scaled by the damping [m^2/rad^2]."""


class Problem(NamedTuple):
    """Searches r = 0..R-1.

    Attributes:
        evaluate: (R, c) q -> (R, m) coordinates and (R, m, c) their derivatives.
        target: (R, m). weight: (R,) unused rows may be anything. lower, upper, active, reference: (R, c).
    """

    evaluate: Callable[[Array], tuple[Array, Array]]
    target: Array
    weight: Array
    lower: Array
    upper: Array
    active: np.ndarray
    reference: Array


def approach(problem: Problem, q: Array, redundant: np.ndarray, limit: int) -> tuple[Array, Array, np.ndarray, int]:
    """Each row drawn to its reference first where it is redundant, then to its target alone.

    Returns:
        (R, c) joints, (R,) squared distances, (R,) whether the search came to rest, and the steps taken.
    """
    steps = 0
    if redundant.any():
        q, _cost, _settled, steps = descend(problem, q, PROXIMITY * redundant, limit)
    q, cost, settled, more = descend(problem, q, None, limit)
    return q, cost, settled, steps + more


def descend(problem: Problem, q: Array, pull: Array | None, limit: int) -> tuple[Array, Array, np.ndarray, int]:
    """One search a row; as :func:`approach`, with ``pull`` (R,) [m^2/rad^2] towards the reference."""
    point, jacobian = problem.evaluate(q)
    error = problem.target - point
    cost = np.einsum("rm,rm->r", error, error)
    total = cost if pull is None else cost + pull * np.square(q - problem.reference).sum(axis=1)
    damping = np.full(len(q), FIRST_DAMPING)
    going = problem.active.any(axis=1)
    steps = 0
    for _ in range(2 * limit):  # a step that is refused counts as well
        going &= (cost > ENOUGH) if pull is None else (cost > ENOUGH) | (pull > 0.0)
        if not going.any():
            return q, cost, ~going, steps
        steps += int(np.count_nonzero(going))
        gradient = (error[:, None, :] @ jacobian)[:, 0]
        hessian = jacobian.transpose(0, 2, 1) @ jacobian
        if pull is not None:
            gradient = gradient - pull[:, None] * (q - problem.reference)
            hessian = hessian + pull[:, None, None] * np.eye(q.shape[1])
        free = problem.active & ~((q <= problem.lower) & (gradient < 0.0)) & ~((q >= problem.upper) & (gradient > 0.0)) & going[:, None]
        step = _bounded_step(hessian, gradient, q, free, damping, problem.lower, problem.upper)
        new = np.minimum(np.maximum(q + step, problem.lower), problem.upper)
        point, new_jacobian = problem.evaluate(new)
        new_error = problem.target - point
        new_cost = np.einsum("rm,rm->r", new_error, new_error)
        new_total = new_cost if pull is None else new_cost + pull * np.square(new - problem.reference).sum(axis=1)
        moved = np.abs(step).max(axis=1) >= SETTLED_RAD
        accepted = going & moved & (new_total < total)
        gained = total - new_total
        predicted = np.einsum("rc,rc->r", step, 2.0 * gradient - (hessian @ step[:, :, None])[:, :, 0])
        if accepted.all():
            q, error, jacobian, cost = new, new_error, new_jacobian, new_cost
        else:
            keep = accepted[:, None]
            q, error, cost = np.where(keep, new, q), np.where(keep, new_error, error), np.where(accepted, new_cost, cost)
            jacobian = np.where(keep[:, :, None], new_jacobian, jacobian)
        going &= moved & ~(accepted & (gained < CREEPING * total)) & (damping < MOST_DAMPING)
        total = np.where(accepted, new_total, total)
        damping = _next_damping(damping, accepted, gained, predicted)
    return q, cost, ~going | (cost <= ENOUGH), steps


def _next_damping(damping: Array, accepted: np.ndarray, gained: Array, predicted: Array) -> Array:
    ratio = gained / np.maximum(predicted, 1e-300)
    curve = 2.0 * np.minimum(np.maximum(ratio, 0.0), 1.0) - 1.0
    rule = np.where(ratio > 0.25, np.maximum(0.05, 1.0 - curve**3), 10.0)
    return np.where(accepted, np.maximum(damping * rule, LEAST_DAMPING), np.maximum(damping * 10.0, 1e-5))


def _bounded_step(hessian: Array, gradient: Array, q: Array, free: np.ndarray, damping: Array, lower: Array, upper: Array) -> Array:
    """(R, c) damped steps; joints that would leave their limits are put on them and the rest is solved again."""
    columns = q.shape[1]
    diagonal = np.arange(columns)
    matrix = hessian.copy()
    matrix[:, diagonal, diagonal] += damping[:, None] * (matrix[:, diagonal, diagonal] + FLOOR)
    step = np.zeros_like(q)
    for _ in range(columns + 1):
        both = free[:, :, None] & free[:, None, :]
        system = np.where(both, matrix, np.eye(columns))
        pushed = gradient - (hessian @ step[:, :, None])[:, :, 0] if step.any() else gradient
        move = np.linalg.solve(system, np.where(free, pushed, 0.0)[:, :, None])[:, :, 0]
        to = q + move
        out = free & ((to < lower) | (to > upper))
        if not out.any():
            return np.where(free, move, step)
        step = np.where(out, np.where(to < lower, lower, upper) - q, step)
        free = free & ~out
    return step
