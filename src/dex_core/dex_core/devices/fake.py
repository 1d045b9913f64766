# SPDX-License-Identifier: Apache-2.0
"""A shipped JointDevice without hardware, wire or thread: for tests, and for trying a node on a desk."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConnectionLostError, DeviceError, LimitError
from dex_core.types import Array, JointState, frozen_array


class FakeJointDevice:
    """Joints that move to their target at a bounded speed. Every misuse of the contract raises as hardware would.

    Args:
        names: joints.
        position_rad: (n,) where they are at first [rad].
        speed_rad_s: how fast they follow.
        first_command_max_rad: furthest a first target may be from measured.
        clock: monotonic.

    Attributes:
        commands: every target that was followed, (n,) each.
        calls: names of the calls so far.
        fault_code: set it to raise an error that ``recover`` clears unless ``fault_persists``.
        cable_cut: set it to lose the link; ``connect`` works again when it is False.
    """

    def __init__(
        self, names: Sequence[str], position_rad: Sequence[float] | Array, *, speed_rad_s: float = 3.0,
        first_command_max_rad: float = 0.25, clock: Clock | None = None,
    ) -> None:
        self.names = tuple(names)
        self.commands: list[Array] = []
        self.calls: list[str] = []
        self.fault_code = 0
        self.fault_persists = False
        self.cable_cut = False
        self._position = np.array(frozen_array(position_rad, (len(self.names),), "fake position"))
        self._target = self._position.copy()
        self._velocity = np.zeros(len(self.names))
        self._speed_rad_s, self._first_max = speed_rad_s, first_command_max_rad
        self._clock = clock or SteadyClock()
        self._time_ns = self._clock.now_ns()
        self._connected = self._enabled = self._streaming = False

    @classmethod
    def from_interface(cls, interface: Interface, address: str = "") -> FakeJointDevice:
        """As a node constructs a driver; starts in the rest posture."""
        return cls(interface.names, interface.home)

    def connect(self) -> None:
        """Raises ConnectionLostError while the cable is cut."""
        self._note("connect")
        if self.cable_cut:
            raise ConnectionLostError("fake device: cable is cut")
        self._connected = True
        self._enabled = self._streaming = False

    def enable(self) -> None:
        """Raises DeviceError while an error is active."""
        self._note("enable")
        self._check_link()
        self._check_fault()
        self._target = self._position.copy()
        self._enabled, self._streaming = True, False

    def read(self) -> JointState:
        """Where the joints are now."""
        self._check_link()
        self._advance()
        n = len(self.names)
        return JointState(self.names, self._position.copy(), self._velocity.copy(), np.full(n, np.nan), time.time_ns())

    def command(self, position_rad: Array) -> Array:
        """Follows a target."""
        target = frozen_array(position_rad, (len(self.names),), "fake target")
        self._check_link()
        self._check_fault()
        if not self._enabled:
            raise DeviceError("fake device is not enabled", code="not_enabled")
        self._advance()
        if not self._streaming and np.abs(target - self._position).max() > self._first_max:
            raise LimitError("first target is too far from measured", code="first_command_far")
        self._streaming = True
        self._target = np.array(target)
        self.commands.append(target)
        return target

    def hold(self) -> None:
        """Stays."""
        self._note("hold")
        self._advance()
        self._target = self._position.copy()
        self._streaming = False

    def recover(self) -> None:
        """Clears the error unless it persists."""
        self._note("recover")
        self._check_link()
        if not self.fault_persists:
            self.fault_code = 0
        self.enable()

    def health(self) -> DeviceHealth:
        """As set by the attributes."""
        if self.cable_cut or not self._connected:
            return DeviceHealth(False, "connection_lost", "fake device: no link")
        if self.fault_code:
            return DeviceHealth(False, "device_error", f"fake error {self.fault_code}", {"error_code": str(self.fault_code)})
        return DeviceHealth(True) if self._enabled else DeviceHealth(False, "not_enabled", "not enabled")

    def disable(self) -> None:
        """Holds and refuses commands."""
        self._note("disable")
        self._advance()
        self._target = self._position.copy()
        self._enabled = self._streaming = False

    def disconnect(self) -> None:
        """Ends the link."""
        self._note("disconnect")
        self._connected = self._enabled = self._streaming = False

    def _note(self, call: str) -> None:
        self.calls.append(call)

    def _check_link(self) -> None:
        if self.cable_cut:
            self._connected = self._enabled = False
        if not self._connected:
            raise ConnectionLostError("fake device: no link")

    def _check_fault(self) -> None:
        if self.fault_code:
            self._enabled = False
            raise DeviceError(f"fake error {self.fault_code}", device_code=self.fault_code)

    def _advance(self) -> None:
        now_ns = self._clock.now_ns()
        dt_s = (now_ns - self._time_ns) / NS
        self._time_ns = now_ns
        if dt_s <= 0.0:
            return
        step = np.clip(self._target - self._position, -self._speed_rad_s * dt_s, self._speed_rad_s * dt_s)
        self._position = self._position + step
        self._velocity = step / dt_s
