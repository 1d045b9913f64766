# SPDX-License-Identifier: Apache-2.0
"""A chunk of fingertip targets solved as one: the branch that serves the whole chunk best, not step by step."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import NonFiniteError
from dex_core.kinematics.hand_ik import HandIk, HandIkStatus
from dex_core.types import Array, frozen_array

BRANCHES = 4
"""Solutions of one step that are followed through the chunk."""
ROUNDS = 3
"""So many steps of a chunk are asked for other branches."""
MISS_RAD2, MISSED_M = 100.0, 1e-3
"""What a target missed by a millimetre costs, as much as a jump of 10 rad: a branch is left to reach, never to save a way."""
FURTHER_RAD2_PER_M = 100.0
"""What each metre beyond costs: where nothing reaches, only a branch that is far nearer for long is worth a jump."""
FREE_STEP_RAD = 0.25
"""A larger step between neighbours costs its square; smaller ones are what a moving hand does."""
START_JUMP_RAD = 0.5
"""A start further than this from the previous solution counts as a jump."""


class ChunkIkSolution(NamedTuple):
    """Joints for T steps.

    Attributes:
        position_rad: (T, n) inside the limits. residual_m: (T, k) distance of each tip from its target.
        status: (T,) ``HandIkStatus`` as integers.
    """

    position_rad: Array
    residual_m: Array
    status: np.ndarray


def solve_chunk(
    ik: HandIk, targets_m: ArrayLike, fingers: Sequence[str] | None = None, weights: ArrayLike | None = None,
    start_rad: ArrayLike | None = None, previous_rad: ArrayLike | None = None,
) -> ChunkIkSolution:
    """Joints for (T, k, 3) targets in the wrist frame, coherent in time; T may be 0.

    The first step is solved as ``HandIk.solve`` does and its branch followed. Where that branch ends before the chunk does, the
    other branches of the steps it fails are followed forwards and backwards, and of all of them the way through the chunk is taken
    that reaches every target it can with the smallest jumps.

    Arguments and errors as ``HandIk.solve``; a target that is not finite is named with its step.
    """
    rows = ik.rows(fingers)
    count = len(ik.fingers) if fingers is None else len(fingers)
    targets = frozen_array(targets_m, (None, count, 3), "fingertip targets", finite=False)
    _refuse_not_finite(targets, ik.fingers if fingers is None else fingers)
    if not len(targets):
        ik.start_from(start_rad, previous_rad)
        return ChunkIkSolution(np.zeros((0, len(ik.names))), np.zeros((0, count)), np.zeros(0, dtype=int))
    first = ik.solve(targets[0], fingers, weights, start_rad, previous_rad)
    whole = np.zeros((len(targets), len(ik.fingers), 3))
    whole[:, rows] = targets
    chunk = _Chunk(ik, whole, None if previous_rad is None else np.clip(np.asarray(previous_rad, dtype=float), ik.lower_rad, ik.upper_rad))
    q, residual = chunk.solve(first.position_rad)
    reached = (residual[:, ik.engine.weight > 0.0] <= ik.tolerance_m).all(axis=1)
    status = np.where(reached, HandIkStatus.CONVERGED, HandIkStatus.CLOSEST)
    return ChunkIkSolution(q, residual[:, rows], status)


class _Chunk:
    """One chunk while it is solved."""

    def __init__(self, ik: HandIk, targets: Array, previous: Array | None) -> None:
        self._ik, self._targets, self._previous = ik, targets, previous

    def solve(self, first: Array) -> tuple[Array, Array]:
        """(T, n) joints and (T, fingers) residuals, the first step found already."""
        q, residual = self._follow(first, 0)
        for number, group in enumerate(self._ik.groups):
            wanted = group.fingers[self._ik.engine.weight[group.fingers] > 0.0]
            if len(wanted) and (residual[:, wanted] > self._ik.tolerance_m).any():
                tracks = self._tracks(number, wanted, q, residual)
                if len(tracks) > 1:
                    way = self._way(tracks, group.columns, wanted)
                    for t, track in enumerate(way):
                        q[t, group.columns] = tracks[track][0][t, group.columns]
                        residual[t, group.fingers] = tracks[track][1][t, group.fingers]
        return q, residual

    def _follow(self, start: Array, step: int) -> tuple[Array, Array]:
        """The branch of ``start``, a solution of ``step``, forwards to the end and backwards to the beginning."""
        self._ik.engine.start[:] = start
        q, residual = self._ik.engine.track(self._targets[step:])
        if step == 0:
            return q, residual
        self._ik.engine.start[:] = q[0]
        back_q, back_residual = self._ik.engine.track(self._targets[step - 1 :: -1])
        return np.concatenate([back_q[::-1], q]), np.concatenate([back_residual[::-1], residual])

    def _tracks(self, number: int, wanted: np.ndarray, q: Array, residual: Array) -> list[tuple[Array, Array]]:
        """Whole-chunk tracks of one group: the first one, and those of other branches where all so far fail."""
        engine, group = self._ik.engine, self._ik.groups[number]
        tracks = [(q.copy(), residual.copy())]
        kept = engine.weight.copy()
        engine.weight[np.setdiff1d(np.arange(len(kept)), group.fingers)] = 0.0
        for _ in range(ROUNDS):
            worst = np.min([track[1][:, wanted].max(axis=1) for track in tracks], axis=0)
            failed = np.flatnonzero(worst > self._ik.tolerance_m)
            if not len(failed):
                break
            step = int(failed[len(failed) // 2])
            engine.target[:], engine.start[:] = self._targets[step], tracks[0][0][step]
            solutions, distances = engine.branches(number, BRANCHES)
            fresh = solutions[distances <= max(self._ik.tolerance_m, 0.5 * worst[step])]
            if not len(fresh):
                break
            for solution in fresh:
                start = tracks[0][0][step].copy()
                start[group.columns] = solution
                tracks.append(self._follow(start, step))
        engine.weight[:] = kept
        return tracks

    def _way(self, tracks: list[tuple[Array, Array]], columns: np.ndarray, wanted: np.ndarray) -> list[int]:
        """Which track each step is taken from: what is missed and how far is jumped, together least."""
        q = np.array([track[0][:, columns] for track in tracks])  # (b, T, c)
        missed = np.array([np.maximum(track[1][:, wanted].max(axis=1) - self._ik.tolerance_m, 0.0) for track in tracks])  # (b, T)
        missed = MISS_RAD2 * np.minimum(missed / MISSED_M, 1.0) + FURTHER_RAD2_PER_M * missed
        cost = missed[:, 0]
        if self._previous is not None:
            cost = cost + _jump(q[:, 0] - self._previous[columns], START_JUMP_RAD)
        came_from = []
        for t in range(1, len(self._targets)):
            through = cost[:, None] + _jump(q[None, :, t] - q[:, None, t - 1], FREE_STEP_RAD)  # (from, to)
            came_from.append(through.argmin(axis=0))
            cost = through.min(axis=0) + missed[:, t]
        way = [int(cost.argmin())]
        for before in reversed(came_from):
            way.append(int(before[way[-1]]))
        return way[::-1]


def _jump(difference: Array, free: float) -> Array:
    largest = np.abs(difference).max(axis=-1)
    return np.where(largest > free, np.square(largest), 0.0)


def _refuse_not_finite(targets: Array, fingers: Sequence[str]) -> None:
    if np.isfinite(targets).all():
        return
    step, row = (int(i) for i in np.argwhere(~np.isfinite(targets))[0][:2])
    raise NonFiniteError(f"target of finger {fingers[row]!r} at step {step}: {targets[step, row].tolist()}; every number must be finite")
