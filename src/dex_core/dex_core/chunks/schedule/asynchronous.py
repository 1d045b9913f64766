# SPDX-License-Identifier: Apache-2.0
"""Asynchronous execution: the policy thinks while the robot moves, and its new chunk replaces the old one the moment it comes."""

from __future__ import annotations

from dex_core.chunks.blend import Trajectory
from dex_core.chunks.schedule.base import Schedule
from dex_core.chunks.spline import Spline


class Asynchronous(Schedule):
    """A new chunk begins at the action that is due when it comes: as many are skipped as its latency, measured by its stamp, has cost.

    Nothing is smoothed: what the chunks disagree about is a jump, left to the limits.
    """

    name = "asynchronous"
    source = "asynchronous inference of SmolVLA and LeRobot: arXiv 2506.01844, section 3.3"

    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        from_ns = max(now_ns, plan.start_ns)
        return self._switched(plan, from_ns, now_ns), from_ns, from_ns
