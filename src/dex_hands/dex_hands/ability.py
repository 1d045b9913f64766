# SPDX-License-Identifier: Apache-2.0
"""PSYONIC Ability Hand over its serial line (UART or RS-485)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np

from dex_core.clock import NS, Priority, set_realtime_priority
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array
from dex_hands import ability_wire as wire
from dex_hands.ability_identity import Identity
from dex_hands.ability_link import AbilityLink
from dex_hands.ability_wire import Mode, Reply, Variant

WATCHDOG_S = 0.3
"""A hand that hears no valid frame for so long leaves the API mode: its own inputs move it again."""
KEEP_ALIVE_S = 0.1
IMPLAUSIBLE_DEG = 20.0
"""A measured angle may lie this far outside the joint's limits before it is called implausible."""
ROTATOR_BIT = 1 << wire.MOTORS.index("thumb_rotator")


class AbilityDriver:
    """One hand as a JointDevice: six joints, hardware order index, middle, ring, little, thumb flexor, thumb rotator.

    Only ``command`` and ``hold`` send targets; ``read`` is a mere question, which keeps the hand in API mode as well. A thread asks when
    nobody else does for 0.1 s, because 0.3 s of silence end the API mode and the hand may then move by itself. If they pass all the same,
    commands are refused until ``recover``: a hand that was on its own is not pulled to wherever the stream has got to.
    Velocity is the rotor's through the gear; effort is NaN, since current through a worm gear says little of a joint's torque.

    Args:
        interface: which hand, with limits and the map rad -> degrees.
        address: path of the serial port.
        timeout_s: longest any exchange may take; while the hand is in API mode at most until 0.3 s after its last answer.
        current_period_s: how often currents are asked for in the place of velocity and touch.
        stuffing: whether the hand's frames are byte-stuffed.

    Attributes:
        touch_unit: what ``touch`` counts in.
    """

    touch_unit = "counts"

    def __init__(
        self, interface: Interface, address: str, *, timeout_s: float = 0.5, current_period_s: float = 0.1, stuffing: bool = True
    ) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != len(wire.MOTORS):
            raise ConfigError(f"{interface.robot.name} has no hardware map of six joints; the Ability driver needs one")
        self.names = interface.names
        self.who = f"{interface.side}_{interface.robot.kind}"
        self._identity = Identity.of(interface, self.who)
        self._bus_id = self._identity.bus_id
        self._link = AbilityLink(address, interface.address.baud, timeout_s, self.who, stuffing=stuffing)
        maps = [hardware[j] for j in interface.robot.actuated]
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._offset = np.array([m.at_lower for m in maps])
        self._deg_per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / (self._upper - self._lower)
        ends = self._offset, self._offset + (self._upper - self._lower) * self._deg_per_rad
        self._least_deg, self._most_deg = np.minimum(*ends), np.maximum(*ends)
        self.resolution_rad = 1.0 / np.abs(self._deg_per_rad) / wire.COUNTS_PER_DEG
        self._current_period_ns = round(current_period_s * NS)
        self._lock = threading.RLock()
        self._ours = self._enabled = self._holding = False  # ours: in API mode, for all that is known here
        self._alive_ns = self._current_ns = 0
        self._velocity, self._current = np.zeros(6), np.full(6, np.nan)
        self._touch = b""
        self._limited = 0
        self._lost = ("", "")
        self._end_keeping: threading.Event | None = None

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Opens the port, checks that it is the hand of this side, reads its state. Moves nothing.

        Raises:
            ConnectionLostError: nothing answers.
            DeviceError: ``wrong_device``, another hand answers.
        """
        with self._lock:
            self._forget()
            self._link.open()
            try:
                self._note(self._identity.check(self._link, self.who))
            except DeviceError:
                self._link.close()
                raise
            self._lost = ("", "")

    def enable(self) -> None:
        """Takes the hand over with its measured angles as the target; no joint moves. Raises DeviceError."""
        with self._lock:
            self._ours = False
            self._hold_at(self._exchange())
            self._lost = ("", "")
            self._ours, self._enabled, self._holding = True, True, False
            self._keep_alive()

    def disable(self) -> None:
        """Holds; the hand stays in API mode, holding, until ``disconnect``."""
        with self._lock:
            if self._enabled:
                try:
                    self.hold()
                finally:
                    self._enabled = False

    def disconnect(self) -> None:
        """Gives the hand back to its own inputs, which 0.3 s of silence would do as well, and closes the port."""
        with self._lock:
            if self._ours and self._link.connected:
                try:
                    self._link.tell(wire.short_body(self._bus_id, wire.EXIT_API))
                except ConnectionLostError:
                    pass  # it hears nothing more either way
            self._forget()
            self._link.close()

    def recover(self) -> None:
        """Opens a lost line again, makes the measured angles the target, enables. Moves nothing. A hot motor clears by cooling alone."""
        with self._lock:
            if not self._link.connected:
                self.connect()
            self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Asks the hand for its state. Raises ConnectionLostError or DeviceError."""
        with self._lock:
            before_ns = time.time_ns()
            reply = self._exchange()
            stamp_ns = (before_ns + time.time_ns()) // 2
            self._check_plausible(reply.position_deg)
            return JointState(self.names, self._to_rad(reply.position_deg), self._velocity.copy(), np.full(6, np.nan), stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Sends targets (6,) [rad]; returns them as the hand counts them. The hand goes there as fast as it can.

        Raises:
            LimitError, NonFiniteError: outside the limits or not finite; nothing is sent.
            DeviceError: not enabled, ``watchdog``, or the line is gone.
        """
        target = frozen_array(position_rad, (6,), f"{self.who} command")
        outside = (target < self._lower - self.resolution_rad) | (target > self._upper + self.resolution_rad)
        if outside.any():
            i = int(np.argmax(outside))
            raise LimitError(f"{self.names[i]} commanded to {target[i]:.4f} rad; allowed {self._lower[i]} to {self._upper[i]} rad")
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost[1] or 'call enable first'}", code=self._lost[0] or "not_enabled")
            counts = wire.to_counts(Mode.POSITION, self._inside(self._offset + (target - self._lower) * self._deg_per_rad))
            self._exchange(counts)
            self._holding = False
            return self._to_rad(counts / wire.COUNTS_PER_DEG)

    def hold(self) -> None:
        """Makes the measured angles the target, once: a second call does not follow a finger that is pushed away."""
        with self._lock:
            if self._ours and not self._holding:
                self._hold_at(self._exchange())
                self._holding = True

    # -- what else it says ----------------------------------------------------------------------------------------------
    def touch(self) -> Mapping[str, Array]:
        """Finger -> (6,) newest counts of its touch sites, 0 to 4095; empty before the first reading. See ``ability_wire.touch_newton``."""
        packed = self._touch
        return dict(zip(wire.TOUCHED, wire.unpack_touch(packed), strict=True)) if packed else {}

    def currents(self) -> Array:
        """(6,) newest motor currents [A]; NaN before the first reading."""
        return self._current.copy()

    def health(self) -> DeviceHealth:
        """Newest health. A finger that a collision stopped is no error: that is how this hand grasps."""
        limited, (code, lost) = self._limited, self._lost
        words = ", ".join(_limit_words(name, bit) for bit, name in enumerate(self.names) if limited >> bit & 1)
        values = {
            "address": self._link.address, "transport": "ability_serial", "bus_id": f"{self._bus_id:#04x}",
            "limited": words or "none", "error_code": f"{limited:#04x}",
            "current_a": f"{np.abs(self._current).sum():.3f}",
            "damaged_frames": str(self._link.damaged), "unanswered_frames": str(self._link.unanswered),
            "resolution_rad": f"{self.resolution_rad.max():.6f}",
        }
        values.update({f"{name}.current_a": f"{current:.3f}" for name, current in zip(self.names, self._current, strict=True)})
        if not self._link.connected:
            return DeviceHealth(False, "connection_lost", lost or f"{self.who} is not connected", values)
        if not self._enabled:
            return DeviceHealth(False, code or "not_enabled", lost or f"{self.who} is connected and not enabled", values)
        if limited & ROTATOR_BIT:
            return DeviceHealth(False, "over_temperature", f"{self.who}: {words}", values)
        return DeviceHealth(True, "", f"ok; {words}" if words else "ok", values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _hold_at(self, reply: Reply) -> None:
        self._exchange(wire.to_counts(Mode.POSITION, self._inside(reply.position_deg)))

    def _exchange(self, counts: Array | None = None) -> Reply:
        """A target, or a mere question; the answer's variant by what is due."""
        self._check_watchdog()
        due = time.monotonic_ns() - self._current_ns >= self._current_period_ns
        variant = Variant.CURRENT_VELOCITY if due else Variant.VELOCITY_TOUCH
        if counts is None:
            return self._ask(wire.short_body(self._bus_id, Mode.READ_ONLY | variant), variant)
        return self._ask(wire.command_body(self._bus_id, Mode.POSITION, variant, counts), variant)

    def _ask(self, body: bytes, variant: Variant) -> Reply:
        if not self._link.connected:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost[1] or 'call connect first'}")
        left_s = None if not self._ours else WATCHDOG_S - (time.monotonic_ns() - self._alive_ns) / NS
        try:
            reply = self._link.ask(body, wire.REPLY_BYTES[variant], lambda found: wire.decode(found, header=body[1]), timeout_s=left_s)
        except ConnectionLostError as error:
            self._forget()
            self._lost = (error.code, str(error))
            raise
        self._note(reply)
        return reply

    def _note(self, reply: Reply) -> None:
        self._alive_ns, self._limited = time.monotonic_ns(), reply.limited
        if reply.rotor_rad_s is not None:
            self._velocity = reply.rotor_rad_s / wire.GEAR
        if reply.current_a is not None:
            self._current, self._current_ns = reply.current_a, self._alive_ns
        if reply.packed_touch is not None:
            self._touch = reply.packed_touch

    def _forget(self) -> None:
        """The hand is not ours any more, and no thread keeps it."""
        self._ours = self._enabled = self._holding = False
        if self._end_keeping is not None:
            self._end_keeping.set()
            self._end_keeping = None

    def _check_watchdog(self) -> None:
        silent_s = (time.monotonic_ns() - self._alive_ns) / NS
        if not self._ours or silent_s < WATCHDOG_S:
            return
        self._forget()
        self._lost = ("watchdog", f"{self.who} heard nothing for {silent_s:.2f} s and after {WATCHDOG_S} s goes its own way; recover first")
        raise DeviceError(self._lost[1], code="watchdog")

    def _keep_alive(self) -> None:
        if self._end_keeping is None:
            self._end_keeping = threading.Event()
            threading.Thread(target=self._keep, args=(self._end_keeping,), name=f"{self.who}-keep-alive", daemon=True).start()

    def _keep(self, end: threading.Event) -> None:
        set_realtime_priority(Priority.CONTROL_PROCESS)
        while not end.wait(KEEP_ALIVE_S / 2):
            with self._lock:
                if end.is_set() or time.monotonic_ns() - self._alive_ns < KEEP_ALIVE_S * NS:
                    continue
                try:
                    self._exchange()
                except DeviceError:
                    return  # health says why; the next call of the owner raises

    def _inside(self, position_deg: Array) -> Array:
        """Degrees within the joints' limits: a joint at its stop may read a little more."""
        return np.minimum(np.maximum(position_deg, self._least_deg), self._most_deg)

    def _to_rad(self, position_deg: Array) -> Array:
        return self._lower + (position_deg - self._offset) / self._deg_per_rad

    def _check_plausible(self, position_deg: Array) -> None:
        off = np.abs(position_deg - self._inside(position_deg))
        if off.max() > IMPLAUSIBLE_DEG:
            i = int(np.argmax(off))
            raise DeviceError(f"{self.names[i]}: the hand reports {position_deg[i]:.1f} deg, {off[i]:.1f} outside its limits", code="implausible")


def _limit_words(name: str, bit: int) -> str:
    return f"{name} is limited by heat" if 1 << bit == ROTATOR_BIT else f"{name} is limited by a collision or heat"
