# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of an arm in NumPy on Pinocchio, step for step as arm_ik.c: its reference, and the fallback without a compiler."""
from __future__ import annotations

import math

import numpy as np

from dex_core.errors import NonFiniteError
from dex_core.kinematics.arm_ik_box import step_in_box
from dex_core.kinematics.arm_ik_problem import COLD, FOLLOW, LIMITS, RESIDUAL, SINGULAR, SOLVED, Answer, Problem, require_poses
from dex_core.kinematics.chain import RobotKinematics
from dex_core.types import Array

ITERATION_STEP_RAD = 0.5
DAMPING_PER_ERROR, LEAST_DAMPING, POSTURE_DAMPING = 1e-3, 1e-10, 1e-8
FIRM, FIRM_STEPS = 0.1, 4
STALLED, STALLED_AT_MOST = 1e-3, 3
SETTLING_ROUNDS = 6


class State:
    """A posture and how far its tools are from their targets; ``residual`` (6 k) has the rotations in metres."""

    __slots__ = ("q", "error", "residual", "cost", "solved")

    def __init__(self, q: Array, error: Array, residual: Array, solved: bool) -> None:
        self.q, self.error, self.residual, self.solved = q, error, residual, solved
        self.cost = 0.5 * float(residual @ residual)


class NumpyArmIk:
    """Solves a Problem with NumPy.

    Args:
        robot: the same tree as the problem's.
    """

    def __init__(self, robot: RobotKinematics, problem: Problem) -> None:
        self._robot, self._p, self._o = robot, problem, problem.options
        self._frames = [_link_of(problem, place.joint) for place in problem.places]
        self._locals = [_local_in_link(problem, link, place) for link, place in zip(self._frames, problem.places, strict=True)]
        tools = [[self._tool(q, k) for k in range(len(problem.places))] for q in problem.seeds]
        self._seed_rotation = np.array([[r for r, _ in pair] for pair in tools])
        self._seed_position = np.array([[p for _, p in pair] for pair in tools])

    def solve(self, poses: Array, mode: int, start: Array | None) -> Answer:
        """As CompiledArmIk.solve."""
        return self.chunk(np.asarray(poses).reshape(1, -1, 4, 4), mode, start)

    def chunk(self, poses: Array, mode: int, start: Array | None, guide: Array | None = None, gain: float | None = None) -> Answer:
        """As CompiledArmIk.chunk."""
        if mode != COLD and not np.isfinite(start).all():
            bad = int(np.flatnonzero(~np.isfinite(start))[0])
            raise NonFiniteError(f"start: {start[bad]} for {self._robot.names[bad]}; every number must be finite")
        steps = []
        for t, step in enumerate(poses):
            for k, pose in enumerate(step):
                require_poses(pose[None], f"target pose {t * len(step) + k}")
            rest = self._p.rest if guide is None else guide[t]
            pull = (self._o.posture_gain, self._o.posture_step_rad) if gain is None else (gain, 1.0)
            state, counts = self._one(step, FOLLOW if t else mode, start, rest, pull)
            steps.append(self._conclude(state, counts))
            start = state.q
        return Answer(*(np.array(parts) for parts in zip(*steps, strict=True)))

    def beam(self, poses: Array, first: Array, width: int, push_rad: float) -> tuple[int, Array, np.ndarray, np.ndarray]:
        """As CompiledArmIk.beam."""
        steps, n = len(poses), len(self._p.lower)
        q, parent, count = np.zeros((steps, width, n)), np.zeros((steps, width), dtype=np.int32), np.zeros(steps, dtype=np.int32)
        q[0, :len(first)], count[0] = first, len(first)
        for t in range(1, steps):
            side = np.where(self._unit(self._p.seeds[1 + t % (len(self._p.seeds) - 1)]) < 0.0, -push_rad, push_rad)
            tried, origin = [], []
            for p, before in enumerate(q[t - 1, :count[t - 1]]):
                low, high = self._box(before, min(self._o.reach_rad, max(0.5 * self._o.reach_rad, 1.25 * push_rad)))
                for pull in (None, side, -side):
                    state, _ = self._descend(poses[t], before, low, high, pull)
                    if state.solved:
                        tried.append(state.q)
                        origin.append(p)
            if not tried:
                return t, q, parent, count
            kept = _spread(np.array(tried), width)
            count[t] = len(kept)
            q[t, :len(kept)], parent[t, :len(kept)] = np.array(tried)[kept], np.array(origin)[kept]
        return steps, q, parent, count

    def _one(self, target: Array, mode: int, start: Array | None, rest: Array, pull: tuple[float, float]) -> tuple[State, list[int]]:
        p, o, counts = self._p, self._o, [0, 0, 0]
        if mode == COLD:
            state = self._everywhere(target, None, 2 * o.max_restarts, counts, rest)
            return (self._settled(target, state, rest) if state.solved else state), counts
        begin = np.clip(start, p.lower, p.upper)
        low, high = self._box(begin, o.reach_rad if mode == FOLLOW else math.inf)
        gain, most = pull
        wish = np.clip(gain * (rest - begin), -most, most) if mode == FOLLOW and gain > 0.0 else None
        state, counts[0] = self._descend(target, begin, low, high, wish)
        if state.solved:
            return state, counts
        if mode == FOLLOW:
            near = self._near(target, begin, low, high, counts)
            if near is not None:
                return near, counts
            if not o.may_change_branch:
                return self._damped(target, begin, low, high, counts), counts
        other = self._everywhere(target, begin, o.max_restarts, counts, rest)
        if not other.solved:
            other = self._everywhere(target, None, 2 * o.max_restarts, counts, rest)
        if other.solved or (mode != FOLLOW and other.cost < state.cost):
            counts[2] = int(mode == FOLLOW)
            return other, counts
        return (self._damped(target, begin, low, high, counts) if mode == FOLLOW else state), counts

    def _damped(self, target: Array, begin: Array, low: Array, high: Array, counts: list[int]) -> State:
        state, used = self._descend(target, begin, low, high, None, FIRM, FIRM_STEPS)
        counts[0] += used
        return state

    def _descend(
        self, target: Array, q: Array, low: Array, high: Array, pull: Array | None, firmness: float = 0.0, iterations: int | None = None,
    ) -> tuple[State, int]:
        state, caution, stalled, used = self._state(target, np.clip(q, low, high)), 1.0, 0, 0
        h = g = None
        while used < (iterations or self._o.max_iterations):
            posture = used == 0 and pull is not None
            if not posture and state.solved:
                break
            used += 1
            if h is None:
                jacobian = self._jacobian(state.q)
                h, g = jacobian.T @ jacobian, jacobian.T @ state.residual
            damping = caution * DAMPING_PER_ERROR * state.cost + firmness * math.sqrt(2.0 * state.cost) + LEAST_DAMPING
            d = (max(damping, POSTURE_DAMPING) if posture else damping) * self._p.weight
            left, right = np.maximum(low - state.q, -ITERATION_STEP_RAD), np.minimum(high - state.q, ITERATION_STEP_RAD)
            step = step_in_box(h + np.diag(d), g + d * pull if posture else g, left, right)
            after = self._state(target, np.clip(state.q + step, low, high))
            if posture or after.cost < state.cost:
                stalled = stalled + 1 if after.cost > (1.0 - STALLED) * state.cost and not posture else 0
                state, caution, h = after, max(caution * 0.2, 1e-3), None
            else:
                caution, stalled = caution * 8.0, stalled + 1
            if stalled >= STALLED_AT_MOST:
                break
        return state, used

    def _near(self, target: Array, begin: Array, low: Array, high: Array, counts: list[int]) -> State | None:
        for seed in self._p.seeds[:self._o.max_restarts // 8]:
            state, used = self._descend(target, begin + 0.5 * self._o.reach_rad * self._unit(seed), low, high, None)
            counts[0], counts[1] = counts[0] + used, counts[1] + 1
            if state.solved:
                return state
        return None

    def _everywhere(self, target: Array, near: Array | None, tries: int, counts: list[int], rest: Array) -> State:
        found, best, kept = 0, math.inf, None
        for index in self._nearest(target, near)[:tries]:
            if found >= (3 if near is None else 1):
                break
            state, used = self._descend(target, self._p.seeds[index], self._p.lower, self._p.upper, None)
            counts[0], counts[1] = counts[0] + used, counts[1] + 1
            value = float(np.sum((state.q - (rest if near is None else near)) ** 2)) if state.solved else state.cost
            if (state.solved and not found) or (state.solved == (found > 0) and value < best):
                best, kept = value, state
            found += state.solved
        return kept

    def _nearest(self, target: Array, near: Array | None) -> np.ndarray:
        position = np.sum((self._seed_position - target[:, :3, 3]) ** 2, axis=(1, 2))
        turn = np.sum(3.0 - np.einsum("mkij,kij->mk", self._seed_rotation, target[:, :3, :3]), axis=1)
        score = position + self._o.rotation_m**2 * turn
        if near is not None:
            score += 0.01 * np.sum((self._p.seeds - near) ** 2, axis=1)
        return np.argsort(score, kind="stable")

    def _settled(self, target: Array, state: State, rest: Array) -> State:
        for _ in range(SETTLING_ROUNDS):
            trial, _ = self._descend(target, state.q, self._p.lower, self._p.upper, np.clip(0.5 * (rest - state.q), -0.3, 0.3))
            if not trial.solved or np.sum((trial.q - rest) ** 2) >= 0.999 * np.sum((state.q - rest) ** 2):
                break
            state = trial
        return state

    def _state(self, target: Array, q: Array) -> State:
        tools = [self._tool(q, k) for k in range(len(target))]
        raw = np.array([np.concatenate([pose[:3, 3] - p, rotation_vector(pose[:3, :3] @ r.T)]) for pose, (r, p) in zip(target, tools, strict=True)])
        error = np.stack([np.linalg.norm(raw[:, :3], axis=1), np.linalg.norm(raw[:, 3:], axis=1)], axis=1)
        raw[:, 3:] *= self._o.rotation_m
        return State(q, error, raw.ravel(), bool((error <= (self._o.tolerance_m, self._o.tolerance_rad)).all()))

    def _tool(self, q: Array, k: int) -> tuple[Array, Array]:
        pose = self._robot.pose(q, self._frames[k]) @ self._locals[k]
        return pose[:3, :3], pose[:3, 3]

    def _jacobian(self, q: Array, scaled: bool = True) -> Array:
        rows = []
        for k, frame in enumerate(self._frames):
            jacobian, offset = self._robot.jacobian(q, frame), self._robot.pose(q, frame)[:3, :3] @ self._locals[k][:3, 3]
            jacobian[:3] += np.cross(jacobian[3:].T, offset).T
            jacobian[3:] *= self._o.rotation_m if scaled else 1.0
            rows.append(jacobian)
        return np.concatenate(rows)

    def _conclude(self, state: State, counts: list[int]) -> tuple[Array, Array, Array, Array]:
        blocks = self._jacobian(state.q, scaled=False).reshape(-1, 6, len(state.q))
        measure = np.array([math.sqrt(max(0.0, np.linalg.det(j @ j.T))) for j in blocks])
        held = bool(((state.q <= self._p.lower + 1e-9) | (state.q >= self._p.upper - 1e-9)).any())
        status = SOLVED if state.solved else LIMITS if held else SINGULAR if measure.min() < self._o.singular else RESIDUAL
        return state.q, state.error, measure, np.array([status, *counts], dtype=np.int32)

    def _box(self, q: Array, reach: float) -> tuple[Array, Array]:
        return np.maximum(self._p.lower, q - reach), np.minimum(self._p.upper, q + reach)

    def _unit(self, seed: Array) -> Array:
        return 2.0 * (seed - self._p.lower) / (self._p.upper - self._p.lower) - 1.0


def rotation_vector(rotation: Array) -> Array:
    """(3,) axis times angle of a (3, 3) rotation."""
    v = 0.5 * np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = math.sqrt(v @ v), 0.5 * (np.trace(rotation) - 1.0)
    if sine > 1e-6 or cosine > 0.0:
        return v * (math.atan2(sine, cosine) / sine if sine > 1e-9 else 1.0)
    big = int(np.argmax(np.diag(rotation)))  # half a turn
    axis = 0.5 * (rotation[:, big] + rotation[big]) + np.eye(3)[big]
    return math.pi * axis / np.linalg.norm(axis)


def _link_of(problem: Problem, joint: int) -> str:
    """A link fixed to ``joint``."""
    return next(name for name, place in problem.tree.links.items() if place.joint == joint)


def _local_in_link(problem: Problem, link: str, place: object) -> Array:
    """(4, 4) of a tool in a link of the same joint."""
    base, pose = problem.tree.place(link), np.eye(4)
    pose[:3, :3], pose[:3, 3] = base.rotation.T @ place.rotation, base.rotation.T @ (place.position_m - base.position_m)
    return pose


def _spread(q: Array, width: int) -> list[int]:
    """Indices of at most ``width`` postures that lie far apart."""
    kept, gap, at = [], np.full(len(q), math.inf), 0
    while len(kept) < min(width, len(q)):
        kept.append(at)
        gap = np.minimum(gap, np.sum((q - q[at]) ** 2, axis=1))
        at = int(np.argmax(gap))
        if gap[at] < 1e-4:
            break
    return kept
