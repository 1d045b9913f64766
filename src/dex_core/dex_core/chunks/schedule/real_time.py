# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking without the model: what is committed when a chunk comes is kept, and the chunk is bent to begin right there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dex_core.chunks.blend import BlendLimits, Trajectory, blend_duration
from dex_core.chunks.schedule.base import Schedule
from dex_core.chunks.spline import NS, Point, Spline

PEAK_BEND = 3.94
"""Largest second derivative of u - 6u^3 + 8u^4 - 3u^5 on 0..1."""
OVERSHOOT, SLIGHT_OVERSHOOT = 16 / 81, 0.01728
"""Largest value of that quintic, and of u^2 (1 - u)^3 / 2."""


@dataclass(frozen=True)
class Matched:
    """``plan`` plus a correction that makes it begin in the committed state and decays to nothing: the smallest offset, soonest forgotten.

    The correction is the quintic with the differences in position, velocity and acceleration at ``start_ns`` and none of them after
    ``duration_ns``, so nothing steps at either end.

    Attributes:
        plan: the new chunk.
        gap: committed state less ``plan``'s, at ``start_ns``.
    """

    plan: Spline
    gap: Point
    start_ns: int
    duration_ns: int

    def at(self, time_ns: int) -> Point:
        """Place at a monotonic time [ns]."""
        time_ns = max(time_ns, self.start_ns)
        planned = self.plan.at(time_ns)
        if time_ns >= self.start_ns + self.duration_ns:
            return planned
        span_s, u = self.duration_ns / NS, (time_ns - self.start_ns) / self.duration_ns
        p, v, a = self.gap.position_rad, self.gap.velocity_rad_s * span_s, self.gap.acceleration_rad_s2 * (span_s * span_s)
        left, u2, u3 = 1.0 - u, u * u, u * u * u
        position = left * left * left * ((1.0 + 3.0 * u + 6.0 * u2) * p + (u + 3.0 * u2) * v + 0.5 * u2 * a)
        velocity = -30.0 * u2 * left * left * p + (1.0 - 18.0 * u2 + 32.0 * u3 - 15.0 * u2 * u2) * v + (u - 4.5 * u2 + 6.0 * u3 - 2.5 * u2 * u2) * a
        bend = (-60.0 * u + 180.0 * u2 - 120.0 * u3) * p + (-36.0 * u + 96.0 * u2 - 60.0 * u3) * v + (1.0 - 9.0 * u + 18.0 * u2 - 10.0 * u3) * a
        return Point(
            planned.position_rad + position, planned.velocity_rad_s + velocity / span_s, planned.acceleration_rad_s2 + bend / (span_s * span_s)
        )


class RealTime(Schedule):
    """A new chunk is followed in its own shape at once, less what separates it from the committed motion, which is let go gradually."""

    name = "real_time"
    source = "real-time chunking, arXiv 2506.07339, where the model itself completes the committed prefix; this is for models that cannot"

    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        from_ns = max(now_ns, plan.start_ns)
        gap = Point(*(old - new for old, new in zip(self._followed.at(from_ns), plan.at(from_ns), strict=True)))
        matched = Matched(plan, gap, from_ns, round(correction_duration(gap, self._settings.blend_s, self._settings.limits) * NS))
        return self._switched(matched, from_ns, now_ns), from_ns, from_ns + matched.duration_ns


def correction_duration(gap: Point, shortest_s: float, limits: BlendLimits) -> float:
    """How long to let a difference go so that the correction of its position, and of its velocity, keeps to its share of the limits [s]."""
    by_speed = float(np.max(PEAK_BEND * np.abs(gap.velocity_rad_s) / (limits.share * limits.acceleration_rad_s2), initial=0.0))
    return max(by_speed, blend_duration(gap.position_rad, shortest_s, limits))
