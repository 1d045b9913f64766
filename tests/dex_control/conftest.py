# SPDX-License-Identifier: Apache-2.0
"""A rig around the gate's core: a clock moved by hand, joints that follow with a lag, and a spy on every command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from dex_control.gate import CommandMode, Gate, Tick
from dex_core.config import CellConfig, load_cell
from dex_core.config.safety import SafetyConfig
from dex_core.safety import Beat, Mode
from dex_core.types import ActionChunk, ActionSlice, JointState

NS = 1_000_000_000
PERIOD_NS = 10_000_000
WALL_OFFSET_NS = 1_700_000_000 * NS


class CommandSpy:
    """Checks every command that leaves the gate: finite, in range, near measured, within speed and acceleration."""

    def __init__(self, gate: Gate) -> None:
        self.limits = gate.limits
        self.ticks: list[Tick] = []
        self.smooth = True  # off where a test makes the hard step limit act
        self._before: Tick | None = None

    def __call__(self, tick: Tick, measured: np.ndarray) -> None:
        self.ticks.append(tick)
        q = tick.command.position_rad
        moving = tick.mode in (CommandMode.TRACK, CommandMode.HOLD)
        assert (len(q) > 0) == moving
        if moving:
            limits = self.limits
            assert tick.command.names == limits.names
            assert np.isfinite(q).all() and np.isfinite(tick.command.velocity_rad_s).all()
            assert (q >= limits.lower_rad).all() and (q <= limits.upper_rad).all()
            assert (np.abs(q - measured) <= limits.step_rad + 1e-12).all()
            assert np.any(q != 0.0), "zeros are never a fallback"
            if self.smooth and self._before is not None and len(self._before.command.position_rad):
                self._check_smooth(tick)
        self._before = tick

    def _check_smooth(self, tick: Tick) -> None:
        dt = PERIOD_NS / NS
        velocity = (tick.command.position_rad - self._before.command.position_rad) / dt
        assert (np.abs(velocity) <= self.limits.velocity_rad_s + 1e-6).all()
        change = np.abs(velocity - self._before.command.velocity_rad_s) / dt
        assert (change <= self.limits.acceleration_rad_s2 * (1 + 1e-6) + 1e-4).all()
        if tick.mode is self._before.mode is CommandMode.TRACK:  # a brake is not kept waiting by the jerk
            jerk = np.abs(tick.command.acceleration_rad_s2 - self._before.command.acceleration_rad_s2) / dt
            assert (jerk <= self.limits.jerk_rad_s3 * (1 + 1e-6) + 1e-2).all()


class Rig:
    """The gate in a made-up cell.

    Attributes:
        silent: nodes that send no heartbeat.
        mute: interfaces that send no joint state.
        frozen: interfaces whose joint state repeats its numbers.
        blocked: (n,) joints that do not move.
        wall_step_ns: added to the wall clock.
    """

    def __init__(self, cell: CellConfig, lag: float = 0.4) -> None:
        self.cell, self.lag = cell, lag
        self.gate = Gate(cell)
        self.spy = CommandSpy(self.gate)
        self.now_ns = 5 * NS
        self.wall_step_ns = 0
        self.silent: set[str] = set()
        self.mute: set[str] = set()
        self.frozen: set[str] = set()
        self.beats: dict[str, Beat] = {}
        self.joints = np.array([q for i in cell.interfaces.values() for q in i.home])
        self.velocity = np.zeros(len(self.joints))
        self.blocked = np.zeros(len(self.joints), dtype=bool)
        self.rng = np.random.default_rng(0)
        self.outcomes: list = []
        self._shown: dict[str, np.ndarray] = {}

    @property
    def wall_ns(self) -> int:
        return self.now_ns + WALL_OFFSET_NS + self.wall_step_ns

    @property
    def status(self):
        return self.gate.status

    @property
    def last(self) -> Tick:
        return self.spy.ticks[-1]

    def place(self, interface: str) -> slice:
        start = 0
        for name, part in self.cell.interfaces.items():
            if name == interface:
                return slice(start, start + len(part.names))
            start += len(part.names)
        raise KeyError(interface)

    def feed(self) -> None:
        """States of all devices that speak, heartbeats of all nodes that live."""
        for name, part in self.cell.interfaces.items():
            if name in self.mute:
                continue
            shown = self._shown.setdefault(name, self.joints[self.place(name)].copy())
            if name not in self.frozen:
                shown = self._shown[name] = self.joints[self.place(name)].copy()
            velocity, effort = self.velocity[self.place(name)], np.full(len(part.names), np.nan)
            if name in self.frozen:
                velocity = np.zeros_like(velocity)
            self.gate.on_joint_state(name, JointState(part.names, shown, velocity, effort, self.wall_ns), self.now_ns)
        for watch in self.gate.heartbeats.watched:
            if watch.node not in self.silent:
                self.gate.on_heartbeat(self.beats.get(watch.node, Beat(watch.node)), self.now_ns)

    def step(self, ticks: int = 1, until: Callable[[], bool] | None = None) -> Tick:
        """Runs the gate; ends early once ``until()``."""
        for _ in range(ticks):
            self.now_ns += PERIOD_NS
            self.feed()
            tick = self.gate.tick(self.now_ns)
            self.outcomes += tick.outcomes
            self.spy(tick, self.gate.states.position_rad.copy())
            q = tick.command.position_rad
            moved = np.where(self.blocked, 0.0, self.lag * (q - self.joints)) if len(q) else np.zeros(len(self.joints))
            self.joints = self.joints + moved
            self.velocity = moved / (PERIOD_NS / NS)
            if until is not None and until():
                break
        return self.last

    def chunk(self, sequence: int = 0, goal: str = "g1", *, move: np.ndarray | float = 0.1, start: np.ndarray | None = None,
              steps: int = 64, dt_s: float = 0.05, stamp_ns: int | None = None, knots: np.ndarray | None = None) -> ActionChunk:
        """A whole chunk: from ``start`` (measured) a smooth way by ``move`` [rad]."""
        if knots is None:
            start = self.joints if start is None else start
            u = np.linspace(0.0, 1.0, steps)[:, None]
            knots = start + np.broadcast_to(move, start.shape) * (3 * u**2 - 2 * u**3)
        slices = tuple(
            ActionSlice(name, "joint_position", knots[:, self.place(name)], part.names) for name, part in self.cell.interfaces.items()
        )
        stamp = self.wall_ns if stamp_ns is None else stamp_ns
        return ActionChunk(stamp, goal, sequence, dt_s, 1.0, slices, "hash", {"observed": stamp})

    def send(self, chunk: ActionChunk) -> None:
        self.gate.on_chunk(chunk, self.now_ns, self.wall_ns)

    def start(self, goal: str = "g1", **chunk) -> Rig:
        """Arms a goal and sends its first chunk."""
        self.step(3)
        reply = self.gate.set_goal(goal, True, self.now_ns)
        assert reply.accepted, reply
        self.send(self.chunk(0, goal, **chunk))
        self.step()
        assert self.status.mode is Mode.RUNNING, self.status
        assert self.last.mode is CommandMode.TRACK
        return self

    def at_rest(self) -> bool:
        return not len(self.last.command.velocity_rad_s) or np.abs(self.last.command.velocity_rad_s).max() < 1e-6


@pytest.fixture(scope="session")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture
def rig(cell: CellConfig) -> Rig:
    return Rig(cell)


@pytest.fixture
def free_rig(cell: CellConfig) -> Rig:
    """A rig whose parts may touch: for what concerns single joints."""
    return Rig(dataclasses.replace(cell, safety=SafetyConfig(distances={})))


@pytest.fixture
def make_rig(cell: CellConfig) -> Callable[[], Rig]:
    """For property tests, which need a fresh rig per example; its parts may touch."""
    free = dataclasses.replace(cell, safety=SafetyConfig(distances={}))
    return lambda: Rig(free)


@pytest.fixture(scope="session")
def rig_of() -> type[Rig]:
    """For tests of another cell: ``rig_of(cell)``."""
    return Rig
