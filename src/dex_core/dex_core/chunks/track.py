# SPDX-License-Identifier: Apache-2.0
"""The one trajectory the cell follows: each accepted chunk is blended into what is being followed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dex_core.chunks.blend import Blend, BlendLimits, Trajectory, blend_duration
from dex_core.chunks.seam import Seam, seam_between
from dex_core.chunks.spline import NS, Point, Spline
from dex_core.types import Array

RESAMPLE_S = 0.01
"""A blend that is cut short is sampled this finely, so that blends never nest."""


class Accepted(NamedTuple):
    """What became of a chunk that was scheduled.

    Attributes:
        seam: between the plan followed so far and the new one, before blending.
        command_seam: the same between what was followed and what is followed now; zero unless something is wrong.
        steps_skipped: actions that were already past.
        blend_s: how long the old plan fades [s].
    """

    seam: Seam
    command_seam: Seam
    steps_skipped: int
    blend_s: float


class ChunkTrack:
    """Starts at rest; ``accept`` adds a chunk; ``at`` tells where to be. All times monotonic [ns].

    Args:
        start_ns: now.
        position_rad: (n,) where the cell rests [rad].
        blend_s: shortest blend [s].
        limits: what a blend may use.
    """

    def __init__(self, start_ns: int, position_rad: Array, blend_s: float, limits: BlendLimits) -> None:
        self._blend_s = blend_s
        self._limits = limits
        self._followed: Trajectory = Spline.resting(start_ns, position_rad)
        self._plan: Spline = Spline.resting(start_ns, position_rad)
        self.chunks = 0

    @property
    def plan(self) -> Spline:
        """The newest chunk."""
        return self._plan

    @property
    def end_ns(self) -> int:
        """When the newest chunk runs out [ns]."""
        return self._plan.end_ns

    def at(self, time_ns: int) -> Point:
        """Where to be at a monotonic time [ns]: three arrays (n,)."""
        return self._followed.at(time_ns)

    def gap_at(self, plan: Spline, time_ns: int) -> Array:
        """(n,) difference between a new plan and what is followed [rad]."""
        return plan.at(time_ns).position_rad - self._followed.at(time_ns).position_rad

    def accept(self, plan: Spline, now_ns: int) -> Accepted:
        """Follows ``plan`` from now on, by way of a blend."""
        old = self._before(now_ns)
        blend_s = blend_duration(self.gap_at(plan, now_ns), self._blend_s, self._limits)
        followed = Blend(old, plan, now_ns, round(blend_s * NS))
        accepted = Accepted(
            seam_between(self._plan, plan, now_ns), seam_between(self._followed, followed, now_ns), plan.steps_before(now_ns), blend_s
        )
        self._followed, self._plan = followed, plan
        self.chunks += 1
        return accepted

    def _before(self, now_ns: int) -> Trajectory:
        """What is followed, without nesting: a finished blend is its plan, an unfinished one is sampled to its end."""
        followed = self._followed
        if not isinstance(followed, Blend):
            return followed
        if now_ns >= followed.end_ns:
            return followed.new
        return _Resampled(followed, now_ns)


class _Resampled:
    """An unfinished blend as a spline; exact in position, velocity and acceleration at the moment it was cut."""

    def __init__(self, blend: Blend, now_ns: int) -> None:
        step_ns = round(RESAMPLE_S * NS)
        times = np.arange(now_ns, blend.end_ns + 2 * step_ns, step_ns)
        self._cut = blend.at(now_ns)
        self._cut_ns = now_ns
        self._after = blend.new
        self._spline = Spline(now_ns, RESAMPLE_S, np.stack([blend.at(int(t)).position_rad for t in times]))

    def at(self, time_ns: int) -> Point:
        """Place at a monotonic time [ns]."""
        if time_ns <= self._cut_ns:
            return self._cut
        return self._spline.at(time_ns) if time_ns < self._spline.end_ns else self._after.at(time_ns)
