# SPDX-License-Identifier: Apache-2.0
"""What one driver does with the cell's command stream: pick its joints by name, watch the time, resume only after a new start."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.clock import NS
from dex_core.errors import DexError, JointNameError, NonFiniteError, ShapeError
from dex_core.types import Array


class CommandMode(IntEnum):
    """Values as in dex_msgs/JointCommand."""

    IDLE = 0
    TRACK = 1
    HOLD = 2
    STOP = 3


class Act(IntEnum):
    """What the driver shall do now."""

    NOTHING = 0
    FOLLOW = 1
    HOLD = 2


class Decision(NamedTuple):
    """An act; ``position_rad`` (n,) in the driver's order when it is FOLLOW."""

    act: Act
    position_rad: Array | None = None


NOTHING, HOLD = Decision(Act.NOTHING), Decision(Act.HOLD)


class CommandFollower:
    """The admission rules of the second wall, without clock, device or ROS. Times are monotonic [ns].

    Armed means that TRACK is followed. It starts disarmed; IDLE or HOLD arms, and STOP, silence, a malformed command or
    ``trip`` disarm, with the reason kept. So nothing goes on after a fault until the gate has held or idled in between.

    Args:
        names: the driver's joints, in its order.
        timeout_s: longest silence while following.

    Attributes:
        armed: TRACK is followed.
        following: the newest command was followed.
        reason, detail: why it is not armed; empty when it is.
        ignored: TRACK commands ignored while disarmed.
        stale: commands dropped because their sequence was not newer.
    """

    def __init__(self, names: Sequence[str], timeout_s: float) -> None:
        self.names = tuple(names)
        self.armed = self.following = False
        self.reason, self.detail = "no_gate", "no command has been heard yet"
        self.ignored = self.stale = 0
        self.mode: CommandMode | None = None
        self._timeout_ns = round(timeout_s * NS)
        self._heard_ns: int | None = None
        self._sequence = -1
        self._map_of: tuple[str, ...] = ()
        self._map: Array | None = None

    def silent_s(self, now_ns: int) -> float:
        """Time since the newest command [s], infinite before the first."""
        return float("inf") if self._heard_ns is None else (now_ns - self._heard_ns) / NS

    def gate_is_idle(self, now_ns: int) -> bool:
        """The gate lives and streams IDLE: others may move this device."""
        return self.mode is CommandMode.IDLE and self.silent_s(now_ns) * NS <= self._timeout_ns

    def command(self, mode: int, sequence: int, names: Sequence[str], positions: Sequence[float], now_ns: int) -> Decision:
        """Judges one command of the stream."""
        silent = self._heard_ns is None or now_ns - self._heard_ns > self._timeout_ns
        late = self._time_out(now_ns) if self.armed and silent else NOTHING
        if sequence <= self._sequence and not silent and mode in (CommandMode.TRACK, CommandMode.HOLD):
            self.stale += 1
            return NOTHING
        self._heard_ns, self._sequence = now_ns, sequence
        decision = self._judge(mode, names, positions)
        return late if decision.act is Act.NOTHING else decision

    def _judge(self, mode: int, names: Sequence[str], positions: Sequence[float]) -> Decision:
        try:
            self.mode = CommandMode(mode)
        except ValueError:
            return self.trip("wrong_mode", f"command mode {mode}; allowed: {[m.value for m in CommandMode]}")
        if self.mode is CommandMode.STOP:
            return self.trip("stopped", "the gate is stopped; it needs a reset and a new goal")
        if self.mode is CommandMode.IDLE or (self.mode is CommandMode.HOLD and (not self.armed or not len(names))):
            return self._arm()
        if not self.armed:
            self.ignored += 1
            return NOTHING
        try:
            position = self._pick(names, positions)
        except DexError as error:
            return self.trip(error.code, str(error))
        self.following = True
        return Decision(Act.FOLLOW, position)

    def tick(self, now_ns: int) -> Decision:
        """Watches the silence; call it at least as often as the timeout is long."""
        if not self.armed or self._heard_ns is None or now_ns - self._heard_ns <= self._timeout_ns:
            return NOTHING
        return self._time_out(now_ns)

    def trip(self, reason: str, detail: str) -> Decision:
        """Disarms; the driver holds when it was following."""
        was_following, self.following, self.armed = self.following, False, False
        self.reason, self.detail = reason, detail
        return HOLD if was_following else NOTHING

    def _time_out(self, now_ns: int) -> Decision:
        return self.trip("gate_lost", f"no joint_command for {self.silent_s(now_ns):.3f} s; at most {self._timeout_ns / NS} s is allowed")

    def _arm(self) -> Decision:
        was_following, self.following, self.armed = self.following, False, True
        self.reason = self.detail = ""
        return HOLD if was_following else NOTHING

    def _pick(self, names: Sequence[str], positions: Sequence[float]) -> Array:
        """The driver's joints out of the whole cell's command, in its own order."""
        if self._map is None or tuple(names) != self._map_of:
            self._map_of, self._map = tuple(names), None
            if len(set(names)) != len(names) or not set(self.names) <= set(names):
                raise JointNameError("joint_command", [n for n in names if n in self.names], self.names)
            where = {name: i for i, name in enumerate(names)}
            self._map = np.array([where[name] for name in self.names], dtype=np.intp)
        if len(positions) != len(names):
            raise ShapeError(f"joint_command has {len(positions)} positions for {len(names)} names")
        picked = np.asarray(positions, dtype=np.float64)[self._map]
        if not np.isfinite(picked).all():
            worst = int(np.flatnonzero(~np.isfinite(picked))[0])
            raise NonFiniteError(f"joint_command of {self.names[worst]} is {picked[worst]}; every number must be finite")
        return picked
