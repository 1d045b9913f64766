# SPDX-License-Identifier: Apache-2.0
"""Any hand in simulation, over the `simulated` transport, where the wire of the real one has no device simulator yet. Never a real hand."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.simulated_wire import Frame, FrameReader, Kind, Refusal, fault_names, names_checksum, split_address
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array

RECEIVE_BYTES = 4096


class SimulatedDriver:
    """One simulated hand as a JointDevice: position, velocity and effort of every actuated joint.

    Args:
        interface: which hand; model, side, and joints in their order are checked by both ends.
        address: ``HOST:PORT`` of the simulation.
        timeout_s: longest any exchange may take; after that the link counts as lost.
    """

    def __init__(self, interface: Interface, address: str, *, timeout_s: float = 0.5) -> None:
        if not 0.01 <= timeout_s <= 60.0:
            raise ConfigError(f"{interface.name}: timeout_s is {timeout_s}; allowed 0.01 to 60 s")
        self.names = interface.names
        self.who = interface.name
        self._hand = f"{interface.side}_{interface.robot.name}"
        self._host_port = split_address(address, self.who)
        self._address, self._timeout_s = address, timeout_s
        self._joints = names_checksum(interface.names)
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._reader = FrameReader()
        self._sequence = self._error = self._far_dropped = 0
        self._enabled = False
        self._lost = ""

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Opens the link and checks that hand, side and joints are those asked for. Moves nothing.

        Raises:
            ConnectionLostError: nothing answers, or somebody else drives this hand.
            DeviceError: ``wrong_device``, another hand answers.
        """
        with self._lock:
            self._close()
            try:
                self._socket = socket.create_connection(self._host_port, self._timeout_s)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                self._close()
                raise ConnectionLostError(f"{self.who}: no simulated hand answers at {self._address}: {error}") from error
            self._reader, self._lost = FrameReader(), ""
            try:
                self._exchange(Kind.HELLO)
            except DeviceError as error:
                self._lose(str(error))
                raise

    def enable(self) -> None:
        """Readies it for targets; no joint moves. Raises DeviceError while it reports an error."""
        with self._lock:
            self._exchange(Kind.ENABLE)
            self._enabled = True

    def disable(self) -> None:
        """Holds, and refuses targets from now on."""
        with self._lock:
            if self._enabled:
                self._enabled = False
                self._exchange(Kind.DISABLE)

    def disconnect(self) -> None:
        """Closes the link; the simulation holds the joints by itself."""
        with self._lock:
            self._enabled = False
            self._close()

    def recover(self) -> None:
        """Opens a lost link again, holds, clears errors, enables. Moves nothing.

        Raises:
            DeviceError: an error is still there.
        """
        with self._lock:
            if self._socket is None:
                self.connect()
            self._exchange(Kind.HOLD)
            self._exchange(Kind.CLEAR)
            self.enable()

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Asks for the joints now. Raises ConnectionLostError or DeviceError."""
        with self._lock:
            answer = self._exchange(Kind.READ)
            if not len(answer.position_rad) == len(answer.velocity_rad_s) == len(answer.effort_nm) == len(self.names):
                raise DeviceError(f"{self.who}: the answer holds {len(answer.position_rad)} joints; expected {len(self.names)}", code="implausible")
            return JointState(
                self.names, np.array(answer.position_rad), np.array(answer.velocity_rad_s), np.array(answer.effort_nm), answer.stamp_ns,
            )

    def command(self, position_rad: Array) -> Array:
        """Sends targets (n,) [rad] and returns them.

        Raises:
            LimitError, NonFiniteError, ShapeError: outside the limits, not finite or not n; nothing is sent.
            DeviceError: not enabled, or the hand reports an error.
        """
        target = frozen_array(position_rad, (len(self.names),), f"{self.who} command")
        sent = np.clip(target, self._lower, self._upper)
        outside = np.abs(target - sent)
        worst = int(np.argmax(outside))
        if outside[worst] > 1e-5:
            raise LimitError(f"{self.names[worst]} commanded to {target[worst]:.4f} rad; allowed {self._lower[worst]} to {self._upper[worst]} rad")
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost or 'call enable first'}", code="not_enabled")
            self._exchange(Kind.COMMAND, tuple(sent.tolist()))
            return sent

    def hold(self) -> None:
        """Makes the measured position the target, once: a second call does not follow a finger that is pushed away."""
        with self._lock:
            self._exchange(Kind.HOLD)

    # -- health ---------------------------------------------------------------------------------------------------------
    def health(self) -> DeviceHealth:
        """As the newest answer said."""
        values = {
            "address": self._address, "transport": "simulated", "error_word": str(self._error),
            "malformed_received": str(self._reader.dropped), "malformed_sent": str(self._far_dropped),
        }
        if self._socket is None:
            return DeviceHealth(False, "connection_lost", self._lost or f"{self.who} is not connected", values)
        if self._error:
            return DeviceHealth(False, fault_names(self._error)[0], self._error_text(), values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, "", "ok", values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _lose(self, why: str) -> None:
        self._lost, self._enabled = why, False
        self._close()

    def _exchange(self, kind: Kind, position_rad: tuple[float, ...] = ()) -> Frame:
        """One request and its answer. Raises ConnectionLostError after ``timeout_s``, DeviceError when it is refused."""
        if self._socket is None:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost or 'call connect first'}")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        deadline_ns = time.monotonic_ns() + round(self._timeout_s * NS)
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(Frame(kind, self._sequence, self._hand, self._joints, position_rad=position_rad).pack())
            answer = self._receive(self._socket, deadline_ns)
        except OSError as error:
            what = f"did not answer {kind.name} within {self._timeout_s} s ({error or type(error).__name__})"
            why = f"{self.who}: the simulation at {self._address} {what}"
            self._lose(why)
            raise ConnectionLostError(why) from error
        self._error, self._far_dropped = answer.error, answer.dropped
        self._check(kind, answer)
        return answer

    def _receive(self, link: socket.socket, deadline_ns: int) -> Frame:
        """The answer to the newest request; answers to older ones are dropped. Raises OSError, a TimeoutError at the deadline."""
        while True:
            left_ns = deadline_ns - time.monotonic_ns()
            if left_ns <= 0:
                raise TimeoutError(f"no whole answer, {self._reader.dropped} malformed")
            link.settimeout(left_ns / NS)
            data = link.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            for frame in self._reader.feed(data):
                if frame.sequence == self._sequence and frame.kind in (Kind.STATE, Kind.REFUSED):
                    return frame

    def _check(self, kind: Kind, answer: Frame) -> None:
        """Raises what a refusal, or the answer of another hand, means."""
        if answer.who != self._hand or answer.joints != self._joints or answer.code in (Refusal.WRONG_DEVICE, Refusal.WRONG_JOINTS):
            what = f"{answer.who!r} answers" if answer.who != self._hand else "its joints have other names or another order"
            raise DeviceError(f"{self.who} at {self._address}: {what}; expected {self._hand!r}", code="wrong_device")
        if answer.kind is Kind.STATE:
            return
        if answer.code is Refusal.BUSY:
            raise ConnectionLostError(f"{self.who} at {self._address} is driven by somebody else")
        if answer.code is Refusal.DEVICE_ERROR:
            raise DeviceError(f"{self._error_text()}; recover first", code=fault_names(answer.error)[0], device_code=answer.error)
        raise DeviceError(f"{self.who}: the simulation refused {kind.name}: {answer.code.name.lower()}", code=answer.code.name.lower())

    def _error_text(self) -> str:
        return f"{self.who} reports {', '.join(fault_names(self._error))} (error word {self._error})"
