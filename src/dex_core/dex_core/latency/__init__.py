# SPDX-License-Identifier: Apache-2.0
"""Where the time of a chunk goes: stages, their statistics and budgets, the clocks of other machines, the first motion."""

from dex_core.latency.book import LatencyBook
from dex_core.latency.budget import LatencyBudget
from dex_core.latency.host_clock import ClockOffset, HostClock
from dex_core.latency.motion import Motion, MotionFinder, MotionKind
from dex_core.latency.stages import STAGES, durations_ms, overhead_ms, total_ms
from dex_core.latency.statistics import Histogram, Statistics, Summary, Window

__all__ = [
    "STAGES", "ClockOffset", "Histogram", "HostClock", "LatencyBook", "LatencyBudget", "Motion", "MotionFinder", "MotionKind", "Statistics",
    "Summary", "Window", "durations_ms", "overhead_ms", "total_ms",
]
