# SPDX-License-Identifier: Apache-2.0
"""What a controller saw of the servo stream: the figures of the jitter benchmark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CAPACITY = 60_000
"""Arrivals kept: ten minutes at 100 Hz."""


class ServoStatistics:
    """Counts and arrival times of servo_j, measured where the robot would receive it.

    Attributes:
        executed, surplus, refused, invalid: commands followed, beyond 250 Hz, refused by state or content, and unknown.
    """

    def __init__(self) -> None:
        self._arrivals_ns = np.zeros(CAPACITY, dtype=np.int64)
        self.reset()

    def reset(self) -> None:
        """Starts counting anew."""
        self.received = self.executed = self.surplus = self.refused = self.invalid = 0

    def arrived(self, now_ns: int) -> None:
        """Notes one servo_j on the monotonic clock."""
        self._arrivals_ns[self.received % CAPACITY] = now_ns
        self.received += 1

    def arrivals_ns(self) -> NDArray[np.int64]:
        """(k,) monotonic arrival times of the newest servo_j, oldest first [ns]."""
        count = self.received
        if count <= CAPACITY:
            return self._arrivals_ns[:count].copy()
        return np.roll(self._arrivals_ns, -(count % CAPACITY)).copy()

    def intervals_s(self) -> NDArray[np.float64]:
        """(k-1,) times between arrivals [s]."""
        return np.diff(self.arrivals_ns()) * 1e-9

    def summary(self, nominal_s: float = 0.01) -> dict[str, float]:
        """Counts and the interval's percentiles [ms]; ``late`` counts intervals beyond twice the nominal one."""
        intervals = self.intervals_s()
        figures: dict[str, float] = {
            "received": self.received, "executed": self.executed, "surplus": self.surplus, "refused": self.refused,
        }
        if intervals.size:
            error_ms = np.abs(intervals - nominal_s) * 1e3
            figures |= {
                "interval_median_ms": float(np.median(intervals) * 1e3), "interval_max_ms": float(intervals.max() * 1e3),
                "interval_p99_ms": float(np.percentile(intervals, 99) * 1e3),
                "period_error_p99_ms": float(np.percentile(error_ms, 99)), "late": int((intervals > 2 * nominal_s).sum()),
            }
        return figures
