# SPDX-License-Identifier: Apache-2.0
"""LEAP hands: sixteen Dynamixel servos on one serial line, through the vendor's dynamixel-sdk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, DexError
from dex_core.types import Array, JointState
from dex_hands import leap_registers as reg
from dex_hands.leap_bus import Reply
from dex_hands.leap_identity import bus_of, check_identity
from dex_hands.leap_joints import JointMap
from dex_hands.leap_settings import check_taken, set_mode, settings_of
from dex_hands.leap_status import HandStatus, Motion

WATCHDOG_S = 0.3
HEALTH_PERIOD_S = 0.25
REBOOT_S = 2.0


class LeapDriver:
    """One hand as a JointDevice: sixteen joints with their ids as names, current-limited position control in the servos (mode 5).

    Position, velocity and current are read at every ``read``; torque, watchdog, supply and temperature with it every 0.25 s. A hardware error
    is known at the next reply of any kind. Effort is NaN: the servos measure the current that they draw, not their torque.
    The servos stop by themselves where they are once nothing was said on the line for ``watchdog_s``.

    Args:
        interface: which hand, with limits and the map rad -> counts.
        address: path of the serial port, best one below ``/dev/serial/by-id``, which stays the same after a replug.
        timeout_s: longest any exchange may take; after that the link counts as lost.
        current_ma: goal current of every servo; by default what LEAP advises for the model.
        watchdog_s: 0.02 to 2.54 s.
    """

    def __init__(
        self, interface: Interface, address: str, *, timeout_s: float = 0.8, current_ma: int | None = None, watchdog_s: float = WATCHDOG_S,
    ) -> None:
        if not 1 <= round(watchdog_s / reg.WATCHDOG_UNIT_S) <= 127:
            raise ConfigError(f"{interface.name}: watchdog_s is {watchdog_s}; allowed 0.02 to 2.54 s")
        self.names = interface.names
        self.who = f"{interface.side}_{interface.robot.kind}"
        self._interface, self._current_ma, self._watchdog_s = interface, current_ma, watchdog_s
        self._bus = bus_of(interface, address, timeout_s)
        self._ids = tuple(self._bus.joints)
        self._joints = JointMap(interface)
        self.resolution_rad = self._joints.resolution_rad
        self._status: HandStatus | None = None
        self._status_ns = 0
        self._current_a: Array | None = None
        self._model = self._firmware = self._hot_c = 0
        self._enabled = self._holding = self._stopped = False
        self._stops = 0
        self._trouble: DeviceError | None = None

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Opens the line, checks that the hand of this side is on it and nothing else, reads its state. Moves nothing.

        Raises:
            ConnectionLostError: the line cannot be opened, or nothing answers.
            DeviceError: ``wrong_device``, ``servo_silent``, ``servo_setup``.
            ConfigError: the goal current is above the limit of a servo.
        """
        self._enabled, self._status, self._trouble, self._current_a = False, None, None, None
        try:
            with self._guard():
                self._bus.open()
                self._model, self._firmware = check_identity(self._bus, self._interface)
            limits = [reply.data for reply in self._read(reg.LIMITS).values()]
            self._hot_c = min(data[0] for data in limits)
            allowed_ma = min(int.from_bytes(data[-2:], "little") for data in limits)
            if not 0 < self._goal_current_ma <= allowed_ma:
                raise ConfigError(f"{self.who}: goal current is {self._goal_current_ma} mA; allowed 1 to {allowed_ma} mA, the servos' limit")
            self._poll()
        except (DeviceError, ConfigError):
            self._bus.close()
            raise
        self._holding = False

    def enable(self) -> None:
        """Mode, measured positions as goals, gains, currents, then torque; the watchdog runs from then on. No joint moves.

        Raises:
            DeviceError: a servo reports an error, or did not take its settings.
        """
        self._enabled = False
        self._refuse_error(self._poll(), "enable")
        settings = settings_of(self._interface.robot.actuated, self._goal_current_ma)
        with self._guard():
            set_mode(self._bus)
            self._stay()
            for register, values in settings.items():
                self._bus.write(register, values)
            self._write_all(reg.TORQUE_ENABLE, 1)
            check_taken(self._bus, {**settings, reg.TORQUE_ENABLE: dict.fromkeys(self._ids, b"\1")}, self.who)
        self._refuse_error(self._poll(), "enable")
        self._enabled, self._holding, self._stopped, self._trouble = True, True, False, None

    def disable(self) -> None:
        """Holds; the servos keep their torque and stay where they are without further words."""
        if self._enabled:
            try:
                self.hold()
            finally:
                self._enabled = False

    def disconnect(self) -> None:
        """Closes the line."""
        self._enabled = False
        self._bus.close()

    def recover(self) -> None:
        """Opens a lost line again, restarts servos that report an error, and enables anew. A servo that is restarted is limp meanwhile.

        Raises:
            DeviceError: the cause is still there, e.g. ``over_temperature``, which only cooling clears.
        """
        self._enabled = False
        if not self._bus.connected:
            self.connect()
        status = self._poll()
        for identifier, error, temperature_c in zip(self._ids, status.error, status.temperature_c, strict=True):
            if error and temperature_c >= self._hot_c:
                raise DeviceError(
                    f"{self.who}: the servo of {self._bus.joints[identifier]} has {temperature_c} C; it must cool below {self._hot_c} C",
                    code="over_temperature", device_code=error,
                )
            if error:
                self._restart(identifier)
        self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Asks the servos for position and velocity. Raises ConnectionLostError, or DeviceError also for an error that a servo has newly reported."""
        self._look_after_silence()
        if time.monotonic_ns() - self._status_ns >= HEALTH_PERIOD_S * NS:
            self._poll()
        before_ns = time.time_ns()
        motion = Motion.from_replies(self._read(reg.MOTION), self._ids)
        stamp_ns = (before_ns + time.time_ns()) // 2
        self._current_a = motion.current_ma * self._joints.sign / 1e3
        if motion.alert and self._enabled:
            self._poll()
        velocity_rad_s = motion.velocity_rad_s * self._joints.sign
        return JointState(self.names, self._joints.measured(motion.position), velocity_rad_s, np.full(len(self._ids), np.nan), stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Sends targets (16,) [rad], all in one packet; returns them as the servos count them.

        Raises:
            LimitError, NonFiniteError: outside the limits or not finite; nothing is sent.
            DeviceError: not enabled, or a servo has newly reported an error.
            DexError: ``watchdog``, the line was silent for so long that the servos have stopped; they hold, and the next target is a first one.
        """
        counts = self._joints.target(position_rad, self.who)
        if not self._enabled:
            raise DeviceError(f"{self.who} is not enabled: {self._trouble or 'call enable first'}", code="not_enabled")
        self._look_after_silence()
        if self._stopped:
            self._stopped = False
            raise DexError(f"{self.who} has stopped and holds: nothing was said to it for {self._watchdog_s:.2f} s", code="watchdog")
        if self._holding:
            self._arm_watchdog()
            self._holding = False
        self._write_goals(dict(zip(self._ids, counts, strict=True)))
        return self._joints.rad(counts)

    def hold(self) -> None:
        """Makes the measured positions the goals, once: a second call does not follow a finger that is pushed away. Sets a stopped watchdog again."""
        if not self._holding:
            self._stay()
            self._holding = True

    def currents(self) -> Array | None:
        """Newest current that every servo draws, (16,) [A], signed as its torque in the joint; None before the first read."""
        return self._current_a

    # -- health ---------------------------------------------------------------------------------------------------------
    def health(self) -> DeviceHealth:
        """Newest health, at most 0.25 s older than the newest read."""
        status, trouble = self._status, self._trouble
        values = {
            "address": self._bus.path, "model": reg.MODELS.get(self._model, "not known yet"), "firmware": str(self._firmware),
            "read": "fast" if self._bus.fast else "plain", "repeated_reads": str(self._bus.repeated),
            "goal_current_a": f"{self._goal_current_ma / 1e3:.3f}", "watchdog_s": f"{self._watchdog_s:.2f}",
            "watchdog_stops": str(self._stops),
        }
        if not self._bus.connected:
            return DeviceHealth(False, "connection_lost", str(trouble or f"{self.who} is not connected"), values)
        if status is None:
            return DeviceHealth(False, "not_enabled", f"{self.who} has not been read yet", values)
        values["age_s"] = f"{(time.monotonic_ns() - self._status_ns) / NS:.3f}"
        values.update(status.values())
        if status.error_bits:
            return DeviceHealth(False, status.code, f"{self.who}: {status.text}", values)
        if trouble is not None:
            return DeviceHealth(False, trouble.code, str(trouble), values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, "", "ok", values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    @property
    def _goal_current_ma(self) -> int:
        return reg.GOAL_CURRENT_MA.get(self._model, 0) if self._current_ma is None else self._current_ma

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """An error of the device ends the activity and is remembered for ``health``."""
        try:
            yield
        except DeviceError as error:
            self._trouble, self._enabled = error, False
            raise

    def _read(self, register: reg.Register) -> dict[int, Reply]:
        with self._guard():
            return self._bus.read(register)

    def _write_all(self, register: reg.Register, value: int) -> None:
        with self._guard():
            self._bus.write(register, dict.fromkeys(self._ids, value.to_bytes(register.size, "little")))

    def _write_goals(self, counts: Mapping[int, int]) -> None:
        with self._guard():
            self._bus.write(reg.GOAL_POSITION, {identifier: value.to_bytes(4, "little", signed=True) for identifier, value in counts.items()})

    def _stay(self) -> None:
        """Measured positions become the goals, and the watchdog runs anew; a servo that is silent is left alone."""
        try:
            replies = self._read(reg.MOTION)
        except ConnectionLostError:
            raise
        except DeviceError:
            replies = self._bus.read_who_answers(reg.MOTION)
        ids = tuple(replies)
        measured = Motion.from_replies(replies, ids).position.astype(int).tolist()
        self._write_all(reg.BUS_WATCHDOG, 0)
        self._write_goals(dict(zip(ids, measured, strict=True)))
        self._arm_watchdog()

    def _arm_watchdog(self) -> None:
        """Starts it anew. Once it has stopped a servo, that servo refuses every goal until it is told 0."""
        self._write_all(reg.BUS_WATCHDOG, 0)
        self._write_all(reg.BUS_WATCHDOG, round(self._watchdog_s / reg.WATCHDOG_UNIT_S))

    def _look_after_silence(self) -> None:
        """Whoever kept silent for long while targets were streamed has to ask whether the servos still follow."""
        if self._enabled and not self._holding and self._bus.silent_s >= 0.5 * self._watchdog_s:
            self._poll()

    def _poll(self) -> HandStatus:
        """Reads what changes slowly, the errors in full when a servo has one; ends the activity for an error or lost torque. Raises DeviceError."""
        supply, torque, watchdog = self._read(reg.MOTION_AND_SUPPLY), self._read(reg.TORQUE_ENABLE), self._read(reg.BUS_WATCHDOG)
        alert = any(reply.alert for reply in supply.values())
        errors = self._read(reg.HARDWARE_ERROR) if alert else dict.fromkeys(self._ids, Reply(False, b"\0"))
        status = self._status = HandStatus.from_replies(self.names, supply, errors, torque, watchdog)
        self._status_ns = time.monotonic_ns()
        if self._enabled:
            self._refuse_error(status, "follow")
            if status.limp:
                with self._guard():
                    raise DeviceError(f"{self.who}: no torque in {', '.join(status.limp)}: restarted or switched off; recover", code="torque_lost")
            if reg.WATCHDOG_TRIPPED in status.watchdog and not self._holding:
                self.hold()
                self._stopped = True
                self._stops += 1
        return status

    def _refuse_error(self, status: HandStatus, what: str) -> None:
        if status.error_bits:
            with self._guard():
                raise DeviceError(f"{self.who} cannot {what}: {status.text}; recover first", code=status.code, device_code=status.error_bits)

    def _restart(self, identifier: int) -> None:
        """Reboots one servo and waits until it answers."""
        with self._guard():
            self._bus.reboot(identifier)
            deadline_s = time.monotonic() + REBOOT_S
            while not self._bus.answers(identifier):
                if time.monotonic() > deadline_s:
                    raise DeviceError(f"{self.who}: the servo of {self._bus.joints[identifier]} did not come back within {REBOOT_S} s of its restart",
                                      code="servo_silent")
