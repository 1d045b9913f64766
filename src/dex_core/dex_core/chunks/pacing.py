# SPDX-License-Identifier: Apache-2.0
"""When to ask the policy again: early enough that its chunk arrives while enough of the one before is left."""

from __future__ import annotations

import math
import statistics
from collections import deque

from dex_core.chunks.schedule import SCHEDULES
from dex_core.chunks.schedule.synchronous import SETTLE_S
from dex_core.chunks.spline import NS
from dex_core.config import ControlConfig

WINDOW, QUANTILE = 32, 0.95
AFTER_S = 0.05
"""What a chunk still needs when the policy has given it: to be sent, decoded and examined [s]."""
COLD_SHARE = 0.5
"""Until a latency is known, half of a chunk is kept in reserve."""


class LatencyEstimate:
    """From an observation to its chunk [s], over the newest ones. The first of a goal is left out: what is cold then is not so again."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._cold = True

    def begin(self) -> None:
        """A goal begins; what was measured before still counts."""
        self._cold = True

    def note(self, latency_s: float) -> None:
        """One chunk took so long [s]."""
        if self._cold:
            self._cold = False
        else:
            self._seconds.append(latency_s)

    @property
    def known(self) -> bool:
        """False until there is something to go by."""
        return bool(self._seconds)

    @property
    def median_s(self) -> float:
        """What to expect [s]; 0 while nothing is known."""
        return statistics.median(self._seconds) if self._seconds else 0.0

    @property
    def jitter_s(self) -> float:
        """How much longer than that it takes one time in twenty [s]; one spike in a full window does not count."""
        if not self._seconds:
            return 0.0
        return sorted(self._seconds)[math.floor((len(self._seconds) - 1) * QUANTILE)] - self.median_s


class Pacing:
    """Tells when the next observation is due. Times monotonic [ns].

    Args:
        control: its ``schedule`` and ``execution_horizon_s``.
        period_s: between observations, where ``execution_horizon_s`` is 0 [s].
        chunk, dt_s, first_action_offset: of the policy's chunks.

    Attributes:
        latency: what is known of it.
        standing: the cell stands when it is looked at.
    """

    def __init__(self, control: ControlConfig, period_s: float, chunk: int, dt_s: float, first_action_offset: float) -> None:
        self.latency = LatencyEstimate()
        self.standing = SCHEDULES[control.schedule].asks_standing
        self._horizon_s = control.execution_horizon_s or (math.inf if self.standing else period_s)
        self._span_s, self._dt_s, self._offset_s = (chunk - 1) * dt_s, dt_s, first_action_offset * dt_s

    @property
    def steps_needed(self) -> int:
        """Steps of a chunk that go by between the policy's observation and the next chunk's first command: ceil((L + jitter) / dt)."""
        return math.ceil((self.latency.median_s + self.latency.jitter_s + AFTER_S) / self._dt_s)

    @property
    def frozen_steps(self) -> int:
        """Of the next chunk's own steps, those that will be past when it comes."""
        return max(0, self.steps_needed - math.floor(self._offset_s / self._dt_s)) if self.latency.known else 0

    def next_ns(self, asked_ns: int, latency_s: float) -> int:
        """When the policy is to be asked again; where that is past, as soon as it is free.

        A cell that stands is looked at when it has executed what it will. Otherwise the next is due after a period, or earlier, so that
        ``steps_needed`` of the chunk are left.

        Args:
            asked_ns: when it was asked for the chunk that it has just given [ns].
            latency_s: of that chunk, from its observation [s].
        """
        self.latency.note(latency_s)
        if self.standing:
            return asked_ns + round((latency_s + AFTER_S + min(self._horizon_s, self._span_s) + SETTLE_S) * NS)
        reserve_s = self.steps_needed * self._dt_s if self.latency.known else COLD_SHARE * self._span_s
        return asked_ns + round(min(self._horizon_s, self._offset_s + self._span_s - reserve_s) * NS)
