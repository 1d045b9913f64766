# SPDX-License-Identifier: Apache-2.0
"""Counts what the gate did; one report says what happened since the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dex_core.limits import Change


@dataclass(frozen=True)
class LimitHits:
    """One limit on one joint since the last report: the worst request, what was allowed, how often.

    ``interface`` is empty for what acted on the whole cell; ``stage`` says where: on a ``command``, or in a ``chunk`` before its first step.
    """

    interface: str
    joint: str
    limit: str
    stage: str
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
    speed_share: float
    validation_max_ms: float
    held: tuple[str, ...]


class Tally:
    """Counters of one gate. ``period_ns`` is the nominal tick, ``interfaces`` says of a joint whose it is."""

    def __init__(self, period_ns: int, interfaces: Mapping[str, str]) -> None:
        self._interfaces = interfaces
        self._period_ns = period_ns
        self.commands = self.accepted = self.late = self.duplicate = self.rejected = self.missed = 0
        self._last_tick_ns: int | None = None
        self._last_now_ns = 0
        self._periods = self._period_sum_ns = self._period_error_ns = 0
        self._hits: dict[tuple[str, str, str], tuple[float, float, int]] = {}
        self._share, self._examined_ms = 1.0, 0.0

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

    def examined(self, remarks: Sequence[Change], took_ms: float) -> None:
        """Adds up what a chunk was seen to ask for before its first step, and how long the look took."""
        self._examined_ms = max(self._examined_ms, took_ms)
        self._add("chunk", remarks)

    def limited(self, changes: Iterable[Change], share: float = 1.0) -> None:
        """Adds up what the limits changed in a command; ``share``: what they left of the whole cell's step."""
        self._share = min(self._share, share)
        self._add("command", changes)

    def _add(self, stage: str, changes: Iterable[Change]) -> None:
        """Keeps the worst request of each joint and limit."""
        for joint, limit, requested, allowed in changes:
            before = self._hits.get((joint, limit, stage), (requested, allowed, 0))
            worst = (requested, allowed) if abs(requested - allowed) >= abs(before[0] - before[1]) else before[:2]
            self._hits[joint, limit, stage] = (*worst, before[2] + 1)

    def report(self, held: tuple[str, ...] = ()) -> GateReport:
        """Everything so far; period and limits begin anew. ``held``: interfaces that hold on their own."""
        mean_ns = self._period_sum_ns / self._periods if self._periods else float(self._period_ns)
        limits = tuple(
            LimitHits(self._interfaces.get(joint, ""), joint, limit, stage, *hit) for (joint, limit, stage), hit in self._hits.items()
        )
        out = GateReport(
            self.commands, self.accepted, self.late, self.duplicate, self.rejected, self.missed, mean_ns * 1e-6,
            self._period_error_ns * 1e-6, limits, self._share, self._examined_ms, held,
        )
        self._periods = self._period_sum_ns = self._period_error_ns = 0
        self._hits, self._share, self._examined_ms = {}, 1.0, 0.0
        return out


def motion_words(speed_share: float, held: Sequence[str]) -> str:
    """What people are told of a motion that is not as wanted; empty while it is."""
    slowed = [f"slowed to {speed_share:.0%} of the wanted speed"] if speed_share < 1.0 else []
    return "; ".join([*slowed, *(f"{name} holds, the others go on" for name in held)])
