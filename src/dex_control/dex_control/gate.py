# SPDX-License-Identifier: Apache-2.0
"""The gate without ROS: takes states, heartbeats and chunks, and makes one safe command per tick."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dex_control.gate_types import CommandMode, Reply, Tick, watched_nodes
from dex_control.hold import Hold
from dex_control.intake import COUNTED_FOR_LATCH, ChunkIntake, FirstCommandFar
from dex_control.outcome import ChunkOutcome
from dex_control.stuck import Stuck
from dex_control.tally import GateReport, Tally
from dex_control.watchdog import Watchdog
from dex_core.chunks import ChunkRefused, Incomplete
from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_core.limits import JointLimits, LimitPipeline, Moment, Motion, SafeCommand
from dex_core.limits.space import SpaceLimits
from dex_core.safety import ACTIVE, Beat, Mode, Reason, SafetyMachine, SafetyStatus, Trip, Watch
from dex_core.types import ActionChunk, Array, JointState
from dex_description import compose_cell_urdf

BRAKING = ("velocity", "acceleration")
"""Limits that a brake is meant to reach: no intervention."""


class Gate:
    """Schedules chunks, applies limits, watches everyone. One thread at a time; times monotonic [ns] unless called wall.

    Args:
        cell: the cell; its ``control`` holds every number.
        watched: nodes whose heartbeat a running goal needs; None: all of the cell, () in lockstep without nodes.

    Attributes:
        states, heartbeats: newest measured joints and signs of life.
        watchdog, intake, space: who watches, who takes chunks in, and the limits of the whole cell.
    """

    def __init__(self, cell: CellConfig, watched: Sequence[Watch] | None = None) -> None:
        self.config = cell.control
        self.period_ns = round(NS / self.config.rate_hz)
        self.limits = JointLimits.of_cell(cell)
        interfaces = [(name, interface.names) for name, interface in cell.interfaces.items()]
        self.watchdog = Watchdog(cell, self.limits, watched_nodes(cell) if watched is None else watched)
        self.states, self.heartbeats = self.watchdog.states, self.watchdog.heartbeats
        self.space = SpaceLimits.of_cell(cell, compose_cell_urdf(cell), self.limits)
        hands = [name for name, interface in cell.interfaces.items() if interface.robot.kind == "hand"]
        self.intake = ChunkIntake(self.config, interfaces, self.limits, hands, self.space)
        self._pipeline = LimitPipeline(self.limits, self.space)
        self._stuck = Stuck(self.period_ns / NS, self.config.step_limit_timeout_s, cell.safety.blocked_timeout_s)
        self._machine = SafetyMachine()
        self._tally = Tally(self.period_ns, {joint: name for name, joints in interfaces for joint in joints})
        self._hold: Hold | None = None
        self._motion: Motion | None = None
        self._outcomes: list[ChunkOutcome] = []
        self._published = SafetyStatus()
        self._started_ns, self._rejects_in_a_row, self._last_refusal = 0, 0, ""

    @property
    def status(self) -> SafetyStatus:
        """Mode, latch, goal and reason."""
        return self._machine.status

    @property
    def moving(self) -> bool:
        """True while joint targets go out, be it only to hold."""
        return self._motion is not None

    @property
    def ticks_missed(self) -> int:
        """Ticks skipped since the start because the loop was late."""
        return self._tally.missed

    def on_joint_state(self, interface: str, state: JointState, now_ns: int) -> None:
        """Takes the newest measured joints of one device."""
        self.states.update(interface, state, now_ns, self._commanded())

    def on_heartbeat(self, beat: Beat, now_ns: int) -> None:
        """Takes one node's sign of life."""
        self.heartbeats.beat(beat, now_ns)

    def on_death(self, node: str, pid: int) -> None:
        """Takes the kernel's word that a node's process has ended."""
        self.heartbeats.died(node, pid)

    def on_publishers(self, count: int) -> None:
        """Takes how many publishers the command topic has, this gate among them."""
        self.watchdog.publishers = count

    def on_deadman(self, pressed: bool, now_ns: int) -> None:
        """Takes the word of the deadman switch."""
        self.watchdog.deadman.hear(pressed, now_ns)

    def on_chunk(self, chunk: ActionChunk, now_ns: int, wall_ns: int) -> None:
        """Takes a chunk or a decoded part of one; follows it once it is whole and passed every check."""
        began = time.perf_counter_ns()
        try:
            self._refuse_other_goal(chunk)
            taken = self.intake.take(chunk, now_ns, wall_ns, self._motion.position_rad, self.states.position_rad)
        except DexError as error:
            if isinstance(error, FirstCommandFar):
                self._machine.hold(Trip(Reason.FIRST_COMMAND_FAR, error.joint, str(error)))
            self.refuse_chunk(chunk.goal_id, chunk.sequence, error, chunk.timing_ns)
            return
        if taken is None:
            return
        whole, accepted = taken
        self._tally.examined(self.intake.remarks, (time.perf_counter_ns() - began) * 1e-6)
        self._machine.start()
        self._rejects_in_a_row, self._last_refusal = 0, ""
        self._tally.accepted += 1
        self._outcomes.append(ChunkOutcome.scheduled(whole, accepted, wall_ns, self.intake.approaching))

    def refuse_chunk(self, goal_id: str, sequence: int, error: DexError, timing_ns: dict[str, int] | None = None) -> None:
        """Counts and reports a chunk that is not followed; latches after too many of one goal in a row."""
        reason, text = error.code, str(error)
        self._tally.refused(reason)
        self._outcomes.append(ChunkOutcome(goal_id, sequence, False, reason, text, dict(timing_ns or {})))
        if goal_id != self.status.goal_id or self.status.mode not in ACTIVE or reason not in COUNTED_FOR_LATCH:
            return
        self._last_refusal = f"; the last one was refused [{reason}]: {text}"
        self.intake.finish(sequence)
        self._rejects_in_a_row += 1
        if self._rejects_in_a_row >= self.config.rejects_before_latch:
            code = Reason.NON_FINITE if reason == Reason.NON_FINITE else Reason.CHUNK_REJECTED
            cause = error.silent[0] if isinstance(error, Incomplete) and error.silent else "action_chunk"
            self._machine.fault(Trip(code, cause, f"{self._rejects_in_a_row} chunks refused in a row, the last: {text}"))

    def set_goal(self, goal_id: str, active: bool, now_ns: int) -> Reply:
        """Arms a new goal, or ends the one that is armed or runs."""
        return self._arm(goal_id, now_ns) if active else self._end(goal_id)

    def stop(self, cause: str = "gate/stop", detail: str = "a stop was requested") -> Reply:
        """Stops, latched: brakes within the limits, then commands STOP until a reset."""
        self._machine.stop(Trip(Reason.STOP_REQUESTED, cause, detail))
        return Reply(True, detail=f"{self.status.mode.name}: {self.status.reason}")

    def reset(self, now_ns: int) -> Reply:
        """Releases a latch. Nothing moves until a new goal."""
        if self.status.latched and self.watchdog.duplicate():
            return Reply(False, *self.watchdog.duplicate()[0][::2])
        if self.status.latched and self._motion is not None and not (self._hold and self._hold.done(self._motion, now_ns)):
            return Reply(False, Reason.MOVING, "the cell is still braking; reset again when it rests")
        if self._machine.reset():
            self._rest()
            return Reply(True, detail="reset; it takes a new goal to move")
        return Reply(True, detail=f"nothing to reset: {self.status.mode.name}")

    def tick(self, tick_ns: int, now_ns: int | None = None) -> Tick:
        """Makes the command of one tick.

        Args:
            tick_ns: scheduled time, evenly spaced: what the trajectory is evaluated at.
            now_ns: real time, for the statistics of the period; None: ``tick_ns``.
        """
        skipped = self._tally.tick(tick_ns, tick_ns if now_ns is None else now_ns)
        for partial, error in self.intake.expire(tick_ns):
            self.refuse_chunk(partial.goal_id, partial.sequence, error, partial.timing_ns)
        if skipped * self.period_ns > self.config.command_timeout_s * NS:
            self._resume_from_measured()
        if self.status.mode in ACTIVE:
            self._watch(tick_ns)
        mode, command = self._command(tick_ns)
        changed = self.status != self._published
        self._published = self.status
        outcomes, self._outcomes = tuple(self._outcomes), []
        return Tick(mode, command, self.status, changed, outcomes)

    def report(self) -> GateReport:
        """Counters, and period and limits since the last report."""
        return self._tally.report(tuple(self.watchdog.held))

    def obstacles(self, now_ns: int) -> list[Trip]:
        """Everything that forbids motion now; empty: a goal may start."""
        return self.watchdog.obstacles(now_ns)

    def _arm(self, goal_id: str, now_ns: int) -> Reply:
        if goal_id == self.status.goal_id and self.status.mode in ACTIVE:
            return Reply(True, detail=f"this goal is {self.status.mode.name.lower()} already")
        try:
            self._machine.check_arm(goal_id)
        except DexError as error:
            return Reply(False, error.code, str(error))
        obstacles = self.obstacles(now_ns) or self.watchdog.outside(self.config.first_command_max_rad)
        if obstacles:
            return Reply(False, obstacles[0].reason, "; ".join(trip.detail for trip in obstacles))
        self._machine.arm(goal_id)
        for part in (self.intake, self.watchdog, self._stuck, self.space):
            part.clear()
        resting = self.limits.clip(self.states.position_rad)
        self._hold = Hold(now_ns, self.limits, resting if self._motion is None else None)
        self._motion = self._motion or Motion.at_rest(resting)
        self._started_ns, self._rejects_in_a_row, self._last_refusal = now_ns, 0, ""
        return Reply(True)

    def _end(self, goal_id: str) -> Reply:
        if self.status.mode in ACTIVE and goal_id in ("", self.status.goal_id):
            self._machine.hold(Trip(Reason.GOAL_ENDED, "gate/set_goal", f"goal {self.status.goal_id!r} was ended"), latched=False)
            return Reply(True)
        if self.status.mode in ACTIVE:
            return Reply(False, Reason.WRONG_GOAL, f"goal {self.status.goal_id!r} is {self.status.mode.name.lower()}, not {goal_id!r}")
        return Reply(True, detail=f"no goal is running: {self.status.mode.name}")

    def _watch(self, now_ns: int) -> None:
        """Leaves ARMED or RUNNING for the first thing that is wrong, unless it concerns one side alone."""
        for trip in self.watchdog.duplicate():
            self._machine.fault(trip)
            return
        trips = self.watchdog.trips(now_ns, self._commanded())
        starved = self.intake.starved(now_ns, self._started_ns)
        if starved:
            trips.append(Trip(Reason.CHUNK_STARVED, "policy", starved + self._last_refusal))
        for trip in trips:
            action = self.watchdog.action(trip)
            if action == "side":
                self.watchdog.hold_side(trip)
            else:
                (self._machine.stop if action == "stop" else self._machine.hold)(trip)
                return

    def _refuse_other_goal(self, chunk: ActionChunk) -> None:
        status = self.status
        if status.mode not in ACTIVE or chunk.goal_id != status.goal_id:
            text = f"chunk {chunk.sequence} is of goal {chunk.goal_id!r}; {status.mode.name} with goal {status.goal_id!r}"
            raise ChunkRefused(text, code=Reason.WRONG_GOAL)

    def _commanded(self) -> Array | None:
        """(n,) last command while a chunk is followed [rad]: what the joints ought to be doing."""
        return self._motion.position_rad if self._motion is not None and self.intake.track is not None else None

    def _rest(self) -> None:
        """No joint targets any more."""
        self._motion = self._hold = None
        self.intake.clear()

    def _resume_from_measured(self) -> None:
        """The gate itself was stalled and the drivers hold by themselves: go on from where the joints are."""
        if self._motion is not None:
            self._motion = Motion.at_rest(self.limits.clip(self.states.position_rad))

    def _command(self, now_ns: int) -> tuple[CommandMode, SafeCommand]:
        if self._motion is None:
            return self._silent_mode(), self._pipeline.empty()
        try:
            tracking = self.status.mode is Mode.RUNNING and self.intake.track is not None
            command = self._tracked(now_ns) if tracking else self._held(now_ns)
        except DexError as error:
            self._machine.fault(Trip(error.code, "gate", str(error)))
            self._rest()
            return CommandMode.STOP, self._pipeline.empty()
        self._motion = command.motion
        if tracking and self.status.mode is Mode.RUNNING:
            return CommandMode.TRACK, command
        return self._after_hold(command, now_ns)

    def _silent_mode(self) -> CommandMode:
        return CommandMode.STOP if self.status.mode in (Mode.STOPPED, Mode.FAULT) else CommandMode.IDLE

    def _tracked(self, now_ns: int) -> SafeCommand:
        point, still = self.intake.target(now_ns, self._motion, self.period_ns / NS), self.watchdog.still
        position, velocity = point.position_rad, point.velocity_rad_s
        if still.any():
            position, velocity = np.where(still, self._motion.position_rad, position), np.where(still, 0.0, velocity)
        command = self._limit(position, velocity)
        self._hold = None
        self._tally.limited(command.changes, command.share)
        trip = self._stuck.look(command, {self.limits.names[i] for i in np.flatnonzero(still)})
        if trip is not None:
            self._machine.hold(trip)
        return command

    def _held(self, now_ns: int) -> SafeCommand:
        if self._hold is None:
            self._hold = Hold(now_ns, self.limits)
        measured = np.where(self.states.fresh(now_ns), self.states.position_rad, self._motion.position_rad)
        request = self._hold.request(self._motion, measured, self.states.velocity_rad_s, now_ns)
        command = self._limit(request.position_rad, request.target_velocity_rad_s, braking=True)
        self._tally.limited([change for change in command.changes if change.limit not in BRAKING])
        return command

    def _limit(self, request_rad: Array, target_velocity_rad_s: Array | None, *, braking: bool = False) -> SafeCommand:
        moment = Moment(self._motion, self.states.position_rad, self.period_ns / NS, target_velocity_rad_s, braking=braking)
        return self._pipeline.apply(request_rad, moment)

    def _after_hold(self, command: SafeCommand, now_ns: int) -> tuple[CommandMode, SafeCommand]:
        """A hold goes on until it rests; then an ended goal leads to IDLE, a stop or a fault to STOP."""
        if self._hold is None or not self._hold.done(command.motion, now_ns):
            return CommandMode.HOLD, command
        if self.status.mode in (Mode.STOPPED, Mode.FAULT) or self._machine.settle():
            self._rest()
        return CommandMode.HOLD, command
