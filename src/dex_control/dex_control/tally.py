# SPDX-License-Identifier: Apache-2.0
"""Counts what the gate did; one report says what happened since the last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dex_core.limits import Change


@dataclass(frozen=True)
class LimitHits:
    """One limit on one joint since the last report: the worst request, what was allowed, how often."""

    joint: str
    limit: str
    requested: float
    allowed: float
    count: int


@dataclass(frozen=True)
class GateReport:
    """Counters since the start, and period and limits since the last report."""

    commands: int
    chunks_accepted: int
    chunks_late: int
    chunks_duplicate: int
    chunks_rejected: int
    ticks_missed: int
    period_mean_ms: float
    period_max_error_ms: float
    limits: tuple[LimitHits, ...]


class Tally:
    """Counters of one gate. ``period_ns`` is the nominal tick."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self.commands = self.accepted = self.late = self.duplicate = self.rejected = self.missed = 0
        self._last_tick_ns: int | None = None
        self._last_now_ns = 0
        self._periods = self._period_sum_ns = self._period_error_ns = 0
        self._hits: dict[tuple[str, str], tuple[float, float, int]] = {}

    def tick(self, tick_ns: int, now_ns: int) -> int:
        """Notes a tick: scheduled and real monotonic time [ns]. Returns how many ticks were skipped before it."""
        self.commands += 1
        skipped = 0
        if self._last_tick_ns is not None:
            skipped = max(0, round((tick_ns - self._last_tick_ns) / self._period_ns) - 1)
            self.missed += skipped
            period_ns = now_ns - self._last_now_ns
            self._periods += 1
            self._period_sum_ns += period_ns
            self._period_error_ns = max(self._period_error_ns, abs(period_ns - self._period_ns))
        self._last_tick_ns, self._last_now_ns = tick_ns, now_ns
        return skipped

    def refused(self, reason: str) -> None:
        """Counts a refused chunk under its reason."""
        if reason == "late":
            self.late += 1
        elif reason == "duplicate":
            self.duplicate += 1
        else:
            self.rejected += 1

    def limited(self, changes: Iterable[Change]) -> None:
        """Adds up what the limits changed; keeps the worst request of each joint and limit."""
        for joint, limit, requested, allowed in changes:
            before = self._hits.get((joint, limit), (requested, allowed, 0))
            worst = (requested, allowed) if abs(requested - allowed) >= abs(before[0] - before[1]) else before[:2]
            self._hits[joint, limit] = (*worst, before[2] + 1)

    def report(self) -> GateReport:
        """Everything so far; period and limits begin anew."""
        mean_ns = self._period_sum_ns / self._periods if self._periods else float(self._period_ns)
        limits = tuple(LimitHits(joint, limit, *hit) for (joint, limit), hit in self._hits.items())
        out = GateReport(
            self.commands, self.accepted, self.late, self.duplicate, self.rejected, self.missed, mean_ns * 1e-6,
            self._period_error_ns * 1e-6, limits,
        )
        self._periods = self._period_sum_ns = self._period_error_ns = 0
        self._hits = {}
        return out
