# SPDX-License-Identifier: Apache-2.0
"""Temporal ensembling: at every time the weighted mean of all chunks that say something about it."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from dex_core.chunks.blend import Trajectory
from dex_core.chunks.schedule.base import Schedule, ScheduleSettings
from dex_core.chunks.spline import NS, Spline
from dex_core.types import Array

CHUNKS_MAX = 16
"""Older chunks than so many are forgotten."""


class Ensemble(Schedule):
    """Weights ``exp(-m i)``, ``i = 0`` the oldest chunk: with a positive ``m`` the newest word counts least.

    The mean is taken once per chunk, on the steps from now on, so that a tick costs no more than with one chunk; it begins where the cell
    is, so that a new chunk comes in over one step: positions never jump, speeds may step.
    """

    name = "ensemble"
    source = "temporal ensembling of ACT: arXiv 2304.13705, section 4.2"

    def __init__(self, start_ns: int, position_rad: Array, settings: ScheduleSettings) -> None:
        super().__init__(start_ns, position_rad, settings)
        self._members: deque[Spline] = deque(maxlen=CHUNKS_MAX)

    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        self._members.append(plan)
        steps = max(1, math.ceil((plan.end_ns - now_ns) / (plan.dt_s * NS)))
        times = now_ns + np.round(np.arange(steps + 1) * plan.dt_s * NS).astype(np.int64)
        knots = self._mean_at(times)
        knots[0] = self._followed.at(now_ns).position_rad
        others_end_ns = max((member.end_ns for member in list(self._members)[:-1]), default=now_ns)
        alone_ns = max(now_ns, plan.start_ns, min(others_end_ns, plan.end_ns)) + round(plan.dt_s * NS)
        return Spline(now_ns, plan.dt_s, knots), now_ns, alone_ns

    def _mean_at(self, times_ns: np.ndarray) -> Array:
        """(k, n) weighted mean at k times; where no chunk says anything, the newest's nearest step."""
        newest = self._members[-1]
        total, weights = np.zeros((len(times_ns), newest.knots_rad.shape[1])), np.zeros((len(times_ns), 1))
        for i, member in enumerate(self._members):
            covers = (times_ns >= member.start_ns) & (times_ns <= member.end_ns)
            if covers.any():
                weight = math.exp(-self._settings.ensemble_decay * (i + 1 - len(self._members))) * covers[:, None]
                total += weight * member.positions_at(times_ns)
                weights += weight
        alone = weights[:, 0] == 0.0
        total[alone], weights[alone] = newest.positions_at(times_ns[alone]), 1.0
        return total / weights
