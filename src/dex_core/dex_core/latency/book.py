# SPDX-License-Identifier: Apache-2.0
"""Statistics of every stage of the chunks of one cell, for diagnostics, recordings and people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dex_core.latency.budget import LatencyBudget
from dex_core.latency.stages import STAGES, durations_ms, overhead_ms, total_ms
from dex_core.latency.statistics import Statistics, Summary

TOTAL, OVERHEAD, FROM_REST = "total", "overhead", "first_motion_from_rest"
"""Beside the stages: exposure to first command; the same less the model; ``first_motion`` of chunks before which the joints stood still."""
ORDER = (*STAGES[1:-1], TOTAL, OVERHEAD, STAGES[-1], FROM_REST)


class LatencyBook:
    """Takes the timing of each chunk. One thread at a time.

    Args:
        budget: against which shares are counted; the overhead's is the total's less the model's.
        window: how many chunks are the newest.
    """

    def __init__(self, budget: LatencyBudget | None = None, window: int = 512) -> None:
        self._budget = budget or LatencyBudget()
        self._window = window
        self._stages: dict[str, Statistics] = {}
        self.chunks = 0

    def add(self, timing_ns: Mapping[str, int]) -> None:
        """Takes a chunk's stages up to its first command; the motion that followed comes by ``add_motion``."""
        self.chunks += 1
        for stage, value_ms in durations_ms(timing_ns).items():
            if stage != STAGES[-1]:
                self._add(stage, value_ms)
        for name, value in ((TOTAL, total_ms(timing_ns)), (OVERHEAD, overhead_ms(timing_ns))):
            if value is not None:
                self._add(name, value)

    def add_motion(self, timing_ns: Mapping[str, int], from_rest: bool) -> None:
        """Takes what is known of a chunk's first motion; nothing where none was seen."""
        if not timing_ns.get("first_command") or not timing_ns.get("first_motion"):
            return
        value_ms = (timing_ns["first_motion"] - timing_ns["first_command"]) * 1e-6
        self._add(STAGES[-1], value_ms)
        if from_rest:
            self._add(FROM_REST, value_ms)

    @property
    def stages(self) -> dict[str, Statistics]:
        """What has values, in order."""
        return {name: self._stages[name] for name in ORDER if name in self._stages}

    def worst(self) -> str:
        """The stage that is most often over its budget among the newest; of equals the one nearest to its budget; empty without any."""
        def badness(name: str) -> tuple[float, float]:
            newest = self._stages[name].newest
            return newest.over, newest.p95_ms / self._stages[name].budget_ms

        return max((name for name in self._stages if name in STAGES), key=badness, default="")

    def as_json(self) -> dict[str, Any]:
        """{chunks, worst, stages: {name: {budget_ms, last_ms, newest: {...}, since_start: {...}}}}, without NaN."""
        stages = {
            name: {
                "budget_ms": s.budget_ms, "last_ms": round(s.last_ms, 4), "newest": _plain(s.newest), "since_start": _plain(s.since_start),
            }
            for name, s in self.stages.items()
        }
        return {"chunks": self.chunks, "worst": self.worst(), "stages": stages}

    def as_words(self) -> dict[str, str]:
        """Name -> ``p50 p95 p99 [ms] over`` of the newest, for /diagnostics."""
        return {
            name: f"{n.p50_ms:.1f} {n.p95_ms:.1f} {n.p99_ms:.1f} ms, {n.over:.1%} over {s.budget_ms:g} ms"
            for name, s in self.stages.items() for n in (s.newest,)
        }

    def _add(self, name: str, value_ms: float) -> None:
        if name not in self._stages:
            self._stages[name] = Statistics(self._budget_of(name), self._window)
        self._stages[name].add(value_ms)

    def _budget_of(self, name: str) -> float:
        b = self._budget
        if name == TOTAL:
            return b.total_ms
        if name == OVERHEAD:
            return b.overhead_ms
        return b.stages_ms[STAGES[-1] if name == FROM_REST else name]


def _plain(summary: Summary) -> dict[str, float | int | None]:
    return {k: None if isinstance(v, float) and math.isnan(v) else round(v, 4) for k, v in summary._asdict().items()}
