# SPDX-License-Identifier: Apache-2.0
"""The gate's core with everything around it made up: a clock moved by hand, joints that follow with a lag, signs of life."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dex_bringup.fault.play import Unexpected, expect
from dex_control.gate import CommandMode, Gate, Tick
from dex_control.outcome import ChunkOutcome
from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_core.safety import Beat, Mode
from dex_core.types import ActionChunk, ActionSlice, Array, JointState

WALL_OFFSET_NS = 1_700_000_000 * NS
LAG = 0.4
"""Share of its way to the command that a joint moves per tick."""
STEPS, DT_S = 64, 0.05
GOAL = "g1"


class GateRig:
    """A gate that runs a goal unless told otherwise.

    Attributes:
        silent: nodes that send no sign of life. mute: interfaces that send no joint state. frozen: those that repeat their numbers.
        wall_step_ns: added to the wall clock.
        joints: (n,) where the joints are [rad].
        outcomes: what became of every chunk.
    """

    def __init__(self, cell: CellConfig) -> None:
        self.cell, self.gate = cell, Gate(cell)
        self.now_ns, self.wall_step_ns = 5 * NS, 0
        self.silent: set[str] = set()
        self.mute: set[str] = set()
        self.frozen: set[str] = set()
        self.joints: Array = np.array([q for part in cell.interfaces.values() for q in part.home])
        self.outcomes: list[ChunkOutcome] = []
        self.last: Tick | None = None
        self._shown = self.joints.copy()
        self._velocity = np.zeros(len(self.joints))

    @property
    def wall_ns(self) -> int:
        """The wall clock now [ns]."""
        return self.now_ns + WALL_OFFSET_NS + self.wall_step_ns

    def columns(self, interface: str) -> slice:
        """Where the joints of an interface are among all."""
        names = self.cell.joint_names
        part = self.cell.interface(interface).names
        start = names.index(part[0])
        return slice(start, start + len(part))

    def step(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Runs the gate; returns the seconds that passed, less where ``until()`` came true."""
        began_ns = self.now_ns
        for _ in range(max(1, round(seconds * NS / self.gate.period_ns))):
            self.now_ns += self.gate.period_ns
            self._feed()
            self.last = tick = self.gate.tick(self.now_ns)
            self.outcomes += tick.outcomes
            self._follow(tick.command.position_rad)
            if until is not None and until():
                break
        return (self.now_ns - began_ns) / NS

    def chunk(
        self, sequence: int, *, move: Array | float = 0.1, start: Array | None = None, knots: Array | None = None, stamp_ns: int | None = None,
        goal: str = GOAL, bundle: str = "model", steps: int = STEPS,
    ) -> ActionChunk:
        """A whole chunk in joints: from ``start`` (measured) a smooth way by ``move`` [rad], or ``knots`` (T, n)."""
        if knots is None:
            u = np.linspace(0.0, 1.0, steps)[:, None]
            start = self.joints if start is None else start
            knots = start + np.broadcast_to(move, start.shape) * (3.0 * u**2 - 2.0 * u**3)
        parts = tuple(ActionSlice(name, "joint_position", knots[:, self.columns(name)], part.names) for name, part in self.cell.interfaces.items())
        stamp = self.wall_ns if stamp_ns is None else stamp_ns
        return ActionChunk(stamp, goal, sequence, DT_S, 1.0, parts, bundle, {"observed": stamp})

    def send(self, chunk: ActionChunk) -> None:
        """Hands a chunk to the gate."""
        self.gate.on_chunk(chunk, self.now_ns, self.wall_ns)

    def arm(self) -> GateRig:
        """Sets the goal; nothing moves yet. Raises Unexpected when the gate refuses."""
        self.step(0.05)
        reply = self.gate.set_goal(GOAL, True, self.now_ns)
        expect(reply.accepted, f"the goal was refused: {reply}")
        return self

    def run(self, **chunk: object) -> GateRig:
        """Sets the goal and follows its first chunk for half a second. Raises Unexpected when it does not."""
        self.arm()
        self.send(self.chunk(0, **chunk))  # type: ignore[arg-type]
        self.step(0.5)
        expect(self.running and self.last.mode is CommandMode.TRACK, f"no motion to break: {self.gate.status}")
        return self

    @property
    def running(self) -> bool:
        """A goal is followed."""
        return self.gate.status.mode is Mode.RUNNING

    @property
    def held(self) -> bool:
        """The newest command follows nothing."""
        return self.last is not None and self.last.mode is not CommandMode.TRACK

    def hold_ms(self, reason: str, within_s: float = 1.0) -> float:
        """Runs on until the gate holds for ``reason``; returns how long it took [ms]. Then watches that it stays there.

        Raises:
            Unexpected: it went on, held for another reason, is not latched, or moved on afterwards.
        """
        took_s = self.step(within_s, until=lambda: self.held)
        status = self.gate.status
        expect(self.held, f"still {status.mode.name} after {took_s:.2f} s")
        expect(status.reason == reason and status.latched, f"{status.mode.name} [{status.reason}], latched {status.latched}; expected [{reason}]")
        self.step(1.5)
        resting = self.joints.copy()
        self.step(0.5)
        moved = float(np.abs(self.joints - resting).max())
        expect(moved < 1e-3, f"moved {moved:.4f} rad after the hold")
        return took_s * 1e3

    def refused(self, reason: str, sequence: int) -> str:
        """The words of the refusal of one chunk. Raises Unexpected when it was followed or refused for another reason."""
        self.step(0.1)
        outcome = next((o for o in reversed(self.outcomes) if o.sequence == sequence), None)
        if outcome is None or outcome.accepted or outcome.reason != reason:
            raise Unexpected(f"chunk {sequence}: {outcome}; expected a refusal [{reason}]")
        return outcome.detail

    def _feed(self) -> None:
        for name, part in self.cell.interfaces.items():
            where = self.columns(name)
            if name not in self.frozen:
                self._shown[where] = self.joints[where]
            if name in self.mute:
                continue
            velocity = np.zeros(len(part.names)) if name in self.frozen else self._velocity[where]
            state = JointState(part.names, self._shown[where], velocity, np.full(len(part.names), np.nan), self.wall_ns)
            self.gate.on_joint_state(name, state, self.now_ns)
        for watch in self.gate.heartbeats.watched:
            if watch.node not in self.silent:
                self.gate.on_heartbeat(Beat(watch.node), self.now_ns)

    def _follow(self, command: Array) -> None:
        moved = LAG * (command - self.joints) if len(command) else np.zeros(len(self.joints))
        self.joints = self.joints + moved
        self._velocity = moved * NS / self.gate.period_ns
