# SPDX-License-Identifier: Apache-2.0
"""From one trajectory into the next without a step in position, velocity or acceleration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dex_core.chunks.spline import NS, Point
from dex_core.types import Array

PEAK_SLOPE, PEAK_CURVATURE = 1.875, 5.7735
"""Of the quintic 6u^5 - 15u^4 + 10u^3 on 0..1."""


class Trajectory(Protocol):
    """Anything with a place at every monotonic time."""

    def at(self, time_ns: int) -> Point:
        """Place at a monotonic time [ns]."""
        ...


@dataclass(frozen=True)
class Blend:
    """``old`` until ``start_ns``, ``new`` from ``start_ns + duration_ns``, between them a weight that grows as a quintic."""

    old: Trajectory
    new: Trajectory
    start_ns: int
    duration_ns: int

    @property
    def end_ns(self) -> int:
        """From here on it is ``new`` [ns]."""
        return self.start_ns + self.duration_ns

    def at(self, time_ns: int) -> Point:
        """Place at a monotonic time [ns]."""
        if time_ns >= self.end_ns:
            return self.new.at(time_ns)
        if time_ns <= self.start_ns:
            return self.old.at(time_ns)
        u, rate = (time_ns - self.start_ns) / self.duration_ns, NS / self.duration_ns
        w = u * u * u * (10.0 + u * (6.0 * u - 15.0))
        dw = 30.0 * u * u * (u - 1.0) * (u - 1.0) * rate
        ddw = 60.0 * u * (u * (2.0 * u - 3.0) + 1.0) * rate * rate
        old, new = self.old.at(time_ns), self.new.at(time_ns)
        gap, gap_rate = new.position_rad - old.position_rad, new.velocity_rad_s - old.velocity_rad_s
        return Point(
            old.position_rad + w * gap,
            old.velocity_rad_s + w * gap_rate + dw * gap,
            old.acceleration_rad_s2 + w * (new.acceleration_rad_s2 - old.acceleration_rad_s2) + 2.0 * dw * gap_rate + ddw * gap,
        )


@dataclass(frozen=True)
class Switch:
    """``old`` until ``start_ns``, ``new`` from then on."""

    old: Trajectory
    new: Trajectory
    start_ns: int

    def at(self, time_ns: int) -> Point:
        """Place at a monotonic time [ns]."""
        return (self.new if time_ns >= self.start_ns else self.old).at(time_ns)


@dataclass(frozen=True)
class BlendLimits:
    """Speeds a blend may use on top of the trajectories: ``share`` of each joint's limits (n,) [rad/s], [rad/s^2]."""

    velocity_rad_s: Array
    acceleration_rad_s2: Array
    share: float = 0.5


def blend_duration(gap_rad: Array, shortest_s: float, limits: BlendLimits) -> float:
    """How long to blend over a gap (n,) [rad] so that the blend alone keeps to its share of the limits [s]."""
    gap = np.abs(gap_rad) / limits.share
    by_speed = float(np.max(PEAK_SLOPE * gap / limits.velocity_rad_s, initial=0.0))
    by_acceleration = float(np.sqrt(np.max(PEAK_CURVATURE * gap / limits.acceleration_rad_s2, initial=0.0)))
    return max(shortest_s, by_speed, by_acceleration)
