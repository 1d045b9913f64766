# SPDX-License-Identifier: Apache-2.0
"""Many bound-constrained Levenberg-Marquardt searches side by side, in NumPy."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dex_core.types import Array

ENOUGH = 1e-12
"""A squared distance below this ends a search [m^2]."""
SETTLED_RAD, NEAR_RAD = 1e-7, 1e-4
"""A smaller step ends a search; the second one that is drawn to the reference, as another follows."""
CREEPING = 1e-9
LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-9, 1e-6, 1e9
FLOOR = 1e-9
"""Added to the Hessian's diagonal where it is scaled by the damping [m^2/rad^2]."""


class Problem(NamedTuple):
    """Searches r = 0..R-1.

    Attributes:
        evaluate: (R, c) q -> (R, m) coordinates and (R, m, c) their derivatives.
        target: (R, m). lower, upper, reference: (R, c). active: (R, c) or (R, 1); a column that moves nothing may be active and stays.
    """

    evaluate: Callable[[Array], tuple[Array, Array]]
    target: Array
    lower: Array
    upper: Array
    active: np.ndarray
    reference: Array


class Found(NamedTuple):
    """Where searches ended: (R, c) joints, (R,) squared distances, (R,) whether each came to rest, and the steps taken."""

    q: Array
    cost: Array
    settled: np.ndarray
    steps: int


def approach(problem: Problem, q: Array, pull: Array, limit: int) -> Found:
    """Each row with its ``pull`` (R,) to the reference first, then to its target alone."""
    if not np.count_nonzero(pull):
        return descend(problem, q, None, limit)
    near = descend(problem, q, pull, limit)
    found = descend(problem, near.q, None, limit)
    return found._replace(steps=found.steps + near.steps)


def descend(problem: Problem, q: Array, pull: Array | None, limit: int) -> Found:
    """One search a row; as :func:`approach`, with ``pull`` (R,) [m^2/rad^2] towards the reference."""
    error, jacobian, cost, total = _look(problem, q, pull)
    damping = np.full(len(q), FIRST_DAMPING)
    going, steps, last = np.logical_or.reduce(problem.active, axis=1), 0, None
    for _ in range(2 * limit):  # a step that is refused counts as well
        going = going & (cost > ENOUGH) if pull is None else going & ((cost > ENOUGH) | (pull > 0.0))
        count = int(np.count_nonzero(going))
        if not count:
            return Found(q, cost, ~going, steps)
        if last is not None:
            damping = _next_damping(damping, *last)
        steps += count
        gradient = (error[:, None, :] @ jacobian)[:, 0]
        matrix = jacobian.transpose(0, 2, 1) @ jacobian
        diagonal = matrix.reshape(len(q), -1)[:, :: q.shape[1] + 1]
        if pull is not None:
            gradient -= pull[:, None] * (q - problem.reference)
            diagonal += pull[:, None]
        damper = damping[:, None] * (diagonal + FLOOR)
        diagonal += damper
        free = problem.active & ((q > problem.lower) | (gradient >= 0.0)) & ((q < problem.upper) | (gradient <= 0.0))
        step = _bounded_step(matrix, damper, gradient, q, free, problem)
        new = np.minimum(np.maximum(q + step, problem.lower), problem.upper)
        new_error, new_jacobian, new_cost, new_total = _look(problem, new, pull)
        gained = total - new_total
        moved = np.maximum.reduce(np.abs(step), axis=1) >= (SETTLED_RAD if pull is None else NEAR_RAD)
        accepted = gained > 0.0
        last = accepted, gained, total, matrix, damper, gradient, step
        still_going = going & moved & ~(accepted & (gained < CREEPING * total)) & (damping < MOST_DAMPING)
        if np.count_nonzero(gained >= 0.0) == len(q):  # rows that are at their end may gain a little more
            q, error, jacobian, cost, total = new, new_error, new_jacobian, new_cost, new_total
        else:
            taken = accepted & going
            keep = taken[:, None]
            q, error, jacobian = np.where(keep, new, q), np.where(keep, new_error, error), np.where(keep[:, :, None], new_jacobian, jacobian)
            cost, total = np.where(taken, new_cost, cost), np.where(taken, new_total, total)
        going = still_going
    return Found(q, cost, ~going | (cost <= ENOUGH), steps)


def _look(problem: Problem, q: Array, pull: Array | None) -> tuple[Array, Array, Array, Array]:
    """(R, m) errors, (R, m, c) Jacobians, (R,) squared distances, and (R,) those with the pull."""
    point, jacobian = problem.evaluate(q)
    error = problem.target - point
    cost = np.add.reduce(np.square(error), axis=1)
    return error, jacobian, cost, cost if pull is None else cost + pull * np.square(q - problem.reference).sum(axis=1)


def _next_damping(
    damping: Array, accepted: np.ndarray, gained: Array, total: Array, matrix: Array, damper: Array, gradient: Array, step: Array
) -> Array:
    """After a step: less where the model of the cost foretold it, more where it was wrong or the step refused."""
    if np.count_nonzero(accepted & (gained > 0.9 * total)) == len(total):
        return np.maximum(0.05 * damping, LEAST_DAMPING)
    predicted = (step * (2.0 * gradient - (matrix @ step[:, :, None])[:, :, 0] + damper * step)).sum(axis=1)
    ratio = gained / np.maximum(predicted, 1e-300)
    curve = 2.0 * np.minimum(np.maximum(ratio, 0.0), 1.0) - 1.0
    rule = np.where(ratio > 0.25, np.maximum(0.05, 1.0 - curve * curve * curve), 10.0)
    return np.where(accepted, np.maximum(damping * rule, LEAST_DAMPING), np.maximum(damping * 10.0, 1e-5))


def _bounded_step(matrix: Array, damper: Array, gradient: Array, q: Array, free: np.ndarray, problem: Problem) -> Array:
    """(R, c) damped steps; joints that would leave their limits are put on them and the rest is solved again."""
    step = None
    for _ in range(q.shape[1] + 1):
        pushed = gradient if step is None else gradient - (matrix @ step[:, :, None])[:, :, 0] + damper * step
        move = _solve_each(matrix, pushed, free)
        to = q + move
        out = free & ((to < problem.lower) | (to > problem.upper))
        if not np.count_nonzero(out):
            return move if step is None else np.where(free, move, step)
        step = np.where(out, np.where(to < problem.lower, problem.lower, problem.upper) - q, 0.0 if step is None else step)
        free = free & ~out
    return step


def _solve_each(matrix: Array, right: Array, free: np.ndarray) -> Array:
    """(R, c) solutions of (R, c, c) systems in the free columns, 0 in the others; two unknowns by hand, as a call of LAPACK costs more."""
    held = np.count_nonzero(free) < free.size
    if right.shape[1] != 2:
        system = np.where(free[:, :, None] & free[:, None, :], matrix, np.eye(right.shape[1])) if held else matrix
        return np.linalg.solve(system, (right * free)[:, :, None])[:, :, 0]
    a, b, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    if held:
        right, b = right * free, b * (free[:, 0] & free[:, 1])
    x, y = right[:, 0], right[:, 1]
    move = np.empty_like(right)
    move[:, 0], move[:, 1] = d * x - b * y, a * y - b * x
    move /= (a * d - b * b)[:, None]
    return move
