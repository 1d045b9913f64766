# SPDX-License-Identifier: Apache-2.0
"""The hand IK in NumPy: reference of the compiled kernel, and its stand-in where there is no compiler."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dex_core.kinematics.hand_ik_chains import Chains
from dex_core.kinematics.hand_ik_descend import Found, Problem, approach
from dex_core.kinematics.hand_ik_forward import ManyForward
from dex_core.kinematics.hand_ik_groups import FingerGroup
from dex_core.kinematics.hand_ik_kernel import COLD, NOT_FINITE, PREVIOUS
from dex_core.types import Array

SEEDS = 24
SEEDS_NEAR = 12
SWITCH_M = 2e-3
"""So much nearer, and more than twice as near, must a branch be to be changed to where none reaches."""
STEP_RAD = 0.5
"""A target that nothing reaches moves a joint no further from the previous solution."""
NEARNESS = 1e-4
"""How a seed's distance from the previous solution counts beside its tip's [m^2/rad^2]."""
APART = 0.15
"""Share of the range by which seeds differ."""
CONVERGED, CLOSEST, MAX_ITERATIONS = 0, 1, 2


class NumpyEngine:
    """The interface of ``KernelEngine``, with the same answers to within the tolerance."""

    def __init__(
        self, groups: Sequence[FingerGroup], lower_rad: Array, upper_rad: Array, rest_rad: Array,
        fingers: int, tolerance_m: float, posture: float, max_iterations: int,
    ) -> None:
        n = len(lower_rad)
        self._groups, self._lower, self._upper, self._rest = tuple(groups), lower_rad, upper_rad, rest_rad
        self._reached, self._posture, self._limit = tolerance_m**2, posture, max_iterations
        self._inputs = np.zeros(4 * fingers + n)
        target, self.weight, self.start = np.split(self._inputs, (3 * fingers, 4 * fingers))
        self.target = target.reshape(fingers, 3)
        self.q, self.residual, self.iterations = np.zeros(n), np.zeros(fingers), 0
        single = [g for g in self._groups if len(g.fingers) == 1]
        self._alone = [i for i, g in enumerate(self._groups) if len(g.fingers) > 1]
        self._single = [i for i, g in enumerate(self._groups) if len(g.fingers) == 1]
        self._width = max((len(g.columns) for g in single), default=0)
        self._row_fingers = np.array([g.fingers[0] for g in single], dtype=np.intp)
        self._columns = np.full((len(single), self._width), n, dtype=np.intp)  # n: a column of nothing, behind the last
        for i, group in enumerate(single):
            self._columns[i, : len(group.columns)] = group.columns
        self._wide = np.zeros(n + 1)
        self._padded_lower, self._padded_upper, self._padded_rest = (np.append(a, 0.0)[self._columns] for a in (lower_rad, upper_rad, rest_rad))
        self._used = self._columns < n
        self._pull = np.array([g.pull for g in single])
        self._chains = Chains(single) if single else None
        if single:
            self._sample_tip = np.concatenate([g.sample_tip_m[0] for g in single])  # (f, 3, s)
            self._sample_q = np.stack([np.pad(g.sample_rad[0], ((0, 0), (0, self._width - len(g.columns)))) for g in single])  # (f, s, c)
        self._forward = {i: ManyForward(self._groups[i]) for i in self._alone}

    def solve(self, mode: int) -> int:
        """One solve of what is in the buffers; a status of hand_ik.h."""
        if np.count_nonzero(np.isfinite(self._inputs)) < self._inputs.size:
            return NOT_FINITE
        return self._solve(mode, local=False)

    def track(self, targets_m: Array) -> tuple[Array, Array]:
        """(T, n) joints and (T, k) residuals for (T, k, 3) targets from ``start``, each from the one before, on its branch."""
        q, residual = np.empty((len(targets_m), len(self.q))), np.empty((len(targets_m), len(self.residual)))
        kept = self.start.copy(), self.target.copy()
        for t, target in enumerate(targets_m):
            self.target[:] = target
            self._solve(PREVIOUS, local=True)
            q[t], residual[t] = self.q, self.residual
            self.start[:] = self.q
        self.start[:], self.target[:] = kept
        return q, residual

    def branches(self, group: int, most: int) -> tuple[Array, Array]:
        """(b, c) distinct solutions of one group for the targets in the buffers, nearest to ``start`` first, and (b,) their residuals."""
        part = self._groups[group]
        base = np.clip(self.start, self._lower, self._upper)[part.columns]
        q, cost, _ = self._from_seeds(group, base, self._reference(PREVIOUS, part.columns), base, SEEDS)
        kept: list[int] = []
        for i in range(len(q)):
            if len(kept) < most and all(np.abs(q[i] - q[k]).max() >= 0.1 for k in kept):
                kept.append(i)
        return q[kept], np.sqrt(cost[kept])

    def _solve(self, mode: int, *, local: bool) -> int:
        self.iterations = 0
        base = np.minimum(np.maximum(self.start, self._lower), self._upper)
        self.q[:] = base
        worst = CONVERGED
        if self._chains is not None:
            worst = self._solve_single(mode, base, local)
        for index in self._alone:
            worst = max(worst, self._solve_alone(index, mode, base, local))
        return worst

    def _solve_single(self, mode: int, base: Array, local: bool) -> int:
        """All fingers with joints of their own, side by side."""
        wanted = self.weight[self._row_fingers] > 0.0
        self._wide[:-1] = base
        padded = self._wide[self._columns]
        reference = padded if mode != PREVIOUS else padded + self._posture * (self._padded_rest - padded)
        q = padded.copy()
        if mode == COLD:
            away = np.square(self._sample_tip - self.target[self._row_fingers][:, :, None]).sum(axis=1)  # (f, s)
            q = np.where(wanted[:, None], self._sample_q[np.arange(len(q)), away.argmin(axis=1)], q)
        problem = Problem(
            self._chains, self.target[self._row_fingers], self._padded_lower, self._padded_upper, wanted[:, None], reference
        )
        follow = mode == PREVIOUS
        found = _follow(problem, q, self._pull, self._limit, self._reached) if follow else approach(problem, q, self._pull, self._limit)
        q, cost, settled, steps = found
        self.iterations += steps
        missed = wanted & (cost > self._reached)
        for i in np.flatnonzero(missed) if not local and np.count_nonzero(missed) else ():
            own = self._used[i]
            q[i, own], cost[i], settled[i] = self._elsewhere(self._single[i], mode, padded[i, own], reference[i, own], q[i, own], cost[i], settled[i])
        self.q[self._columns[self._used]] = q[self._used]
        self.residual[self._row_fingers] = np.sqrt(cost)
        return _worst(cost, settled, wanted, self._reached)

    def _solve_alone(self, index: int, mode: int, base: Array, local: bool) -> int:
        """A group of several fingers."""
        group = self._groups[index]
        start, reference = base[group.columns], self._reference(mode, group.columns)
        wanted = self.weight[group.fingers] > 0.0
        q, status = start, CONVERGED
        if wanted.any():
            seed = self._seeds(index, start, None, 1)[0] if mode == COLD else start
            found = self._approach(index, seed[None], start, reference, follow=mode == PREVIOUS)
            self.iterations += found.steps
            q, worst, calm = found.q[0], found.cost[0], found.settled[0]
            if worst > self._reached and not local:
                q, worst, calm = self._elsewhere(index, mode, start, reference, q, worst, calm)
            status = _worst(np.array([worst]), np.array([calm]), np.array([True]), self._reached)
        self.q[group.columns] = q
        tips = self._forward[index].tips(q[None])[0]
        self.residual[group.fingers] = np.sqrt(np.square(self.target[group.fingers] - tips).sum(axis=1))
        return status

    def _elsewhere(
        self, index: int, mode: int, start: Array, reference: Array, q: Array, cost: float, settled: bool
    ) -> tuple[Array, float, bool]:
        """Other starts where the first search did not reach: the best, or with a previous solution the nearest branch that reaches."""
        near = start if mode == PREVIOUS else None
        many, costs, calm = self._from_seeds(index, start, reference, near, SEEDS_NEAR if mode == PREVIOUS else SEEDS)
        if near is None:
            best = int(np.argmin(costs))
            return (many[best], costs[best], calm[best]) if costs[best] < cost else (q, cost, settled)
        reaching = np.flatnonzero(costs <= self._reached)
        if len(reaching):
            best = int(reaching[np.argmin(np.abs(many[reaching] - start).max(axis=1))])
        else:
            best = int(np.argmin(costs))
            if costs[best] >= 0.25 * cost or np.sqrt(costs[best]) >= np.sqrt(cost) - SWITCH_M:
                return q, cost, settled
        return many[best], costs[best], calm[best]

    def _from_seeds(self, index: int, start: Array, reference: Array, near: Array | None, most: int) -> tuple[Array, Array, Array]:
        found = self._approach(index, self._seeds(index, start, near, most), start, reference)
        self.iterations += found.steps
        return found.q, found.cost, found.settled

    def _approach(self, index: int, seeds: Array, start: Array, reference: Array, *, follow: bool = False) -> Found:
        """Searches of one group from each row of ``seeds``."""
        group = self._groups[index]
        weight = self.weight[group.fingers]
        wanted, count = weight > 0.0, len(seeds)
        forward = self._forward[index] if index in self._forward else Chains([group], np.zeros(count, dtype=np.intp))
        gain = np.sqrt(weight[wanted] / weight.max())
        evaluate = forward if len(weight) == 1 else _Some(forward, wanted, gain)
        target = (self.target[group.fingers[wanted]] * gain[:, None]).ravel()
        limits = (np.tile(side[group.columns], (count, 1)) for side in (self._lower, self._upper))
        active = np.tile(group.moves[wanted].any(axis=0), (count, 1))
        problem = Problem(evaluate, np.tile(target, (count, 1)), *limits, active, np.tile(reference, (count, 1)))
        pull = np.full(count, group.pull)
        return _follow(problem, seeds, pull, self._limit, self._reached) if follow else approach(problem, seeds, pull, self._limit)

    def _reference(self, mode: int, columns: np.ndarray) -> Array:
        base = np.clip(self.start, self._lower, self._upper)[columns]
        return base + self._posture * (self._rest[columns] - base) if mode == PREVIOUS else base

    def _seeds(self, index: int, start: Array, near: Array | None, most: int) -> Array:
        """(s, c) starting points, the most promising first: each block's shared joints with the best sample of each finger on its own."""
        group = self._groups[index]
        weight = self.weight[group.fingers]
        wanted = np.flatnonzero(weight > 0.0)
        active, blocks = group.moves[wanted].any(axis=0), len(group.sample_rad)
        out, scores = [], []
        for block in range(blocks):
            samples = group.sample_rad[block]
            picks = [self._nearest(group, block, tip, weight[tip] / weight.max(), near, most if blocks == 1 else 1) for tip in wanted]
            for rank in range(min(len(index) for index, _score in picks)):
                q = np.where(active, samples[0], start)
                score = sum(float(s[rank]) for _index, s in picks)
                if near is not None:
                    score += NEARNESS * float(np.square(samples[0] - near)[active & (group.owner < 0)].sum())
                for tip, (index_of, _score) in zip(wanted, picks, strict=True):
                    own = active & (group.owner == tip)
                    q[own] = samples[index_of[rank], own]
                out.append(q)
                scores.append(score)
        return np.array(out)[np.argsort(scores, kind="stable")[:most]]

    def _nearest(self, group: FingerGroup, block: int, tip: int, gain: float, near: Array | None, ranks: int) -> tuple[list[int], list[float]]:
        own = group.owner == tip
        samples = group.sample_rad[block][:, own]
        score = gain * np.square(group.sample_tip_m[block, tip] - self.target[group.fingers[tip]][:, None]).sum(axis=0)
        if near is not None:
            score = score + NEARNESS * np.square(samples - near[own]).sum(axis=1)
        span = APART * (group.upper_rad - group.lower_rad)[own]
        index, best = [], []
        while len(index) < ranks and (not index or np.isfinite(score).any()):
            least = int(np.argmin(score))
            index.append(least)
            best.append(float(score[least]))
            score = np.where((np.abs(samples - samples[least]) > span).any(axis=1), score, np.inf)
        return index, best


class _Some:
    """The wanted tips of a group, weighted, as one row of coordinates."""

    def __init__(self, forward: ManyForward, wanted: np.ndarray, gain: Array) -> None:
        self._forward, self._wanted, self._gain = forward, wanted, gain[:, None]

    def __call__(self, q: Array) -> tuple[Array, Array]:
        tips, jacobian = self._forward.tips_and_jacobian(q)
        count, columns = q.shape
        weighted = jacobian[:, self._wanted] * self._gain[..., None]
        return (tips[:, self._wanted] * self._gain).reshape(count, -1), weighted.reshape(count, -1, columns)


def _follow(problem: Problem, q: Array, pull: Array, limit: int, reached: float) -> Found:
    """On from a previous solution: within a step of it, and only where that does not reach as far as it takes."""
    near = problem._replace(lower=np.maximum(problem.lower, q - STEP_RAD), upper=np.minimum(problem.upper, q + STEP_RAD))
    found = approach(near, q, pull, limit)
    if not np.count_nonzero(found.cost > reached):
        return found
    further = approach(problem, found.q, pull, limit)
    better = (found.cost > reached) & (further.cost <= reached)
    q, cost = np.where(better[:, None], further.q, found.q), np.where(better, further.cost, found.cost)
    return Found(q, cost, np.where(better, further.settled, found.settled), found.steps + further.steps)


def _worst(cost: Array, settled: np.ndarray, wanted: np.ndarray, reached: float) -> int:
    missed = wanted & (cost > reached)
    if not np.count_nonzero(missed):
        return CONVERGED
    return MAX_ITERATIONS if (missed & ~settled).any() else CLOSEST
