# SPDX-License-Identifier: Apache-2.0
"""Synchronous execution: run a chunk, stand still, look, wait for the next one. The baseline of every paper about chunks."""

from __future__ import annotations

from dex_core.chunks.blend import Trajectory
from dex_core.chunks.check import ChunkRefused
from dex_core.chunks.schedule.base import Schedule
from dex_core.chunks.spline import NS, Spline

SETTLE_S = 0.15
"""A cell that was told to stop needs so long to stand still before it is looked at [s]."""


class Synchronous(Schedule):
    """A chunk is run to its end, or to the execution horizon; then the joints stand until the next one comes.

    A chunk that was observed by the standing cell has no past: nothing has moved since. It begins with its first action when it comes, as
    in every synchronous loop. One that was observed before the cell stood is outdated and refused.
    """

    name = "synchronous"
    source = "the synchronous baseline of arXiv 2506.07339; receding horizons: Diffusion Policy, arXiv 2303.04137, section 2.3"
    asks_standing = True

    @property
    def starved_ns(self) -> int:
        """The cell stands at the end of a chunk, and may wait there."""
        return self.end_ns + round(self._settings.standing_wait_s * NS)

    def ask_at_ns(self, latency_s: float) -> int:
        """When the cell stands."""
        del latency_s  # it waits as long as it takes
        return self.end_ns + round(SETTLE_S * NS)

    def timed(self, plan: Spline, now_ns: int) -> Spline:
        """All steps up to the horizon, the first of them now. Raises ChunkRefused ``late`` unless the cell stood when it was observed."""
        if self.chunks and plan.start_ns < self.end_ns:
            early_s = (self.end_ns - plan.start_ns) / NS
            raise ChunkRefused(f"the chunk was observed in motion: its first action is {early_s:.3f} s before the cell stood still", code="late")
        horizon_s = self._settings.execution_horizon_s
        steps = max(1, round(horizon_s / plan.dt_s)) if horizon_s else len(plan.knots_rad)
        return Spline(max(plan.start_ns, now_ns), plan.dt_s, plan.knots_rad[: steps + 1])

    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        from_ns = max(now_ns, plan.start_ns)
        return self._switched(plan, from_ns, now_ns), from_ns, from_ns
