# SPDX-License-Identifier: Apache-2.0
"""What every schedule is: the one joint-space trajectory the cell follows, made of the chunks as they come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from dex_core.chunks.blend import BlendLimits, Switch, Trajectory
from dex_core.chunks.seam import Seam, seam_between
from dex_core.chunks.spline import NS, Point, Spline
from dex_core.types import Array


@dataclass(frozen=True)
class ScheduleSettings:
    """The numbers of every schedule; each reads its own.

    Attributes:
        blend_s: shortest time in which a new chunk takes over, where it does so gradually [s].
        limits: what a blend or a correction may use of the joints.
        ensemble_decay: m of the weights exp(-m i) of an ensemble; i = 0 is the oldest chunk.
        execution_horizon_s: so much of a chunk is executed before a standing cell looks anew [s]; 0: all of it.
        standing_wait_s: longest that a cell stands and waits for its next chunk [s].
    """

    blend_s: float
    limits: BlendLimits
    ensemble_decay: float = 0.01
    execution_horizon_s: float = 0.0
    standing_wait_s: float = 5.0


class Accepted(NamedTuple):
    """What became of a chunk that was scheduled.

    Attributes:
        seam: between the plan followed so far and the new one, if it simply took over.
        command_seam: between what was followed and what is followed from now on.
        steps_skipped: actions that were already past.
        blend_s: how long it takes until the new chunk alone is followed [s].
    """

    seam: Seam
    command_seam: Seam
    steps_skipped: int
    blend_s: float


class Schedule(ABC):
    """Starts at rest; ``accept`` adds a chunk; ``at`` tells where to be. One object per goal. All times monotonic [ns].

    A chunk is indexed by time: what of it is past when it comes is skipped, never replayed late.

    Args:
        start_ns: now.
        position_rad: (n,) where the cell rests [rad].
        settings: numbers.

    Attributes:
        name: as in ``control.schedule``.
        source: the work it is after.
        asks_standing: the policy is to be asked by a cell that stands, when a chunk has run out; otherwise while the chunk before still runs.
        chunks: how many were accepted.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    asks_standing: ClassVar[bool] = False

    def __init__(self, start_ns: int, position_rad: Array, settings: ScheduleSettings) -> None:
        self._settings = settings
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

    @property
    def starved_ns(self) -> int:
        """Past this, with no newer chunk, there is nothing left to follow or to wait for [ns]."""
        return self.end_ns

    def ask_at_ns(self, latency_s: float) -> int:
        """When the policy is to be asked at the latest, so that its chunk comes in time [ns]; ``latency_s``: from observation to acceptance."""
        return self.end_ns - round(latency_s * NS)

    def at(self, time_ns: int) -> Point:
        """Where to be at a monotonic time [ns]: three arrays (n,)."""
        return self._followed.at(time_ns)

    def timed(self, plan: Spline, now_ns: int) -> Spline:
        """The part of a plan that is executed if it comes now, at the time it is; of such a part, the part itself.

        Raises:
            ChunkRefused: ``late``, this schedule has no use for a chunk of that time.
        """
        del now_ns  # a chunk's own time
        return plan

    def gap_at(self, plan: Spline, time_ns: int) -> Array:
        """(n,) difference between a new plan and what is followed, if it took over at ``time_ns`` [rad]. Raises as :meth:`timed`."""
        return self.timed(plan, time_ns).at(time_ns).position_rad - self._followed.at(time_ns).position_rad

    def accept(self, plan: Spline, now_ns: int) -> Accepted:
        """Follows ``plan`` from now on, in this schedule's way. Raises as :meth:`timed`; what is followed is then as before."""
        plan = self.timed(plan, now_ns)
        followed, from_ns, alone_ns = self._take_over(plan, now_ns)
        seams = seam_between(self._plan, plan, from_ns), seam_between(self._followed, followed, from_ns)
        accepted = Accepted(*seams, plan.steps_before(now_ns), (alone_ns - now_ns) / NS)
        self._followed, self._plan = followed, plan
        self.chunks += 1
        return accepted

    @abstractmethod
    def _take_over(self, plan: Spline, now_ns: int) -> tuple[Trajectory, int, int]:
        """What is followed from ``now_ns`` on; since when it is not what was followed before; since when it is ``plan`` alone [ns]."""

    def _switched(self, new: Trajectory, from_ns: int, now_ns: int) -> Trajectory:
        """What is followed now until ``from_ns``, then ``new``; without keeping what is over."""
        return Switch(self._then(now_ns), new, from_ns) if from_ns > now_ns else new

    def _then(self, time_ns: int) -> Trajectory:
        """What is followed at and after a time, as far as it is known now."""
        followed = self._followed
        while isinstance(followed, Switch) and time_ns >= followed.start_ns:
            followed = followed.new
        return followed
