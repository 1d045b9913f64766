# SPDX-License-Identifier: Apache-2.0
"""Inspire RH56 hands over Modbus TCP, Modbus RTU or Inspire's own RS-485 frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array
from dex_hands.inspire_identity import HAND_ID, check_side
from dex_hands.inspire_link import make_link
from dex_hands.inspire_status import HEALTH_BLOCK, HandStatus
from dex_hands.inspire_touch import TouchReader

T = TypeVar("T")

CLEAR_ERROR = 1004
ANGLE_SET, FORCE_SET, SPEED_SET, ANGLE_ACT = 1486, 1498, 1522, 1546
LEAVE_ALONE = -1
FULL_SCALE = 1000
TOLERATED_COUNTS = 50
"""A measured angle may lie this far outside 0..1000 before it is called implausible."""

VELOCITY_WINDOW_S = 0.1
TOUCH_WANTED_S = 1.0
WRITE_SLACK = 0.9
"""A stream of exactly the hand's rate is passed on whole, in spite of its jitter."""

CLEAR_TIMEOUT_S = 0.5


class InspireDriver:
    """One hand as a JointDevice: six joints, hardware order little .. thumb rotation.

    Angles are read at every ``read``; forces, currents, errors and temperatures with it every ``health_period_s``.
    Velocity is estimated from the angles of the last 0.1 s; effort is NaN because the hand measures none.
    The hand has no watchdog: when this host dies it goes on to its last target and stays there.

    Args:
        interface: which hand, with limits and the map rad -> 0..1000.
        address: ``HOST:PORT`` or a serial port.
        timeout_s: longest any exchange with the hand may take; after half of it in silence the link counts as lost.
        speed: SPEED_SET, 1000 = full travel in 0.6 s.
        force_g: FORCE_SET [gram-force]: a closing finger stops there.

    Attributes:
        touch_unit: what ``touch`` counts in.
    """

    touch_unit = "counts"

    def __init__(
        self, interface: Interface, address: str, *, timeout_s: float = 1.0, speed: int = 1000, force_g: int = 1000,
        health_period_s: float = 0.25,
    ) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != 6:
            raise ConfigError(f"{interface.robot.name} has no hardware map of six joints; the Inspire driver needs one")
        self.names = interface.names
        self.who = f"{interface.side}_{interface.robot.kind}"
        self._side = interface.side
        self._link = make_link(interface, address, timeout_s, self.who)
        self._touch_asked_ns = -NS * 10
        self._touch = TouchReader(lambda *block: self._exchange(self._link.read, *block))
        self._feels = self._link.transport == "modbus_tcp"  # the hands with tactile areas are those with Ethernet
        maps = [hardware[j] for j in interface.robot.actuated]
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._offset = np.array([m.at_lower for m in maps])
        self._counts_per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / (self._upper - self._lower)
        self.resolution_rad = 1.0 / np.abs(self._counts_per_rad)
        self._setup = ((SPEED_SET, speed, 1000), (FORCE_SET, force_g, 3000))
        for address_of, value, high in self._setup:
            if not 0 <= value <= high:
                raise ConfigError(f"{self.who}: register {address_of} = {value}; allowed 0 to {high}")
        self._health_period_ns = round(health_period_s * NS)
        self._lock = threading.RLock()
        self._status: HandStatus | None = None
        self._status_ns = 0
        self._history: deque[tuple[int, Array]] = deque(maxlen=64)
        self._sent: np.ndarray | None = None
        self._pending: np.ndarray | None = None
        self._written_ns = 0
        self._write_period_ns = round(WRITE_SLACK * NS / interface.rate_hz)
        self._enabled = self._holding = False
        self._lost = ""

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Opens the link, checks by HAND_ID that it is the hand of this side, reads its state. Moves nothing.

        Raises:
            ConnectionLostError: nothing answers.
            DeviceError: ``wrong_device``, the other hand answers.
        """
        with self._lock:
            self._link.open()
            try:
                check_side(self._exchange(self._link.read, HAND_ID, 1)[0], self._side, self.who, self._link.address)
                self._poll_status()
            except DeviceError:
                self._link.close()
                raise
            self._lost = ""
            self._sent, self._pending, self._holding = None, None, False
            self._history.clear()

    def enable(self) -> None:
        """Sets speed and force; no joint moves. Raises DeviceError while a finger reports an error."""
        with self._lock:
            self._need_link()
            self._refuse_error(self._poll_status(), "enable")
            for address, value, _high in self._setup:
                self._exchange(self._link.write, address, [value] * 6)
            self._enabled, self._sent, self._pending, self._holding = True, None, None, False

    def disable(self) -> None:
        """Holds; the hand keeps its position without further words."""
        with self._lock:
            if self._enabled:
                try:
                    self.hold()
                finally:
                    self._enabled = False

    def disconnect(self) -> None:
        """Closes the link."""
        with self._lock:
            self._enabled = False
            self._link.close()

    def recover(self) -> None:
        """Opens a lost link again, makes the measured angles the target, clears errors, enables. Moves nothing.

        Raises:
            DeviceError: a finger still reports an error, e.g. over-temperature, which only cooling clears.
        """
        with self._lock:
            if not self._link.connected:
                self.connect()
            self._write_measured()
            self._exchange(self._link.write_one, CLEAR_ERROR, 1)
            deadline = time.monotonic() + CLEAR_TIMEOUT_S
            while self._poll_status().errors and time.monotonic() < deadline:
                time.sleep(0.02)
            self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Asks the hand for its angles; sends a target that ``command`` had to keep back. Raises ConnectionLostError or DeviceError."""
        with self._lock:
            if self._pending is not None:
                self._send(self._pending)
            counts, stamp_ns, now_ns = self._read_counts()
            if now_ns - self._status_ns >= self._health_period_ns:
                self._poll_status()
            if self._feels:
                self._feel()
            position = self._lower + (np.clip(counts, 0, FULL_SCALE) - self._offset) / self._counts_per_rad
            self._history.append((now_ns, position))
            return JointState(self.names, position, self._velocity(), np.full(6, np.nan), stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Sends targets (6,) [rad] of the joints that changed by a count; returns the targets as the hand counts them.

        The hand is written to at most once per period of ``interface.rate_hz``: a target that comes sooner is sent by the
        next ``command`` or ``read``, whichever comes first. The first target after a hold is sent whole.

        Raises:
            LimitError, NonFiniteError: outside the limits or not finite; nothing is sent.
            DeviceError: not enabled, or a finger reports an error.
        """
        target = frozen_array(position_rad, (6,), f"{self.who} command")
        outside = (target < self._lower - self.resolution_rad) | (target > self._upper + self.resolution_rad)
        if outside.any():
            i = int(np.argmax(outside))
            raise LimitError(f"{self.names[i]} commanded to {target[i]:.4f} rad; allowed {self._lower[i]} to {self._upper[i]} rad")
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost or 'call enable first'}", code="not_enabled")
            if self._status is not None:
                self._refuse_error(self._status, "command")
            exact = self._offset + (target - self._lower) * self._counts_per_rad
            counts = np.clip(np.rint(exact), 0, FULL_SCALE).astype(int)
            if self._holding:
                self._sent, self._holding = None, False
            if self._sent is None or time.monotonic_ns() - self._written_ns >= self._write_period_ns:
                self._send(counts)
            else:
                self._pending = counts
            return self._lower + (counts - self._offset) / self._counts_per_rad

    def hold(self) -> None:
        """Makes the measured angles the target, once: a second call does not follow a finger that is pushed away."""
        with self._lock:
            if not self._holding:
                self._write_measured()
                self._holding = True

    # -- health ---------------------------------------------------------------------------------------------------------
    def health(self) -> DeviceHealth:
        """Newest health, at most ``health_period_s`` older than the newest read."""
        status, lost, connected = self._status, self._lost, self._link.connected
        values = {
            "address": self._link.address,
            "transport": self._link.transport,
            "velocity": "estimated from angles over 0.1 s",
            "resolution_rad": f"{self.resolution_rad.max():.5f}",
        }
        if not connected:
            return DeviceHealth(False, "connection_lost", lost or f"{self.who} is not connected", values)
        if status is None:
            return DeviceHealth(False, "not_enabled", f"{self.who} has not been read yet", values)
        values.update(status.values())
        if status.errors:
            return DeviceHealth(False, status.code, f"{self.who}: {status.text}", values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, "", "ok", values)

    def touch(self) -> Mapping[str, Array]:
        """Tactile area -> (rows, columns) newest counts, 0 to 4095. Empty without tactile areas, and at first: a block of them is read with every
        ``read``, but only while somebody asks here at least every second.
        """
        self._touch_asked_ns = time.monotonic_ns()
        return self._touch.areas()

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _need_link(self) -> None:
        if not self._link.connected:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost or 'call connect first'}")

    def _exchange(self, call: Callable[..., T], *args: object) -> T:
        self._need_link()
        try:
            return call(*args)
        except ConnectionLostError as error:
            self._lost, self._enabled, self._sent, self._pending, self._holding = str(error), False, None, None, False
            raise

    def _read_counts(self) -> tuple[np.ndarray, int, int]:
        before_ns = time.time_ns()
        counts = np.array(self._exchange(self._link.read, ANGLE_ACT, 6))
        stamp_ns, now_ns = (before_ns + time.time_ns()) // 2, time.monotonic_ns()
        wrong = (counts < -TOLERATED_COUNTS) | (counts > FULL_SCALE + TOLERATED_COUNTS)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise DeviceError(f"{self.names[i]}: the hand reports angle {counts[i]}; allowed 0 to {FULL_SCALE}", code="implausible")
        return counts, stamp_ns, now_ns

    def _feel(self) -> None:
        if time.monotonic_ns() - self._touch_asked_ns > TOUCH_WANTED_S * NS:
            return
        try:
            self._touch.step()
        except ConnectionLostError:
            raise
        except DeviceError:  # it refuses these registers: a hand without tactile areas
            self._feels = False

    def _send(self, counts: np.ndarray) -> None:
        self._pending = None
        changed = np.ones(6, dtype=bool) if self._sent is None else counts != self._sent
        if changed.any():
            self._exchange(self._link.write, ANGLE_SET, np.where(changed, counts, LEAVE_ALONE).tolist())
            self._sent, self._written_ns = counts, time.monotonic_ns()

    def _write_measured(self) -> None:
        self._pending = None
        counts = np.clip(self._read_counts()[0], 0, FULL_SCALE)
        self._exchange(self._link.write, ANGLE_SET, counts.tolist())
        self._sent = counts

    def _poll_status(self) -> HandStatus:
        status = HandStatus.from_words(self._exchange(self._link.read, *HEALTH_BLOCK), self.names)
        self._status, self._status_ns = status, time.monotonic_ns()
        return status

    def _refuse_error(self, status: HandStatus, what: str) -> None:
        if status.errors:
            raise DeviceError(f"{self.who} cannot {what}: {status.text}; recover first", code=status.code, device_code=status.device_code)

    def _velocity(self) -> Array:
        newest_ns, newest = self._history[-1]
        while len(self._history) > 2 and newest_ns - self._history[1][0] >= VELOCITY_WINDOW_S * NS:
            self._history.popleft()
        oldest_ns, oldest = self._history[0]
        return (newest - oldest) / ((newest_ns - oldest_ns) / NS) if newest_ns > oldest_ns else np.zeros(6)
