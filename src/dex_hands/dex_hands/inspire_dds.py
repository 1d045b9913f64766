# SPDX-License-Identifier: Apache-2.0
"""Inspire hands of a G1, behind Unitree's DDS service: one topic of commands and one of states for both hands."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.topic_link import Topic, TopicLink
from dex_core.devices.unitree_wire import HAND_CMD, HAND_STATE, UnitreeWireError, pack_motors, unpack_motors
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array

COMMANDS = Topic("inspire/cmd", "unitree_go/MotorCmds", depth=16)
STATES = Topic("inspire/state", "unitree_go/MotorStates")
WRITES, READS = (COMMANDS,), (COMMANDS, STATES)
FIRST_OF = {"right": 0, "left": 6}
"""Where a hand's six stand among the twelve; within a hand little, ring, middle, index, thumb bend, thumb rotation."""
FINGERS, BOTH = 6, 12
FULL_SCALE = 1000.0
"""The hand's counts per unit of the service: 0 closed, 1 open."""
STATE_MAX_AGE_S = 0.25
"""The service publishes at 100 Hz; a lost frame of its serial line costs it one."""
CONNECT_TIMEOUT_S = 3.0
VELOCITY_WINDOW_S = 0.1
TOLERATED = 0.05
"""A measured angle may lie this far outside 0..1 before it is called implausible."""


class InspireDdsDriver:
    """One hand as a JointDevice, six joints.

    Both hands share one message of twelve: what this hand sends repeats for the other hand what was last commanded to it, or where it was
    measured when nobody has commanded it. A message of the other hand's driver that carries an older target of this hand is answered at the
    next ``read``. The service tells neither errors nor temperatures, and which hand is which is decided by its serial ports: see
    docs/devices_g1.md.

    Args:
        interface: which hand, with limits and the map rad -> 0..1000.
        link: writes ``WRITES`` and reads ``READS``.
        state_max_age_s: an older state is a lost link.
    """

    def __init__(self, interface: Interface, link: TopicLink, *, state_max_age_s: float = STATE_MAX_AGE_S) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != FINGERS:
            raise ConfigError(f"{interface.robot.name} has no hardware map of six joints; the Inspire driver needs one")
        self.names = interface.names
        self.who = f"{interface.side}_{interface.robot.kind} at {link.address}"
        self._link, self._max_age_ns = link, round(state_max_age_s * NS)
        first = FIRST_OF[interface.side]
        self._own = slice(first, first + FINGERS)
        self._other = slice(FINGERS - first, BOTH - first)
        maps = [hardware[j] for j in interface.robot.actuated]
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._offset = np.array([m.at_lower for m in maps]) / FULL_SCALE
        self._per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / FULL_SCALE / (self._upper - self._lower)
        self._lock = threading.RLock()
        self._connected = self._enabled = self._holding = False
        self._lost = ""
        self._forget()

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Joins and waits for the service's state. Sends nothing. Raises ConnectionLostError."""
        self.disconnect()
        with self._lock:
            self._forget()
            self._lost = ""
            self._link.open()
            self._connected = True
            deadline = time.monotonic() + CONNECT_TIMEOUT_S
            while self._poll() is None:
                if time.monotonic() > deadline:
                    self.disconnect()
                    raise ConnectionLostError(
                        f"{self.who}: no state within {CONNECT_TIMEOUT_S:g} s; does the hands' service run, and is this its domain?"
                    )
                time.sleep(0.01)

    def enable(self) -> None:
        """Allows commands; sends nothing. Raises DeviceError."""
        with self._lock:
            self._fresh()
            deadline = time.monotonic() + CONNECT_TIMEOUT_S
            while self._link.readers(COMMANDS) < 2:  # one is this driver itself
                if time.monotonic() > deadline:
                    raise ConnectionLostError(f"{self.who}: nobody else reads {COMMANDS.name}; does the hands' service run?")
                time.sleep(0.02)
            self._enabled, self._holding = True, False

    def disable(self) -> None:
        """Holds; the hand keeps its position without further words."""
        with self._lock:
            if self._enabled:
                try:
                    self.hold()
                finally:
                    self._enabled = False

    def disconnect(self) -> None:
        """Leaves; the hand keeps its last target. Any number of times."""
        with self._lock:
            self._connected = self._enabled = False
            self._link.close()

    def recover(self) -> None:
        """Joins again when the link was lost, and enables without motion. Raises DeviceError."""
        with self._lock:
            if self._lost or not self._connected:
                self.connect()
            self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Newest angles. Velocity is their change over 0.1 s; effort is NaN. Raises ConnectionLostError, or DeviceError for angles that cannot be."""
        with self._lock:
            position = self._measured()
            if self._overwritten and self._enabled and self._sent is not None:
                self._send(self._sent)
            return JointState(self.names, position, self._velocity(), np.full(FINGERS, np.nan), self._stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Sends targets (6,) [rad].

        Raises:
            LimitError, NonFiniteError: outside the limits or not finite; nothing is sent.
            DeviceError: not enabled, or the state is too old.
        """
        target = frozen_array(position_rad, (FINGERS,), f"{self.who} command")
        outside = (target < self._lower - 1e-3) | (target > self._upper + 1e-3)
        if outside.any():
            i = int(np.argmax(outside))
            raise LimitError(f"{self.names[i]} commanded to {target[i]:.4f} rad; allowed {self._lower[i]} to {self._upper[i]} rad")
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost or 'call enable first'}", code="not_enabled")
            self._fresh()
            self._send(np.clip(self._offset + (target - self._lower) * self._per_rad, 0.0, 1.0))
            self._holding = False
            return np.clip(target, self._lower, self._upper)

    def hold(self) -> None:
        """Makes the measured angles the target, once: a second call does not follow a finger that is pushed away."""
        with self._lock:
            if self._enabled and not self._holding:
                self._fresh()
                self._send(np.clip(self._q[self._own], 0.0, 1.0))
                self._holding = True

    # -- health ---------------------------------------------------------------------------------------------------------
    def health(self) -> DeviceHealth:
        """Newest health, as of the newest read."""
        values = {"address": self._link.address, "age_s": f"{self._age_ns() / NS:.3f}", "lost": str(self._lost_frames),
                  "velocity": "estimated from angles over 0.1 s"}
        if not self._connected:
            return DeviceHealth(False, "connection_lost", self._lost or f"{self.who} is not connected")
        if self._lost or self._age_ns() > self._max_age_ns:
            return DeviceHealth(False, "connection_lost", self._lost or self._silence(), values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, values=values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _forget(self) -> None:
        self._q: NDArray[np.float64] = np.full(BOTH, np.nan)
        self._heard: NDArray[np.float64] | None = None
        self._sent: NDArray[np.float64] | None = None
        self._echoes: deque[bytes] = deque(maxlen=COMMANDS.depth)
        self._overwritten = False
        self._stamp_ns = self._heard_ns = 0
        self._lost_frames = -1
        self._history: deque[tuple[int, Array]] = deque(maxlen=64)

    def _poll(self) -> int | None:
        """Takes what has come; arrival of the newest good state [ns], None before the first."""
        for sample in self._link.take(STATES):
            try:
                motors = unpack_motors(sample.data, HAND_STATE, BOTH)
            except UnitreeWireError:
                continue
            lost = int(motors["lost"][self._own].max())
            worse, self._lost_frames = self._lost_frames >= 0 and lost > self._lost_frames, lost
            if not worse and np.isfinite(motors["q"]).all():  # else the service repeats an old angle
                self._q = motors["q"].astype(np.float64)
                self._stamp_ns, self._heard_ns = sample.stamp_ns, time.monotonic_ns()
        for sample in self._link.take(COMMANDS):
            if sample.data in self._echoes:
                self._echoes.remove(sample.data)
            else:
                self._overhear(sample.data)
        return self._heard_ns or None

    def _overhear(self, data: bytes) -> None:
        """What another program commands: to the other hand, and perhaps an old target to this one."""
        try:
            q = unpack_motors(data, HAND_CMD, BOTH)["q"].astype(np.float64)
        except UnitreeWireError:
            return
        if np.isfinite(q).all():
            self._heard = q[self._other]
            self._overwritten = self._sent is not None and not np.allclose(q[self._own], self._sent, atol=1e-6)

    def _fresh(self) -> None:
        if not self._connected:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost or 'call connect first'}")
        if self._poll() is None or self._age_ns() > self._max_age_ns:
            self._lost, self._enabled = self._silence(), False
            raise ConnectionLostError(self._lost)

    def _measured(self) -> Array:
        self._fresh()
        q = self._q[self._own]
        wrong = (q < -TOLERATED) | (q > 1.0 + TOLERATED)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise DeviceError(f"{self.names[i]}: the service reports {q[i]:.3f}; allowed 0 to 1", code="implausible")
        position = self._lower + (np.clip(q, 0.0, 1.0) - self._offset) / self._per_rad
        if not self._history or self._history[-1][0] != self._heard_ns:
            self._history.append((self._heard_ns, position))
        return position

    def _send(self, q: NDArray[np.float64]) -> None:
        other = self._heard if self._heard is not None else np.clip(self._q[self._other], 0.0, 1.0)
        self._heard = other
        message = np.zeros(BOTH, HAND_CMD)
        message["q"][self._own], message["q"][self._other] = q, other
        data = pack_motors(message)
        self._echoes.append(data)
        self._link.publish(COMMANDS, data)
        self._sent, self._overwritten = q, False

    def _age_ns(self) -> int:
        return time.monotonic_ns() - self._heard_ns

    def _silence(self) -> str:
        return f"{self.who}: no new angles for {self._age_ns() / NS:.3f} s (the service lost {max(self._lost_frames, 0)} frames of its serial line)"

    def _velocity(self) -> Array:
        newest_ns, newest = self._history[-1]
        while len(self._history) > 2 and newest_ns - self._history[1][0] >= VELOCITY_WINDOW_S * NS:
            self._history.popleft()
        oldest_ns, oldest = self._history[0]
        return (newest - oldest) / ((newest_ns - oldest_ns) / NS) if newest_ns > oldest_ns else np.zeros(FINGERS)
