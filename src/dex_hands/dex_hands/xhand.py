# SPDX-License-Identifier: Apache-2.0
"""RobotEra XHand1 hands, by their own frames on RS-485 or by the vendor's library."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_core.types import Array, JointState
from dex_hands.vendor_hand import VELOCITY_WINDOW_S, Range, VelocityEstimate
from dex_hands.xhand_sdk import SdkLink
from dex_hands.xhand_serial import SerialLink
from dex_hands.xhand_state import JOINTS, POSITION, POWERLESS, TIP_NAMES, Gains, HandLink, Identity, Order, Reading, describe, reason_of

SERIAL, ETHERCAT = "xhand_serial", "xhand_ethercat"
PYTHON_VARIABLE = "DEX_XHAND_PYTHON"
PERIOD_SLACK = 0.9
"""A stream of exactly the hand's rate is passed on whole, in spite of its jitter."""


class XHandDriver:
    """One hand as a JointDevice: twelve joints, hardware order, positions in rad.

    The hand has no request for its state alone: each is the answer to a command. Until ``enable`` that command is mode 0, in which the motors
    have no power, so nothing can move them; from then on it is the newest target again. The hand has no known watchdog: when this host dies
    it goes on to its last target and stays there.

    Args:
        interface: which hand; ``address.transport`` xhand_serial is its own frames, xhand_ethercat the vendor's library.
        address: serial port, or network interface of an EtherCAT hand.
        timeout_s: longest any exchange may take; after that the link counts as lost.
        gains: how motors follow, joint name without side -> gains; those not named follow with the vendor's own.
        link: another way to the hand than ``interface.address`` says.
    """

    touch_unit = "N"

    def __init__(
        self, interface: Interface, address: str, *, timeout_s: float = 0.5, gains: Mapping[str, Gains] | None = None, link: HandLink | None = None,
    ) -> None:
        if len(interface.names) != JOINTS or interface.robot.hardware is None:
            raise ConfigError(f"{interface.robot.name} has {len(interface.names)} joints; an XHand1 has {JOINTS}, with a hardware map")
        if not 0.05 <= timeout_s <= 60.0:
            raise ConfigError(f"{interface.name}: timeout_s is {timeout_s}; allowed 0.05 to 60 s")
        unknown = sorted(set(gains or {}) - set(interface.robot.actuated))
        if unknown:
            raise ConfigError(f"{interface.name}: gains for {unknown}; the joints are {list(interface.robot.actuated)}")
        self.names, self.who, self._address = interface.names, interface.name, address
        self._side, self._serial_number = interface.side, interface.address.serial_number
        self._gains = tuple((gains or {}).get(joint, Gains()) for joint in interface.robot.actuated)
        self._link = link or make_link(interface, address, timeout_s)
        maps = [interface.robot.hardware[joint] for joint in interface.robot.actuated]
        self._range = Range(interface.names, interface.limits, self.who)
        self._offset = np.array([m.at_lower for m in maps])
        travel = self._range.upper - self._range.lower
        self._slope = np.array([m.at_upper - m.at_lower for m in maps]) / travel  # 1, or -1 where at_lower and at_upper were exchanged
        self._period_ns = round(PERIOD_SLACK * NS / interface.rate_hz)
        self._lock = threading.RLock()
        self._identity = Identity("", "", 0)
        self._reading: Reading | None = None
        self._asked_ns = 0
        self._velocity = VelocityEstimate()
        self._position = np.zeros(JOINTS)
        self._target: Array | None = None
        self._waiting: Array | None = None
        self._enabled = self._holding = False
        self._lost = ""

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Opens the link, checks that it is the hand of this side, reads its state. The motors get no power and nothing moves them.

        Raises:
            ConfigError: the vendor's library is needed and not installed.
            ConnectionLostError: nothing answers.
            DeviceError: ``wrong_device``, another hand answers.
        """
        with self._lock:
            self._enabled = self._holding = False
            self._target = self._waiting = None
            self._velocity.clear()
            self._identity = self._link.open()
            try:
                self._check_identity()
                self._exchange()
            except DeviceError:
                self._link.close()
                raise
            self._lost = ""

    def enable(self) -> None:
        """Gives the motors power where they are. Raises DeviceError while a board reports an error."""
        with self._lock:
            self._refuse_faults(self._exchange(), "enable")
            self._hold_measured()
            self._enabled = self._holding = True

    def disable(self) -> None:
        """Holds; the motors keep their power and the hand what it has in it."""
        with self._lock:
            if self._enabled:
                try:
                    self.hold()
                finally:
                    self._enabled = False

    def disconnect(self) -> None:
        """Closes the link; the hand keeps its last target."""
        with self._lock:
            self._enabled = False
            self._link.close()

    def recover(self) -> None:
        """Opens a lost link again, holds where the joints are, enables. Moves nothing.

        Raises:
            DeviceError: a board still reports an error; the hand knows no command that clears one.
        """
        with self._lock:
            if not self._link.connected:
                self.connect()
            self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """The newest state, within the limits, at most half a period of ``rate_hz`` old. Raises ConnectionLostError or DeviceError."""
        with self._lock:
            reading = self._reading
            if reading is None or self._waiting is not None or not self._link.connected or self._age_ns() > self._period_ns // 2:
                reading = self._exchange()
            return JointState(self.names, self._position, self._velocity.velocity(), np.full(JOINTS, np.nan), reading.stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Takes targets (12,) [rad] and returns them.

        The hand is told at most once per period of ``interface.rate_hz``: a target that comes sooner is sent by the next ``command`` or
        ``read``, whichever comes first. The first target after a hold is sent at once.

        Raises:
            LimitError, NonFiniteError, ShapeError: outside the limits, not finite or not twelve; nothing is sent.
            DeviceError: not enabled, or a board reports an error.
        """
        sent = self._range.target(position_rad)
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost or 'call enable first'}", code="not_enabled")
            if self._reading is not None:
                self._refuse_faults(self._reading, "command")
            self._waiting = sent
            if self._holding or self._age_ns() >= self._period_ns:
                self._exchange()
            self._holding = False
            return sent

    def hold(self) -> None:
        """Makes the measured angles the target, once: a second call does not follow a finger that is pushed away. Motors without power stay so."""
        with self._lock:
            self._waiting = None
            if not self._holding:
                self._exchange()  # the newest target once more, for where the joints are now
                if self._target is not None:
                    self._hold_measured()
                    self._holding = True

    # -- what else it says ------------------------------------------------------------------------------------------------
    def touch(self) -> Mapping[str, Array]:
        """``thumb`` .. ``little`` -> (3,) resultant force, ``thumb_cells`` .. -> (120, 3) [N], newest; empty before the first or without a link."""
        reading = self._reading
        if reading is None or not self._link.connected:
            return {}
        whole = {name: reading.force_n[tip] for tip, name in enumerate(TIP_NAMES)}
        return whole | {f"{name}_cells": reading.cells_n[tip] for tip, name in enumerate(TIP_NAMES)}

    def currents(self) -> Array | None:
        """(12,) motor currents [A], newest; None before the first."""
        reading = self._reading
        return None if reading is None else reading.current_ma / 1e3

    def health(self) -> DeviceHealth:
        """Newest health; never blocks."""
        reading, lost, identity = self._reading, self._lost, self._identity
        values = {
            "address": self._address, "transport": self._link.transport, "serial_number": identity.serial_number, "hand_id": str(identity.hand_id),
            "version": identity.version, "repeated": str(self._link.repeated), "velocity": f"estimated from angles over {VELOCITY_WINDOW_S} s",
        }
        if not self._link.connected:
            return DeviceHealth(False, "connection_lost", lost or f"{self.who} is not connected", values)
        if reading is None:
            return DeviceHealth(False, "not_enabled", f"{self.who} has not been read yet", values)
        values.update(self._measured_values(reading))
        if reading.faults:
            return DeviceHealth(False, reason_of(reading.faults), f"{self.who}: {describe(reading.faults, self.names)}", values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, "", "ok", values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _measured_values(self, reading: Reading) -> dict[str, str]:
        codes = reading.faults + reading.warnings
        values = {
            "age_s": f"{(time.time_ns() - reading.stamp_ns) / NS:.3f}",
            "temperature_c": f"{reading.temperature_c.max():.0f}", "current_a": f"{reading.current_ma.sum() / 1e3:.3f}",
            "error_code": ", ".join(str(code) for _, code in codes) or "0", "errors": describe(codes, self.names) or "none",
        }
        values |= {f"{name}.temperature_c": f"{value:.0f}" for name, value in zip(self.names, reading.temperature_c, strict=True)}
        return values | {f"{name}.current_a": f"{value / 1e3:.3f}" for name, value in zip(self.names, reading.current_ma, strict=True)}

    def _check_identity(self) -> None:
        found, wanted = self._identity, self._serial_number
        where = f"{self.who} at {self._address}"
        if found.side != self._side:
            kind = f"a {found.side} hand" if found.side else "a hand that does not say its side"
            raise DeviceError(f"{where}: {kind} answers, serial number {found.serial_number!r}; swap the addresses", code="wrong_device")
        if wanted and found.serial_number != wanted:
            raise DeviceError(f"{where}: the hand with serial number {found.serial_number!r} answers; expected {wanted!r}", code="wrong_device")

    def _exchange(self) -> Reading:
        """Sends the newest target, or no power before the first, and keeps the state that comes back."""
        if not self._link.connected:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost or 'call connect first'}")
        target = self._target if self._waiting is None else self._waiting
        units = None if target is None else self._offset + (target - self._range.lower) * self._slope
        order = Order((0.0,) * JOINTS, POWERLESS, self._gains) if units is None else Order(tuple(units.tolist()), POSITION, self._gains)
        try:
            reading = self._link.send(order)
        except ConnectionLostError as error:
            self._lost, self._enabled, self._holding, self._target, self._waiting = str(error), False, False, None, None
            raise
        self._target, self._waiting = target, None
        self._position = self._range.measured(self._range.lower + (reading.position_rad - self._offset) / self._slope)
        self._reading, self._asked_ns = reading, time.monotonic_ns()
        self._velocity.add(self._asked_ns, self._position)
        return reading

    def _hold_measured(self) -> None:
        """Makes the newest measured angles the target, and sends them."""
        self._target = self._position
        self._exchange()

    def _refuse_faults(self, reading: Reading, what: str) -> None:
        faults = reading.faults
        if faults:
            raise DeviceError(f"{self.who} cannot {what}: {describe(faults, self.names)}", code=reason_of(faults), device_code=faults[0][1])

    def _age_ns(self) -> int:
        return time.monotonic_ns() - self._asked_ns


class XHandSdkDriver(XHandDriver):
    """The same by the vendor's library also on RS-485 (entry point ``xhand_sdk``)."""

    def __init__(self, interface: Interface, address: str, *, timeout_s: float = 0.5, gains: Mapping[str, Gains] | None = None) -> None:
        super().__init__(interface, address, timeout_s=timeout_s, gains=gains, link=sdk_link(interface, address, timeout_s))


def make_link(interface: Interface, address: str, timeout_s: float) -> HandLink:
    """The way to a hand that its transport names. Raises ConfigError for one that no XHand1 has."""
    transport = interface.address.transport
    if transport == SERIAL:
        return SerialLink(address, interface.address.baud, timeout_s, interface.name)
    if transport == ETHERCAT:
        return sdk_link(interface, address, timeout_s)
    raise ConfigError(f"{interface.name}: transport is {transport!r}; an XHand1 speaks {SERIAL} or {ETHERCAT}")


def sdk_link(interface: Interface, address: str, timeout_s: float) -> SdkLink:
    """The vendor's library, in the interpreter that DEX_XHAND_PYTHON names, ours by default."""
    baud = 0 if interface.address.transport == ETHERCAT else interface.address.baud
    return SdkLink(address, baud, timeout_s, interface.name, python=os.environ.get(PYTHON_VARIABLE, sys.executable))
