# SPDX-License-Identifier: Apache-2.0
"""The gate itself as a lockstep cell's executor: its checks, its schedule, its limits; what it commanded is kept for the seams."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from dex_control.gate import Gate
from dex_core.chunks import Seam, command_seams
from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_core.safety import ACTIVE
from dex_core.types import ActionChunk, ActionSlice, Array, JointState
from dex_sim.executor import CONTROL_HZ, INTERFACES, Measure
from dex_sim.lockstep import DT_S

GOAL = "lockstep"
REST_RAD_S = 0.01
"""Slower commands than this are rest."""
_START_NS = 10 * NS  # simulated time 0, so that nothing is stamped before the clocks began


class Commanded(NamedTuple):
    """Commands of an episode: simulated times (T,) [s], positions (T, n) [rad], and the times of their seams (k,) [s]."""

    time_s: Array
    position_rad: Array
    seams_s: Array


class GateExecutor:
    """One gate, one goal, per episode. See :class:`dex_sim.executor.Executor`.

    Args:
        cell: ``control.schedule`` says how chunks follow each other.

    Attributes:
        cell: of the next episode; another one with the same joints may be put here.
        gate: of the running episode.
        refused: reason -> chunks that the gate did not follow.
        ended: why the gate left the goal; empty while it runs.
        plan_seams: of the accepted chunks but the first, to the plan before, if they simply took over.
    """

    def __init__(self, cell: CellConfig) -> None:
        self.cell = cell
        self._columns = {name: (cell.interface(name).names, len(cell.interface(name).names)) for name in INTERFACES}
        names = [joint for name in INTERFACES for joint in cell.interface(name).names]
        gate_names = [joint for interface in cell.interfaces.values() for joint in interface.names]
        self._order = np.array([gate_names.index(joint) for joint in names])
        self.gate = Gate(cell, watched=())

    def begin(self, measure: Measure, time_s: float) -> None:
        """See Executor. Raises DexError ``goal_refused`` when the gate will not have the goal."""
        self.gate = Gate(self.cell, watched=())
        if round(NS / CONTROL_HZ) != self.gate.period_ns:
            raise DexError(f"control.rate_hz is {self.cell.control.rate_hz}; a lockstep cell runs at {CONTROL_HZ} Hz", code="config_invalid")
        self.refused: Counter[str] = Counter()
        self.ended = ""
        self.plan_seams: list[Seam] = []
        self._commands: list[Array] = []
        self._boundaries_ns: list[int] = []
        self._sequence, self._first_ns = 0, 0
        now_ns = gate_ns(time_s)
        self._feed(measure, now_ns)
        reply = self.gate.set_goal(GOAL, True, now_ns)
        if not reply.accepted:
            raise DexError(f"the gate refuses the goal: [{reply.reason}] {reply.detail}", code="goal_refused")

    def accept(self, actions: Array, stamp_s: float, measure: Measure, time_s: float) -> None:
        """See Executor."""
        now_ns, stamp_ns, first, slices = gate_ns(time_s), gate_ns(stamp_s), 0, []
        for name, (joints, count) in self._columns.items():
            slices.append(ActionSlice(name, "joint_position", actions[:, first : first + count], joints))
            first += count
        self._feed(measure, now_ns)
        before = self.gate.intake.track
        chunks, before_end_ns = (before.chunks, before.end_ns) if before is not None else (0, 0)
        self.gate.on_chunk(ActionChunk(stamp_ns, GOAL, self._sequence, DT_S, 1.0, tuple(slices), "lockstep"), now_ns, now_ns)
        self._sequence += 1
        track = self.gate.intake.track
        if chunks and track is not None and track.chunks > chunks:
            begins_ns = max(now_ns, track.plan.start_ns)  # a chunk whose first action is still to come changes nothing before it
            self._boundaries_ns += ([before_end_ns] if before_end_ns < now_ns else []) + [begins_ns]

    def command(self, measure: Measure, time_s: float) -> Array | None:
        """See Executor."""
        now_ns = gate_ns(time_s)
        self._feed(measure, now_ns)
        tick = self.gate.tick(now_ns)
        for outcome in tick.outcomes:
            if not outcome.accepted:
                self.refused[outcome.reason] += 1
            elif outcome.sequence and outcome.seam is not None:
                self.plan_seams.append(outcome.seam)
        if not self.ended and self.gate.status.mode not in ACTIVE:
            self.ended = f"{self.gate.status.reason}: {self.gate.status.detail}"
        if not len(tick.command.position_rad):
            return None
        position = tick.command.position_rad[self._order]
        if self.gate.intake.track is not None:
            self._first_ns = self._first_ns or now_ns
            self._commands.append(position)
        return position

    def seams(self) -> list[Seam]:
        """Of the commands, where a chunk took over from another or ran out."""
        return command_seams(np.array(self._commands), self._first_ns, self._boundaries_ns, self.gate.period_ns) if self._commands else []

    def commanded(self) -> Commanded:
        """Everything since the first chunk."""
        ticks = np.arange(len(self._commands))
        times = (self._first_ns - _START_NS + ticks * self.gate.period_ns) / NS
        return Commanded(times, np.array(self._commands), (np.array(self._boundaries_ns) - _START_NS) / NS)

    def rest_share(self) -> float:
        """Share of the time since the first chunk in which no joint was told to move."""
        speed = np.abs(np.diff(np.array(self._commands), axis=0)).max(axis=1) * CONTROL_HZ if len(self._commands) > 1 else np.zeros(0)
        return float(np.mean(speed < REST_RAD_S)) if len(speed) else 0.0

    def peak_acceleration(self) -> float:
        """Largest acceleration of the arms' commands [rad/s^2]."""
        arms = sum(count for name, (_, count) in self._columns.items() if name.endswith("_arm"))
        way = np.array(self._commands)[:, :arms] if self._commands else np.zeros((0, arms))
        return float(np.max(np.abs(np.diff(way, 2, axis=0)), initial=0.0)) * CONTROL_HZ * CONTROL_HZ

    def _feed(self, measure: Measure, now_ns: int) -> None:
        for name, (joints, _) in self._columns.items():
            state = measure(name)
            self.gate.on_joint_state(name, JointState(joints, state.position_rad, state.velocity_rad_s, state.effort_nm, now_ns), now_ns)


def gate_ns(time_s: float) -> int:
    """Clock of the gate at a simulated time [ns]."""
    return _START_NS + round(time_s * NS)
