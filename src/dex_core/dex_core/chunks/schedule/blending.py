# SPDX-License-Identifier: Apache-2.0
"""Weighted blending: the chunk before fades while the new one fades in, without a step in position, velocity or acceleration."""

from __future__ import annotations

import numpy as np

from dex_core.chunks.blend import Blend, Trajectory, blend_duration
from dex_core.chunks.schedule.base import Schedule
from dex_core.chunks.spline import NS, Point, Spline

RESAMPLE_S = 0.01
"""A blend that is cut short is sampled this finely, so that blends never nest."""


class Blending(Schedule):
    """Each accepted chunk is blended into what is being followed, the longer the further they lie apart."""

    name = "blending"
    source = "minimum-jerk weights: Flash and Hogan 1985, J. Neurosci. 5(7)"

    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        from_ns = max(now_ns, plan.start_ns)
        blend_s = blend_duration(self.gap_at(plan, from_ns), self._settings.blend_s, self._settings.limits)
        blend = Blend(self._before(from_ns), plan, from_ns, round(blend_s * NS))
        return self._switched(blend, from_ns, now_ns), from_ns, blend.end_ns

    def _before(self, from_ns: int) -> Trajectory:
        """What is followed at ``from_ns``, without nesting: a finished blend is its plan, an unfinished one is sampled to its end."""
        followed = self._then(from_ns)
        if not isinstance(followed, Blend):
            return followed
        if from_ns >= followed.end_ns:
            return followed.new
        return _Resampled(followed, from_ns)


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
