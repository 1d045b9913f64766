# SPDX-License-Identifier: Apache-2.0
"""A whole track of tool poses at once: where following it step by step ends in a dead end, the way round is found by looking ahead."""
from __future__ import annotations

from typing import Protocol

import numpy as np

from dex_core.kinematics.arm_ik_problem import COLD, FOLLOW, GUESS, Answer, Problem
from dex_core.types import Array

WIDTH = 32
LOOKS = ((WIDTH, 0.05), (WIDTH, 0.1), (WIDTH, 0.2), (2 * WIDTH, 0.2), (2 * WIDTH, 0.4))
"""Postures kept per step when looking ahead, and how far a step may turn a joint besides what the track asks for [rad]: gentle first."""
FIRST_POSTURES = 48
GUIDE_GAINS = (0.3, 1.0)
SMOOTHED_OVER = 9


class Solver(Protocol):
    """The compiled solver or the reference."""

    def solve(self, poses: Array, mode: int, start: Array | None) -> Answer:
        """One step."""
        ...

    def chunk(self, poses: Array, mode: int, start: Array | None, guide: Array | None = None, gain: float | None = None) -> Answer:
        """Steps that follow each other."""
        ...

    def beam(self, poses: Array, first: Array, width: int, push_rad: float) -> tuple[int, Array, np.ndarray, np.ndarray]:
        """All that can be reached along the steps."""
        ...


def solve_track(solver: Solver, problem: Problem, poses: Array, mode: int, start: Array | None) -> Answer:
    """(T, k, 4, 4) poses -> T solutions.

    Followed from the first step on. Where some steps are not reached that way, many postures are followed at once, each
    turning its elbow to either side; the one that comes furthest is traced back and becomes the posture the arm is pulled to,
    so that it turns in time.
    """
    best = solver.chunk(poses, mode, start)
    if _missed(best) and problem.options.look_ahead:
        best = _looking_ahead(solver, problem, poses, mode, start, best)
    if _missed(best) and problem.options.may_change_branch:
        best = _one_by_one(solver, poses, FOLLOW, best.q[0])
    return best


def _looking_ahead(solver: Solver, problem: Problem, poses: Array, mode: int, start: Array | None, best: Answer) -> Answer:
    first = _first_postures(solver, problem, poses[0], mode, best)
    if not len(first):
        return best
    path = _furthest_path(solver, poses, first)
    reached = len(path)
    path = np.concatenate([path, np.repeat(path[-1:], len(poses) - reached, axis=0)])
    begin = path[0] if mode == COLD else start
    for gain in GUIDE_GAINS:
        tried = solver.chunk(poses, FOLLOW, begin, _smooth(path), gain)
        best = min(best, tried, key=_missed)
        if _missed(best) == 0:
            return best
    along = _one_by_one(solver, poses[:reached], GUESS, path)
    if reached < len(poses):
        along = _joined(along, solver.chunk(poses[reached:], FOLLOW, along.q[-1]))
    return min(best, along, key=_missed)


def _first_postures(solver: Solver, problem: Problem, pose: Array, mode: int, best: Answer) -> Array:
    """(m, n) where the track may begin: near the start; without one, different solutions of the first step."""
    if mode != COLD:
        return best.q[:1] if best.report[0, 0] == 0 else best.q[:0]
    found: list[Array] = []
    for seed in problem.seeds[:FIRST_POSTURES]:
        answer = solver.solve(pose, GUESS, seed)
        if answer.report[0, 0] == 0 and all(np.abs(answer.q[0] - other).max() > 0.1 for other in found):
            found.append(answer.q[0].copy())
    return np.array(found[:WIDTH]).reshape(-1, len(problem.lower))


def _furthest_path(solver: Solver, poses: Array, first: Array) -> Array:
    """(r, n) postures without a jump along the first r steps."""
    best = first[:1]
    for width, push_rad in LOOKS:
        reached, q, parent, _ = solver.beam(poses, first, width, push_rad)
        if reached > len(best):
            best = _trace(q, parent, reached)
        if reached == len(poses):
            break
    return best


def _trace(q: Array, parent: np.ndarray, reached: int) -> Array:
    """(reached, n) back from the first posture of the last step."""
    path, at = np.empty((reached, q.shape[2])), 0
    for step in range(reached - 1, -1, -1):
        path[step], at = q[step, at], parent[step, at]
    return path


def _smooth(path: Array) -> Array:
    """Moving average, the ends kept."""
    half = SMOOTHED_OVER // 2
    padded = np.concatenate([np.repeat(path[:1], half, axis=0), path, np.repeat(path[-1:], half, axis=0)])
    total = np.cumsum(np.concatenate([np.zeros((1, path.shape[1])), padded]), axis=0)
    return (total[SMOOTHED_OVER:] - total[:-SMOOTHED_OVER]) / SMOOTHED_OVER


def _one_by_one(solver: Solver, poses: Array, mode: int, starts: Array) -> Answer:
    """Each step from its own start (T, n); or each from the one before where ``starts`` is one posture (n,)."""
    steps: list[Answer] = []
    for step, pose in enumerate(poses):
        start = starts[step] if starts.ndim == 2 else steps[-1].q[0] if steps else starts
        steps.append(Answer(*(part.copy() for part in solver.solve(pose, mode, start))))
    return _joined(*steps)


def _joined(*parts: Answer) -> Answer:
    return Answer(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _missed(answer: Answer) -> int:
    """Steps not reached; a change of branch counts as ten."""
    return int(np.count_nonzero(answer.report[:, 0])) + 10 * int(answer.report[:, 3].sum())
