# SPDX-License-Identifier: Apache-2.0
"""Scores an exported policy in lockstep, through the same observation, policy and decoder code as the robot's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle import LoadOptions, load_bundle
from dex_core.config import CellConfig
from dex_core.decode.latent import LatentDecoder
from dex_core.policy import base
from dex_core.policy.chunk_policy import ChunkPolicy
from dex_core.types import JointState
from dex_learn.progress import progress
from dex_sim.lockstep import LockstepCell, Observation, run_episode

Array = NDArray[np.float64]
SIDES = ("left", "right")


@dataclass(frozen=True)
class ScoreSettings:
    """How a policy is scored.

    Attributes:
        seeds: episodes.
        instruction, rest_instruction: what it is told.
        latency_s, replan_s: the chunk takes effect so long after its picture; time between pictures.
        time_limit_s: an episode that lasts longer is lost.
        joint_noise_rad: arms start so far from home.
    """

    seeds: range
    instruction: str = "Push the two tomato cans together"
    rest_instruction: str = "Return to the rest pose"
    latency_s: float = 0.1
    replan_s: float = 0.8
    time_limit_s: float = 20.0
    joint_noise_rad: float = 0.02


class BundlePolicy:
    """An exported policy and its hand decoders as a lockstep policy: observation -> (64, 26) joint targets [rad]."""

    def __init__(self, folder: Path, cell: CellConfig) -> None:
        bundle = load_bundle(folder, LoadOptions(cell=cell))
        assert bundle.space is not None  # a chunk policy with latents was loaded with its space
        self.hash = bundle.hash
        self._cell = cell
        self._policy = ChunkPolicy(bundle)
        self._decoders = {s: LatentDecoder(bundle.space, f"{s}_{cell.interface(f'{s}_hand').robot.name}") for s in SIDES}
        self.inference_ms: list[float] = []
        self.flags: list[str] = []
        self.off_space = 0
        self._last_s = np.inf

    def __call__(self, observation: Observation) -> Array:
        """See the class; an observation from before the last one begins a new goal."""
        if observation.time_s < self._last_s:
            self._policy.reset()
        self._last_s = observation.time_s
        prediction = self._policy.infer(self._convert(observation))
        self.inference_ms.append(prediction.inference_ms)
        self.flags += prediction.flags
        parts = []
        for name in ("left_arm", "right_arm"):
            parts.append(prediction.chunk.slice_of(name).data)
        for side in SIDES:
            decoded = self._decoders[side].decode(prediction.chunk.slice_of(f"{side}_hand").data)
            self.off_space += int(decoded.flagged.any())
            parts.append(decoded.position_rad)
        return np.concatenate(parts, axis=1)

    def _convert(self, observation: Observation) -> base.Observation:
        assert observation.image is not None
        stamp = round(observation.time_s * 1e9)
        joints = {}
        for name, q in observation.joints.items():
            names = self._cell.interface(name).names
            joints[name] = JointState(names, q, np.zeros(len(names)), np.zeros(len(names)), stamp)
        return base.Observation(stamp, observation.image, joints, observation.instruction)


def score_push(policy: BundlePolicy, lockstep: LockstepCell, settings: ScoreSettings) -> dict[str, Any]:
    """Success over the seeds, time to success, and which seeds failed and why."""
    failed, times, ran = {}, [], 0
    began = time.monotonic()
    with progress("push", len(settings.seeds)) as show:
        for seed in settings.seeds:
            result = run_episode(
                policy, seed, lockstep=lockstep, instruction=settings.instruction, image=True, replan_s=settings.replan_s,
                latency_s=settings.latency_s, time_limit_s=settings.time_limit_s, joint_noise_rad=settings.joint_noise_rad,
            )
            ran += 1
            if result.success:
                times.append(result.time_s)
            else:
                failed[str(seed)] = result.judgement.detail
            show(ran, f"{len(times)} of {ran} succeeded")
    return {
        "episodes": ran, "successes": len(times), "success_rate": len(times) / max(1, ran), "mean_time_s": float(np.mean(times)) if times else None,
        "worst_time_s": max(times, default=None), "failed": failed, "first_seed": settings.seeds.start, "latency_s": settings.latency_s,
        "replan_s": settings.replan_s, "wall_s": round(time.monotonic() - began, 1),
    }


def score_rest(policy: BundlePolicy, lockstep: LockstepCell, settings: ScoreSettings, push_s: float = 2.4, rest_s: float = 5.0) -> dict[str, Any]:
    """Is the other instruction obeyed? In the middle of a push the policy is told to rest; arms must come within 0.1 rad of home."""
    arms = {s: np.array(lockstep.cell.interface(f"{s}_arm").home) for s in SIDES}
    good, errors = 0, []
    with progress("rest", len(settings.seeds)) as show:
        for done, seed in enumerate(settings.seeds, 1):
            lockstep.reset(seed, joint_noise_rad=settings.joint_noise_rad)
            while lockstep.world.time_s < push_s + rest_s - 1e-9:
                words = settings.instruction if lockstep.world.time_s < push_s - 1e-9 else settings.rest_instruction
                observation = lockstep.observe(words)
                chunk = policy(observation)
                lockstep.advance(settings.latency_s)
                lockstep.accept(chunk, observation.time_s)
                lockstep.advance(settings.replan_s - settings.latency_s)
            measured = lockstep.observe(image=False).joints
            errors.append(max(float(np.abs(measured[f"{s}_arm"] - arms[s]).max()) for s in SIDES))
            good += errors[-1] < 0.1
            show(done, f"{good} of {done} at rest")
    return {"episodes": len(errors), "successes": good, "median_error_rad": float(np.median(errors)), "worst_error_rad": float(np.max(errors))}


def score_bundle(folder: Path, cell: CellConfig, settings: ScoreSettings, rest_episodes: int = 20) -> dict[str, Any]:
    """Push and rest scores of a bundle, and what inference took."""
    policy, lockstep = BundlePolicy(folder, cell), LockstepCell(cell, render=True)
    try:
        push = score_push(policy, lockstep, settings)
        rest = score_rest(policy, lockstep, ScoreSettings(**{**settings.__dict__, "seeds": settings.seeds[:rest_episodes]}))
    finally:
        lockstep.close()
    ms = np.array(policy.inference_ms)
    return {
        "push": push, "rest": rest, "inference_ms": {"median": float(np.median(ms)), "p99": float(np.quantile(ms, 0.99))},
        "flagged_chunks": len(policy.flags), "chunks_off_the_latent_space": policy.off_space, "chunks": len(ms),
    }
