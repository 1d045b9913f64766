# SPDX-License-Identifier: Apache-2.0
"""Scores in lockstep: success of a task over unseen seeds with one hand on both arms, and whether the rest pose is reached when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.config import load_task
from dex_learn.policy.layout import SIDES, check_unseen
from dex_learn.progress import progress
from dex_sim.expert_tool import REST_POSE
from dex_sim.lockstep import LockstepCell, Observation, run_episode


class LockstepPolicy(Protocol):
    """Observation -> (64, n) joint targets [rad]; ``reset`` begins a new goal."""

    def reset(self) -> None: ...

    def __call__(self, observation: Observation) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class ScoreSettings:
    """How a policy is scored.

    Attributes:
        seeds: episodes; never trained on.
        latency_s, replan_s: the chunk takes effect so long after its picture; time between pictures.
        time_limit_s: an episode that lasts longer is lost; by task.
        joint_noise_rad: arms start so far from home.
        rest_instruction: what it is told for the rest pose.
    """

    seeds: range = range(1000, 1020)
    latency_s: float = 0.1
    replan_s: float = 0.8
    time_limit_s: float = 30.0
    joint_noise_rad: float = 0.02
    rest_instruction: str = "Return to the rest pose"


def score_task(policy: LockstepPolicy, lockstep: LockstepCell, task: str, settings: ScoreSettings, title: str = "") -> dict[str, Any]:
    """Success over the seeds, time to success, and which seeds failed and why. Raises DexError for seeds that are trained on."""
    check_unseen(settings.seeds)
    instruction, failed, times, began = load_task(task).instruction, {}, [], time.monotonic()
    with progress(title or task, len(settings.seeds)) as show:
        for ran, seed in enumerate(settings.seeds, 1):
            policy.reset()
            result = run_episode(
                policy, seed, lockstep=lockstep, task=task, instruction=instruction, image=True, replan_s=settings.replan_s,
                latency_s=settings.latency_s, time_limit_s=settings.time_limit_s, joint_noise_rad=settings.joint_noise_rad,
            )
            if result.success:
                times.append(result.time_s)
            else:
                failed[str(seed)] = result.judgement.detail
            show(ran, f"{len(times)} of {ran} succeeded")
    episodes = len(settings.seeds)
    return {
        "episodes": episodes, "successes": len(times), "success_rate": len(times) / max(1, episodes),
        "mean_time_s": round(float(np.mean(times)), 2) if times else None, "worst_time_s": round(max(times), 2) if times else None,
        "failed": failed, "first_seed": settings.seeds.start, "latency_s": settings.latency_s, "replan_s": settings.replan_s,
        "wall_s": round(time.monotonic() - began, 1),
    }


def score_rest(
    policy: LockstepPolicy, lockstep: LockstepCell, task: str, tools: Callable[[dict[str, NDArray]], NDArray], settings: ScoreSettings,
    busy_s: float = 2.4, rest_s: float = 5.0,
) -> dict[str, Any]:
    """Is the other instruction obeyed? In the middle of a task the policy is told to rest; both hands must come within 3 cm of the rest pose.

    Args:
        tools: measured joints -> (2, 4) tool poses.
    """
    check_unseen(settings.seeds)
    home = np.array([REST_POSE[side] for side in SIDES])
    words, errors = load_task(task).instruction, []
    with progress("rest", len(settings.seeds)) as show:
        for done, seed in enumerate(settings.seeds, 1):
            policy.reset()
            lockstep.reset(seed, task=task, joint_noise_rad=settings.joint_noise_rad)
            while lockstep.world.time_s < busy_s + rest_s - 1e-9:
                observation = lockstep.observe(words if lockstep.world.time_s < busy_s - 1e-9 else settings.rest_instruction)
                chunk = policy(observation)
                lockstep.advance(settings.latency_s)
                lockstep.accept(chunk, observation.time_s)
                lockstep.advance(settings.replan_s - settings.latency_s)
            measured = tools(lockstep.observe(image=False).joints)
            errors.append(float(np.linalg.norm((measured - home)[:, :3], axis=1).max()))
            show(done, f"{sum(e < 0.03 for e in errors)} of {done} at rest")
    return {
        "episodes": len(errors), "successes": sum(e < 0.03 for e in errors), "median_error_m": round(float(np.median(errors)), 4),
        "worst_error_m": round(float(np.max(errors)), 4),
    }
