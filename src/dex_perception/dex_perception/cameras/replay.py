# SPDX-License-Identifier: Apache-2.0
"""When a recorded exposure is due, and which stamp it gets: recorded intervals on this machine's clocks."""

from __future__ import annotations

import time

from dex_core.clock import NS


class ReplayClock:
    """Lays a recording on the time line of the monotonic clock, pass after pass.

    Args:
        rate: of time; 2 plays twice as fast. 0: nothing is ever waited for, an exposure is due when it is asked for.
        live: exposures are stamped as if they were taken now; else they keep their recorded stamps.
    """

    def __init__(self, rate: float, live: bool = True) -> None:
        self._rate, self._live = rate, live
        self._first_ns = self._start_ns = self._newest_ns = 0

    def start(self, first_ns: int) -> None:
        """The exposure with the recorded stamp ``first_ns`` is due now."""
        self._first_ns, self._start_ns = first_ns, time.monotonic_ns()

    def next_pass(self, last_ns: int, first_ns: int, interval_s: float) -> None:
        """The recording begins anew: ``first_ns`` is due ``interval_s`` of recorded time after ``last_ns`` of this pass."""
        self._start_ns = self._due_ns(last_ns + round(interval_s * NS))
        self._first_ns = first_ns

    def due_in_s(self, recorded_ns: int) -> float:
        """Until an exposure is due; negative when it is late."""
        return (self._due_ns(recorded_ns) - time.monotonic_ns()) / NS if self._rate else 0.0

    def stamp_ns(self, recorded_ns: int) -> int:
        """Wall-clock stamp of an exposure; live stamps follow the wall clock also where it is set, and grow where time is not kept (rate 0)."""
        if not self._live:
            return recorded_ns
        late_ns = time.monotonic_ns() - self._due_ns(recorded_ns) if self._rate else 0
        stamp_ns = time.time_ns() - late_ns
        if not self._rate:
            stamp_ns = max(stamp_ns, self._newest_ns + 1)
        self._newest_ns = stamp_ns
        return stamp_ns

    def _due_ns(self, recorded_ns: int) -> int:
        return self._start_ns + (round((recorded_ns - self._first_ns) / self._rate) if self._rate else 0)
