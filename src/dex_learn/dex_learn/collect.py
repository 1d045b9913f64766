# SPDX-License-Identifier: Apache-2.0
"""Lockstep episodes in which somebody acts, is disturbed, and the expert labels every state that is visited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_learn.records import HAND_STEPS, PREVIOUS_STEPS, TASKS, Records
from dex_sim.expert import HIGH_Z_M, LOW_Z_M, Expert, Measured
from dex_sim.judge import tilt_rad
from dex_sim.lockstep import DT_S, STEPS, LockstepCell, Observation
from dex_sim.toolpose import ToolArm
from dex_sim.trajectory import Leg, sample_path

Array = NDArray[np.float64]
Actor = Callable[[Observation, str, Array], Array]
SIDES = ("left", "right")
OBSERVE_S = 0.2


@dataclass(frozen=True)
class Disturbance:
    """What makes episodes leave the expert's own path; standard deviations.

    Attributes:
        can_bias_m, can_noise_m: error of the can positions the acting expert is told, per episode and per chunk.
        joint_noise_rad: smooth offset added to each executed chunk.
        start_noise_rad: largest distance of the arms from home at the start.
        stray: share of the episodes that begin with a trip to a random pose.
        off_region_m: cans start up to so far outside their regions.
        rest: share of the episodes in which the instruction changes to the rest pose on the way.
    """

    can_bias_m: float = 0.012
    can_noise_m: float = 0.006
    joint_noise_rad: float = 0.02
    start_noise_rad: float = 0.12
    stray: float = 0.35
    off_region_m: float = 0.03
    rest: float = 0.6


class Collector:
    """Runs disturbed episodes and keeps labelled states. One per process; deterministic by seed."""

    def __init__(self, lockstep: LockstepCell, disturbance: Disturbance) -> None:
        self.lockstep, self.disturbance = lockstep, disturbance
        self.expert = Expert(lockstep.cell)
        self._arms = {side: ToolArm(lockstep.cell, side) for side in SIDES}

    def episode(self, seed: int, actor: Actor | None = None, *, image: bool = False) -> tuple[Records, bool]:
        """One episode of 6 to 12 s; returns its labelled states and whether the cans ever met.

        Args:
            seed: of scene, disturbances, latency and replanning.
            actor: (observation, task, previous hand joints (64, 12)) -> chunk (64, 26) [rad]; the disturbed expert when None.
            image: give the actor a picture.
        """
        rng = np.random.default_rng([seed, 0xC011])
        self._start(seed, rng)
        plan = _Plan.draw(rng, self.disturbance)
        rows: list[tuple] = []
        previous = np.tile(self.lockstep.observe(image=False).hand_joints_rad, (STEPS, 1))
        next_chunk_s, met = 0.0, False
        while self.lockstep.world.time_s < plan.end_s - 1e-9 and self._upright():
            now_s = self.lockstep.world.time_s
            task = plan.task_at(now_s)
            replan = now_s >= next_chunk_s - 1e-9
            observation = self.lockstep.observe(image=image and replan)
            rows.append(self._row(observation, task, previous, seed))
            spent_s = 0.0
            if replan:
                chunk = self._act(observation, task, previous, actor, plan, rng)
                spent_s = float(rng.choice([0.05, 0.1, 0.15, 0.2]))
                self.lockstep.advance(spent_s)
                self.lockstep.accept(chunk, observation.time_s)
                previous = chunk[:, 14:]
                next_chunk_s = now_s + float(rng.choice([0.4, 0.6, 0.8, 1.0]))
            self.lockstep.advance(OBSERVE_S - spent_s)
            met = met or self.lockstep.world.judge().success
        return _pack(rows), met

    def label(self, joints: dict[str, Array], cans_m: dict[str, Array], task: str) -> Array:
        """(64, 26) what the expert would do [rad]."""
        return self.expert.chunk(Measured(joints, cans_m), task)

    def _start(self, seed: int, rng: np.random.Generator) -> None:
        self.lockstep.reset(seed, joint_noise_rad=float(rng.uniform(0.0, self.disturbance.start_noise_rad)))
        off = self.disturbance.off_region_m
        cans = self.lockstep.observe(image=False).cans_m
        moved = {name: xy + rng.uniform(-off, off, 2) for name, xy in cans.items()}
        if np.linalg.norm(moved["left_can"] - moved["right_can"]) > 0.08:
            self.lockstep.world.place({}, moved)

    def _upright(self) -> bool:
        poses = self.lockstep.world.object_poses()
        return all(tilt_rad(pose) < 0.25 and pose[2] > 0.0 for pose in poses.values())

    def _act(self, observation: Observation, task: str, previous: Array, actor: Actor | None, plan: _Plan, rng: np.random.Generator) -> Array:
        if plan.stray_until_s > observation.time_s:
            return self._stray(observation, plan, rng)
        if actor is not None:
            return _bent(actor(observation, task, previous), 0.3 * self.disturbance.joint_noise_rad, rng)
        told = {
            name: xy + plan.bias_m[name] + rng.normal(0.0, self.disturbance.can_noise_m, 2) for name, xy in observation.cans_m.items()
        }
        return _bent(self.label(observation.joints, told, task), plan.joint_noise_rad, rng)

    def _stray(self, observation: Observation, plan: _Plan, rng: np.random.Generator) -> Array:
        chunk = self.label(observation.joints, observation.cans_m, TASKS[int(rng.integers(2))])
        for i, side in enumerate(SIDES):
            arm, q = self._arms[side], observation.joints[f"{side}_arm"]
            pose = arm.pose(q)
            low = rng.uniform() < 0.4
            goal = np.array([rng.uniform(0.2, 0.6), (1.0 - 2.0 * i) * rng.uniform(0.0, 0.5), rng.uniform(LOW_Z_M, HIGH_Z_M), 0.0])
            goal[2] = LOW_Z_M if low else goal[2]
            goal[3] = pose[3] + rng.uniform(-0.8, 0.8)
            chunk[:, 7 * i : 7 * i + 7] = sample_path(arm, q, pose, [Leg(goal, 0.4)], STEPS, DT_S)
        return chunk

    def _row(self, observation: Observation, task: str, previous: Array, seed: int) -> tuple:
        label = self.label(observation.joints, observation.cans_m, task)
        cans = np.concatenate([observation.cans_m["left_can"], observation.cans_m["right_can"]])
        qpos = self.lockstep.world.snapshot().qpos
        return (
            qpos, observation.arm_joints_rad, observation.hand_joints_rad, cans, TASKS.index(task), previous[list(PREVIOUS_STEPS)], label[:, :14],
            label[list(HAND_STEPS), 14:], seed,
        )


@dataclass(frozen=True)
class _Plan:
    """What one episode will be."""

    end_s: float
    rest_s: tuple[float, float]
    stray_until_s: float
    bias_m: dict[str, Array]
    joint_noise_rad: float

    @staticmethod
    def draw(rng: np.random.Generator, disturbance: Disturbance) -> _Plan:
        begin = float(rng.uniform(0.3, 4.0)) if rng.uniform() < disturbance.rest else 1e9
        stray = float(rng.uniform(0.6, 2.2)) if rng.uniform() < disturbance.stray else 0.0
        bias = disturbance.can_bias_m * rng.choice([0.0, 1.0, 2.0], p=[0.4, 0.4, 0.2])
        return _Plan(
            end_s=float(rng.uniform(6.0, 10.0)) + stray, rest_s=(begin, begin + float(rng.uniform(0.8, 3.0))), stray_until_s=stray,
            bias_m={name: rng.normal(0.0, bias, 2) if bias else np.zeros(2) for name in ("left_can", "right_can")},
            joint_noise_rad=disturbance.joint_noise_rad * float(rng.choice([0.0, 1.0, 2.0])),
        )

    def task_at(self, time_s: float) -> str:
        """``rest`` in the episode's pause, else ``push``."""
        return TASKS[int(self.rest_s[0] <= time_s < self.rest_s[1])]


def _bent(chunk: Array, noise_rad: float, rng: np.random.Generator) -> Array:
    """The chunk with a smooth offset that grows over half a second."""
    chunk = np.array(chunk, dtype=float)
    if noise_rad > 0.0:
        ramp = np.minimum(1.0, np.arange(1, STEPS + 1) / 10.0)[:, None]
        offset = rng.normal(0.0, noise_rad, 14)
        offset[[2, 4, 9, 11]] *= 0.5
        chunk[:, :14] += ramp * offset
    return chunk


def _pack(rows: list[tuple]) -> Records:
    columns = list(zip(*rows, strict=True))
    kinds = (np.float32, np.float32, np.float32, np.float32, np.int64, np.float32, np.float32, np.float32, np.int64)
    return Records(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True)))
