# SPDX-License-Identifier: Apache-2.0
"""Takes chunks in: joins, checks and schedules them as the cell says, and tells the fate of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dex_core.chunks import (
    SCHEDULES,
    Accepted,
    Approach,
    BlendLimits,
    ChunkJoiner,
    ChunkRefused,
    Point,
    Schedule,
    ScheduleSettings,
    Spline,
    check_chunk,
    monotonic_start_ns,
)
from dex_core.config import ControlConfig
from dex_core.limits import Change, JointLimits, Motion
from dex_core.limits.space import SpaceLimits
from dex_core.safety import Reason
from dex_core.types import ActionChunk, Array


class FirstCommandFar(ChunkRefused):
    """A goal's first command lies too far from the measured joints; ``joint`` is the worst."""

    def __init__(self, message: str, joint: str) -> None:
        super().__init__(message, code="too_far")
        self.joint = joint


class ChunkIntake:
    """Chunks of one goal at a time. Times monotonic [ns] unless called wall.

    Args:
        config: the gate's numbers.
        interfaces: (interface, joint names) in the cell's order.
        limits: of all joints, same order.
        hands: interfaces that may approach a goal's first chunk from afar.
        space: limits of the whole cell; None: chunks are judged joint by joint.

    Attributes:
        track: what to follow; None before a goal's first chunk.
        approach: how hands come to it.
        sequence: newest chunk that was accepted.
        remarks: what the limits will change in the newest chunk, seen before its first step.
    """

    def __init__(
        self, config: ControlConfig, interfaces: Sequence[tuple[str, tuple[str, ...]]], limits: JointLimits, hands: Sequence[str] = (),
        space: SpaceLimits | None = None,
    ) -> None:
        self._space = space
        self.remarks: tuple[Change, ...] = ()
        self._config, self._interfaces, self._limits = config, tuple(interfaces), limits
        self._schedule = SCHEDULES[config.schedule]
        self._settings = ScheduleSettings(
            config.blend_s, BlendLimits(limits.velocity_rad_s, limits.acceleration_rad_s2), config.ensemble_decay, config.execution_horizon_s,
            config.first_chunk_timeout_s,
        )
        self._joiner = ChunkJoiner([name for name, _ in interfaces], config.chunk_join_timeout_s)
        self._bundle_hash = ""
        first = {name: limits.names.index(joints[0]) for name, joints in interfaces}
        columns = {name: slice(first[name], first[name] + len(joints)) for name, joints in interfaces if name in hands}
        self.approach = Approach(limits, columns, config.first_command_max_rad, config.hand_approach_rad_s)
        self.track: Schedule | None = None
        self._from_afar: tuple[str, ...] = ()
        self.sequence = 0

    def clear(self) -> None:
        """A new goal begins, or nothing is to be followed any more."""
        self._joiner.clear()
        self.approach.clear()
        self.track, self._from_afar, self._bundle_hash = None, (), ""

    def expire(self, now_ns: int) -> list[tuple[ActionChunk, ChunkRefused]]:
        """Chunks whose missing slices did not come in time, each with its reason."""
        return self._joiner.expire(now_ns)

    def finish(self, sequence: int) -> None:
        """Whatever else comes for this sequence is a duplicate."""
        self._joiner.finish(sequence)

    def take(self, part: ActionChunk, now_ns: int, wall_ns: int, commanded_rad: Array, measured_rad: Array) -> tuple[ActionChunk, Accepted] | None:
        """Adds a chunk or a decoded part of one; schedules it once it is whole.

        Args:
            part: of the running goal.
            now_ns, wall_ns: time of arrival on both clocks [ns].
            commanded_rad: (n,) last command [rad].
            measured_rad: (n,) newest measured joints [rad].

        Returns:
            The whole chunk and how it was scheduled, or None while slices are missing.

        Raises:
            DexError: why it is not followed; its code is the reason of the report.
        """
        joined = self._joiner.offer(part, now_ns)
        if joined is None:
            return None
        chunk = joined.chunk
        start_ns = monotonic_start_ns(chunk, now_ns, wall_ns, self._config.chunk_max_age_s)
        if self.track is not None and chunk.bundle_hash != self._bundle_hash:
            raise ChunkRefused(f"chunk {chunk.sequence} was made by another bundle than the goal's first", code="bundle_changed")
        knots = check_chunk(chunk, self._interfaces, self._limits, self._config.chunk_tolerance_rad)
        if self.track is None:
            start_ns = max(start_ns, now_ns)  # the cell has stood since its goal's first chunk was observed: nothing of it is past
        track = self.track or self._schedule(now_ns, commanded_rad, self._settings)
        plan = track.timed(Spline(start_ns, chunk.dt_s, knots), now_ns)
        if self.track is None:
            track = self._begin(chunk, plan, now_ns, commanded_rad, measured_rad)
        self._refuse_leap(chunk, np.abs(track.gap_at(plan, now_ns)))
        self.remarks = self._examine(chunk, plan.knots_rad[plan.steps_before(now_ns):], commanded_rad)
        accepted = track.accept(plan, now_ns)
        self.track, self._bundle_hash, self.sequence = track, chunk.bundle_hash, chunk.sequence
        return chunk, accepted

    @property
    def approaching(self) -> str:
        """A sentence while hands are on their way to the goal's first chunk; empty otherwise."""
        if not self.approach.pending.any():
            return ""
        return f"{' and '.join(self._from_afar)} began far from it and approach at up to {self._config.hand_approach_rad_s} rad/s"

    def target(self, now_ns: int, motion: Motion, dt_s: float) -> Point:
        """Where to be at ``now_ns``, ``dt_s`` after the last command ``motion``: on the track, or on the way to it."""
        return self.approach.toward(self.track.at(now_ns), motion, dt_s)

    def starved(self, now_ns: int, goal_started_ns: int) -> str:
        """A sentence when there is nothing left to follow; empty otherwise."""
        if self.track is None:
            timeout_s = self._config.first_chunk_timeout_s
            return f"no chunk within {timeout_s} s of the goal's start" if now_ns - goal_started_ns > timeout_s * 1e9 else ""
        return f"chunk {self.sequence} ran out and no newer one came" if now_ns > self.track.starved_ns else ""

    def _begin(self, chunk: ActionChunk, plan: Spline, now_ns: int, commanded_rad: Array, measured_rad: Array) -> Schedule:
        """The schedule of a goal: from rest, where a hand approaches from the chunk itself, so that nothing else waits for its fingers."""
        first = plan.at(now_ns).position_rad
        self._refuse_far_start(chunk, np.where(self.approach.joints, 0.0, np.abs(first - measured_rad)))
        self._from_afar = self.approach.begin(first - measured_rad)
        return self._schedule(now_ns, np.where(self.approach.pending, first, commanded_rad), self._settings)

    def _examine(self, chunk: ActionChunk, knots_rad: Array, now_rad: Array) -> tuple[Change, ...]:
        """Looks at every step that is still to come; returns what the limits will change on the way.

        Raises:
            ChunkRefused: it leads out of a workspace (``workspace``) or into something (``collision``).
        """
        remarks = over_limits(knots_rad, chunk.dt_s, self._limits)
        if self._space is None or not len(knots_rad):
            return remarks
        against, more = self._space.examine(knots_rad, chunk.dt_s, now_rad, STRIDE)
        if against is not None:
            step, change = chunk.steps - len(knots_rad) + against.step, against.change
            text = f"chunk {chunk.sequence} action {step}: {change.joint} at {change.requested:.4f} m, allowed {change.allowed:.4f} m"
            raise ChunkRefused(text, code=change.limit)
        return remarks + tuple(finding.change for finding in more)

    def _refuse_far_start(self, chunk: ActionChunk, gap_rad: Array) -> None:
        worst = int(np.argmax(gap_rad))
        if gap_rad[worst] > self._config.first_command_max_rad:
            raise FirstCommandFar(self._far(chunk, worst, gap_rad, "where it is measured"), self._limits.names[worst])

    def _refuse_leap(self, chunk: ActionChunk, gap_rad: Array) -> None:
        worst = int(np.argmax(gap_rad))
        if gap_rad[worst] > self._config.first_command_max_rad:
            raise ChunkRefused(self._far(chunk, worst, gap_rad, "the plan being followed"), code="too_far")

    def _far(self, chunk: ActionChunk, joint: int, gap_rad: Array, place: str) -> str:
        allowed = self._config.first_command_max_rad
        return f"chunk {chunk.sequence}: {self._limits.names[joint]} is {gap_rad[joint]:.3f} rad from {place}; at most {allowed} rad is allowed"


def over_limits(knots_rad: Array, dt_s: float, limits: JointLimits) -> tuple[Change, ...]:
    """Joints whose mean velocity or acceleration between the knots (T, n) of a chunk is over their limit: the worst of each."""
    found, change = [], knots_rad
    for name, most in (("velocity", limits.velocity_rad_s), ("acceleration", limits.acceleration_rad_s2)):
        change = np.diff(change, axis=0) / dt_s
        worst = np.abs(change).max(axis=0, initial=0.0)
        found += [Change(limits.names[i], name, float(worst[i]), float(most[i])) for i in np.flatnonzero(worst > most)]
    return tuple(found)


STRIDE = 2
"""Distances of a chunk are looked at every so many steps: at 50 ms a step, a tool at 0.7 m/s moves 7 cm, and every tick looks anew."""
COUNTED_FOR_LATCH = frozenset({
    Reason.NON_FINITE, "joint_names", "limit", "incomplete", "too_far", "shape", "bundle_changed", Reason.WORKSPACE, Reason.COLLISION,
})
"""Refusals that speak against the policy; lateness and repeats do not."""
