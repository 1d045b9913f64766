# SPDX-License-Identifier: Apache-2.0
"""Lockstep episodes in which somebody acts, is disturbed, and the expert labels every state that is visited."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_learn.policy.layout import DT_S, HAND_STEPS, OBJECTS, PREVIOUS_STEPS, SIDES, STEPS, TASKS
from dex_learn.policy.records import Records
from dex_sim.lockstep import LockstepCell, Observation, ToolChunk

Array = NDArray[np.float64]
Label = Callable[[Observation, str], ToolChunk]
Actor = Callable[[Observation, str, Array], ToolChunk]
"""(observation, task, previous hand joints (64, 2, n)) -> chunk."""
OBSERVE_S = 0.2
REST = "rest"


@dataclass(frozen=True)
class Disturbance:
    """What makes episodes leave the expert's own path; standard deviations.

    Attributes:
        object_bias_m, object_noise_m: error of the places the acting expert is told, per episode and per chunk.
        tool_noise_m, turn_noise_rad: smooth offset added to each executed chunk.
        start_noise_rad: largest distance of the arms from home at the start.
        stray: share of the episodes that begin with a trip to a random pose.
        off_region_m: objects start up to so far outside their regions.
        rest: share of the episodes in which the instruction changes to the rest pose on the way.
        length_s: shortest and longest episode, without a stray beginning.
    """

    object_bias_m: float = 0.010
    object_noise_m: float = 0.005
    tool_noise_m: float = 0.012
    turn_noise_rad: float = 0.06
    start_noise_rad: float = 0.10
    stray: float = 0.35
    off_region_m: float = 0.02
    rest: float = 0.5
    length_s: tuple[float, float] = (6.0, 10.0)


class Collector:
    """Runs disturbed episodes with one hand and keeps labelled states. One per process; deterministic by seed.

    Args:
        lockstep: the cell with the hands.
        teacher: labels any state: (observation with the true places, task) -> chunk.
        disturbance: what goes wrong on purpose.
    """

    def __init__(self, lockstep: LockstepCell, teacher: Label, disturbance: Disturbance) -> None:
        self.lockstep, self._teacher, self._disturbance = lockstep, teacher, disturbance
        self._hand = lockstep.cell.interface("left_hand").robot.name

    def episode(self, seed: int, task: str, actor: Actor | None = None, *, image: bool = False) -> tuple[Records, bool]:
        """One episode; returns its labelled states and whether the task was done at any time.

        Args:
            seed: of scene, disturbances, latency and replanning.
            task: whose objects are there.
            actor: who acts; the disturbed expert when None.
            image: give the actor a picture.
        """
        rng = np.random.default_rng([seed, 0xC011, TASKS.index(task)])
        self._start(seed, task, rng)
        plan = _Plan.draw(rng, self._disturbance, task)
        rows: list[dict[str, Array | int]] = []
        previous = np.tile(_hands(self.lockstep.observe(image=False)), (STEPS, 1, 1))
        next_chunk_s, done = 0.0, False
        while self.lockstep.world.time_s < plan.end_s - 1e-9 and self.lockstep.world.judge().upright:
            now_s = self.lockstep.world.time_s
            asked = plan.task_at(now_s)
            replan = now_s >= next_chunk_s - 1e-9
            observation = self.lockstep.observe(image=image and replan)
            label = self._teacher(observation, asked)
            rows.append(self._row(observation, asked, previous, label, seed))
            spent_s = 0.0
            if replan:
                chunk = self._act(observation, asked, previous, actor, plan, rng)
                spent_s = float(rng.choice([0.05, 0.1, 0.15, 0.2]))
                self.lockstep.advance(spent_s)
                self.lockstep.accept(chunk, observation.time_s)
                previous = np.stack([chunk.hands[side] for side in SIDES], axis=1)
                next_chunk_s = now_s + float(rng.choice([0.4, 0.6, 0.8, 0.8, 0.8, 1.0]))
            self.lockstep.advance(OBSERVE_S - spent_s)
            done = done or self.lockstep.world.judge().success
        return _pack(self._hand, rows), done

    def _start(self, seed: int, task: str, rng: np.random.Generator) -> None:
        self.lockstep.reset(seed, task, joint_noise_rad=float(rng.uniform(0.0, self._disturbance.start_noise_rad)))
        off = self._disturbance.off_region_m
        places = self.lockstep.observe(image=False).objects_m
        moved = {name: place[:2] + rng.uniform(-off, off, 2) for name, place in places.items() if name != "bowl"}
        spots = [*moved.values(), *(place[:2] for name, place in places.items() if name == "bowl")]
        nearest = min(float(np.linalg.norm(a - b)) for i, a in enumerate(spots) for b in spots[:i])
        if nearest > 0.09:
            self.lockstep.world.place({}, moved)

    def _act(self, observation: Observation, task: str, previous: Array, actor: Actor | None, plan: _Plan, rng: np.random.Generator) -> ToolChunk:
        if plan.stray_until_s > observation.time_s:
            return _bent(self._stray(observation, task, plan), 0.0, 0.0, rng)
        noise_m, turn_rad = plan.noise * self._disturbance.tool_noise_m, plan.noise * self._disturbance.turn_noise_rad
        if actor is not None:
            return _bent(actor(observation, task, previous), 0.3 * noise_m, 0.3 * turn_rad, rng)
        told = {}
        for name, place in observation.objects_m.items():
            off = plan.bias_m[name] + rng.normal(0.0, self._disturbance.object_noise_m, 2)
            told[name] = place + np.array([*off, 0.0])
        return _bent(self._teacher(dataclasses.replace(observation, objects_m=told), task), noise_m, turn_rad, rng)

    def _stray(self, observation: Observation, task: str, plan: _Plan) -> ToolChunk:
        """Both hands go straight to the plan's stray poses, the fingers as the expert of the task or of the rest pose would have them."""
        chunk = self._teacher(observation, plan.stray_as if plan.stray_as != "task" else task)
        paths = np.array(chunk.tool_poses)
        for i in range(len(SIDES)):
            start, goal = observation.tool_poses[i], plan.stray_to[i].copy()
            goal[3] = start[3] + (goal[3] - start[3] + np.pi) % (2.0 * np.pi) - np.pi
            steps = max(1.0, float(np.linalg.norm(goal[:3] - start[:3])) / 0.2 / DT_S, abs(goal[3] - start[3]) / 0.8 / DT_S)
            share = np.minimum(1.0, np.arange(1, STEPS + 1) / steps)[:, None]
            paths[:, i] = start + share * (goal - start)
        return ToolChunk(paths, chunk.hands)

    def _row(self, observation: Observation, task: str, previous: Array, label: ToolChunk, seed: int) -> dict[str, Array | int]:
        objects, there = np.zeros((len(OBJECTS), 3)), np.zeros(len(OBJECTS), dtype=bool)
        for name, place in observation.objects_m.items():
            objects[OBJECTS.index(name)], there[OBJECTS.index(name)] = place, True
        return {
            "qpos": self.lockstep.world.snapshot().qpos, "tools": observation.tool_poses, "fingers": _hands(observation), "objects": objects,
            "there": there, "task": TASKS.index(task), "previous": previous[list(PREVIOUS_STEPS)], "paths": label.tool_poses,
            "hands": np.stack([label.hands[side][list(HAND_STEPS)] for side in SIDES], axis=1), "group": seed,
        }


@dataclass(frozen=True)
class _Plan:
    """What one episode will be."""

    end_s: float
    rest_s: tuple[float, float]
    stray_until_s: float
    stray_to: Array
    stray_as: str
    bias_m: dict[str, Array]
    noise: float
    task: str

    @staticmethod
    def draw(rng: np.random.Generator, disturbance: Disturbance, task: str) -> _Plan:
        low, high = disturbance.length_s
        begin = float(rng.uniform(0.3, 0.6 * high)) if rng.uniform() < disturbance.rest else 1e9
        stray = float(rng.uniform(0.6, 2.2)) if rng.uniform() < disturbance.stray else 0.0
        bias = disturbance.object_bias_m * rng.choice([0.0, 1.0, 2.0], p=[0.5, 0.35, 0.15])
        to = [
            [rng.uniform(0.25, 0.55), side * rng.uniform(0.02, 0.45), rng.choice([0.07, 0.14, 0.22]) + rng.uniform(-0.02, 0.02),
             -side * (0.5 * np.pi + rng.uniform(-0.8, 0.8))]
            for side in (1.0, -1.0)
        ]
        return _Plan(
            end_s=float(rng.uniform(low, high)) + stray, rest_s=(begin, begin + float(rng.uniform(0.8, 3.0))), stray_until_s=stray,
            stray_to=np.array(to), stray_as=str(rng.choice(["task", REST])),
            bias_m={name: rng.normal(0.0, bias, 2) if bias else np.zeros(2) for name in OBJECTS},
            noise=float(rng.choice([0.0, 0.5, 1.0, 1.5])), task=task,
        )

    def task_at(self, time_s: float) -> str:
        """``rest`` in the episode's pause, else its task."""
        return REST if self.rest_s[0] <= time_s < self.rest_s[1] else self.task


def _hands(observation: Observation) -> Array:
    """(2, n) measured hand joints."""
    return np.stack([observation.joints[f"{side}_hand"] for side in SIDES])


def _bent(chunk: ToolChunk, noise_m: float, turn_rad: float, rng: np.random.Generator) -> ToolChunk:
    """The chunk with a smooth offset that grows over half a second."""
    if noise_m <= 0.0 and turn_rad <= 0.0:
        return chunk
    ramp = np.minimum(1.0, np.arange(1, STEPS + 1) / 10.0)[:, None, None]
    offset = rng.normal(0.0, 1.0, (1, 2, 4)) * np.array([noise_m, noise_m, 0.5 * noise_m, turn_rad])
    return ToolChunk(chunk.tool_poses + ramp * offset, chunk.hands)


def _pack(hand: str, rows: list[dict[str, Array | int]]) -> Records:
    kinds = {"there": np.bool_, "task": np.int64, "group": np.int64}
    return Records(hand, **{name: np.array([row[name] for row in rows], dtype=kinds.get(name, np.float32)) for name in rows[0]})
