# SPDX-License-Identifier: Apache-2.0
"""The gate's numbers: rates, patience, and how chunks follow each other."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config.strict import bounded, choice

SCHEDULE_NAMES = ("synchronous", "asynchronous", "ensemble", "blending", "real_time")
"""How chunks may follow each other: the files of dex_core/chunks/schedule."""


@dataclass(frozen=True)
class ControlConfig:
    """The gate. Times in seconds, on the monotonic clock.

    Attributes:
        schedule: how chunks follow each other.
        blend_s: shortest time in which a new chunk takes over, for ``blending`` and ``real_time``.
        ensemble_decay: m of the weights exp(-m i) of ``ensemble``, i = 0 the oldest chunk.
        execution_horizon_s: so much of a chunk is executed before the next is wanted; 0: all by ``synchronous``, else the policy's own period.
        first_command_max_rad: a goal's first command may lie this far from the measured joints; an arm that is further away is refused.
        hand_approach_rad_s: a hand that is further away comes to its first chunk with no joint faster than this.
        first_chunk_timeout_s: longest wait for a goal's first chunk, and of a cell that stands for its next one.
        chunk_tolerance_rad: a chunk may ask for a position this far outside its range and is clamped; further out it is refused.
        step_limit_timeout_s: how long a joint may stay at its step from measured, i.e. not follow, before the cell holds.
    """

    rate_hz: float = bounded(10.0, 1000.0, default=100.0)
    heartbeat_timeout_s: float = bounded(0.02, 10.0, default=0.18)
    hang_timeout_s: float = bounded(0.02, 10.0, default=0.5)
    state_timeout_s: float = bounded(0.01, 10.0, default=0.15)
    command_timeout_s: float = bounded(0.01, 10.0, default=0.10)
    chunk_max_age_s: float = bounded(0.01, 60.0, default=1.5)
    chunk_join_timeout_s: float = bounded(0.005, 5.0, default=0.15)
    schedule: str = choice(*SCHEDULE_NAMES, default="blending")
    blend_s: float = bounded(0.0, 5.0, default=0.25)
    ensemble_decay: float = bounded(-10.0, 10.0, default=0.01)
    execution_horizon_s: float = bounded(0.0, 60.0, default=0.0)
    first_command_max_rad: float = bounded(0.001, 3.2, default=0.5)
    hand_approach_rad_s: float = bounded(0.05, 10.0, default=1.5)
    rejects_before_latch: int = bounded(1, 1000, default=3)
    first_chunk_timeout_s: float = bounded(0.1, 60.0, default=5.0)
    chunk_tolerance_rad: float = bounded(0.0, 0.5, default=0.02)
    step_limit_timeout_s: float = bounded(0.02, 10.0, default=0.5)
