# SPDX-License-Identifier: Apache-2.0
"""Paxini DexH13 hands by the vendor's `pxdex`, or by what takes its place in simulation; both in a process of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_core.types import Array, JointState, frozen_array
from dex_hands.dexh13_faults import Fault
from dex_hands.vendor_hand import VELOCITY_WINDOW_S, Range, VelocityEstimate
from dex_hands.vendor_worker import VendorWorker

MODULE, SIMULATED_MODULE = "pxdex.dh13", "dex_hands.dexh13_simulated"
PYTHON_VARIABLE = "DEX_PXDEX_PYTHON"
INSTALL = (
    "install Paxini's wheel with `python3.10 -m pip install pxdex-1.1.0-cp310-cp310-linux_x86_64.whl` (it comes with the hand, for Python 3.10 only, "
    f"not from PyPI) and give that interpreter in {PYTHON_VARIABLE}"
)
FINGERS = ("index", "middle", "ring", "thumb")
"""Order of the SDK's radian list, four joints each."""
PADS = tuple(f"{finger}_{part}" for finger in FINGERS for part in (("proximal", "middle", "distal") if finger != "thumb" else ("proximal", "distal")))
NEWTON_PER_COUNT = 0.1
SLOTS = 16
OPEN_S, ENABLE_S, HOME_S, CLOSE_S = 10.0, 2.0, 30.0, 2.0
STATUS_PERIOD_S = 0.25
PERIOD_SLACK = 0.9
"""A stream of exactly the hand's rate is passed on whole, in spite of its jitter."""


class DexH13Driver:
    """One hand as a JointDevice: thirteen joints (sixteen of the first generation), positions in rad.

    The hand has no known watchdog: when this host dies it goes on to its last target and stays there.

    Args:
        interface: which hand; its joints are called ``<finger>_joint_<0..3>``.
        address: serial port, or HOST:PORT of a simulated hand; the latter takes ``SIMULATED_MODULE`` for the SDK.
        timeout_s: longest a call of the SDK may take while the hand runs; after that the link counts as lost.
        module: SDK to take instead.
        python: interpreter the SDK is installed for; by default what DEX_PXDEX_PYTHON names, or ours.
    """

    touch_unit = "N"

    def __init__(self, interface: Interface, address: str, *, timeout_s: float = 0.5, module: str = "", python: str = "") -> None:
        if not 0.05 <= timeout_s <= 60.0:
            raise ConfigError(f"{interface.name}: timeout_s is {timeout_s}; allowed 0.05 to 60 s")
        simulated = not address.startswith("/")
        self.names, self.who, self._address, self._side = interface.names, interface.name, address, interface.side
        self._module = module or (SIMULATED_MODULE if simulated else MODULE)
        python = python or (sys.executable if simulated else os.environ.get(PYTHON_VARIABLE, sys.executable))
        self.worker = VendorWorker(Path(__file__).with_name("dexh13_worker.py"), self.who, INSTALL, python=python)
        self._timeout_s = timeout_s
        self._slots = np.array([slot_of(joint) for joint in interface.robot.actuated])
        self._range = Range(interface.names, interface.limits, self.who)
        self._offset, self._slope = _map_to_radians(interface)
        self._period_ns = round(PERIOD_SLACK * NS / interface.rate_hz)
        self._lock = threading.RLock()
        self._velocity = VelocityEstimate()
        self._position = np.zeros(len(self.names))
        self._waiting: Array | None = None
        self._sent_ns = self._status_ns = self._stamp_ns = 0
        self._faults: tuple[Fault, ...] | None = None
        self._touch: dict[str, Array] = {}
        self._versions = ""
        self._enabled = self._holding = False
        self._lost = ""

    # -- life -----------------------------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Starts the SDK's process, opens the hand, checks its side, reads its state. Moves nothing.

        Raises:
            ConfigError: the SDK is not installed.
            ConnectionLostError: nothing answers.
            DeviceError: ``wrong_device``, the other hand answers.
        """
        with self._lock:
            self._enabled, self._holding, self._waiting, self._faults = False, False, None, None
            self._velocity.clear()
            self.worker.start()
            try:
                self._open()
                self._poll_status()
                self._measure()
            except (ConfigError, DeviceError):
                self._close()
                raise
            self._lost = ""

    def enable(self) -> None:
        """Motors on where they are. Raises DeviceError while one reports an error, or after power-on before ``calibrate``."""
        with self._lock:
            self._refuse_faults(self._poll_status(), "enable")
            self._call("enable", timeout_s=ENABLE_S)
            self._enabled = self._holding = True

    def disable(self) -> None:
        """Holds; motors stay on, and the hand keeps what it has in it."""
        with self._lock:
            if self._enabled:
                try:
                    self.hold()
                finally:
                    self._enabled = False

    def disconnect(self) -> None:
        """Lets the hand go and ends the SDK's process."""
        with self._lock:
            self._enabled = False
            self._close()

    def recover(self) -> None:
        """Opens a lost link again, clears errors, enables where the joints are. Moves nothing.

        Raises:
            DeviceError: a motor still reports an error.
        """
        with self._lock:
            if not self.worker.running:
                self.connect()
            if self._poll_status():
                self._call("clear")
            self.enable()

    def calibrate(self) -> None:
        """Homes the motors, which MOVES every joint to its open end; needed once after power-on. Not enabled afterwards. Raises DeviceError."""
        with self._lock:
            self._enabled = self._holding = False
            self._call("home", timeout_s=HOME_S)

    def zero_touch(self) -> None:
        """Takes what the pads feel now for nothing. Raises DeviceError."""
        with self._lock:
            self._call("zero_touch", timeout_s=ENABLE_S)

    # -- motion ---------------------------------------------------------------------------------------------------------
    def read(self) -> JointState:
        """Asks the SDK for the joints; sends a target that ``command`` had to keep back. Raises ConnectionLostError or DeviceError."""
        with self._lock:
            if self._waiting is not None:
                self._send(self._waiting)
            self._measure()
            if time.monotonic_ns() - self._status_ns >= STATUS_PERIOD_S * NS:
                self._poll_status()
            return JointState(self.names, self._position, self._velocity.velocity(), np.full(len(self.names), np.nan), self._stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Takes targets (n,) [rad] and returns them.

        The SDK is told at most once per period of ``interface.rate_hz``: a target that comes sooner is sent by the next ``command`` or
        ``read``, whichever comes first. The first target after a hold is sent at once.

        Raises:
            LimitError, NonFiniteError, ShapeError: outside the limits, not finite or not n; nothing is sent.
            DeviceError: not enabled, or a motor reports an error.
        """
        target = self._range.target(position_rad)
        with self._lock:
            if not self._enabled:
                raise DeviceError(f"{self.who} is not enabled: {self._lost or 'call enable first'}", code="not_enabled")
            self._refuse_faults(self._faults or (), "command")
            if self._holding or time.monotonic_ns() - self._sent_ns >= self._period_ns:
                self._send(target)
            else:
                self._waiting = target
            self._holding = False
            return target

    def hold(self) -> None:
        """Makes the measured angles the target, once: a second call does not follow a finger that is pushed away. Nothing before ``enable``."""
        with self._lock:
            self._waiting = None
            self._measure()
            if self._enabled and not self._holding:
                self._send(self._position)
                self._holding = True

    # -- what else it says ------------------------------------------------------------------------------------------------
    def touch(self) -> Mapping[str, Array]:
        """``index_proximal`` .. ``thumb_distal`` -> (3,) force [N], newest; empty before the first and after a lost link."""
        return dict(self._touch) if self.worker.running else {}

    def health(self) -> DeviceHealth:
        """Newest health, at most ``STATUS_PERIOD_S`` older than the newest read; never blocks."""
        faults, lost = self._faults, self._lost
        values = {
            "address": self._address, "transport": self._module, "version": self._versions,
            "velocity": f"estimated from angles over {VELOCITY_WINDOW_S} s",
        }
        if not self.worker.running:
            return DeviceHealth(False, "connection_lost", lost or f"{self.who} is not connected", values)
        if faults is None:
            return DeviceHealth(False, "not_enabled", f"{self.who} has not been read yet", values)
        values["age_s"] = f"{(time.time_ns() - self._stamp_ns) / NS:.3f}"
        values["error_code"] = ", ".join(fault.error for fault in faults) or "0"
        if faults:
            return DeviceHealth(False, faults[0].reason, f"{self.who}: {'; '.join(fault.words for fault in faults)}", values)
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", f"{self.who} is connected and not enabled", values)
        return DeviceHealth(True, "", "ok", values)

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _open(self) -> None:
        try:
            found = self.worker.call("open", self._module, self._address, timeout_s=OPEN_S)
        except ConnectionLostError:
            raise
        except DeviceError as error:
            raise ConnectionLostError(f"{self.who}: no hand at {self._address}: {error}") from error
        self._versions = f"SDK {found['sdk']}, firmware {found['firmware']}"
        side = "left" if found["left"] else "right"
        if side != self._side:
            raise DeviceError(f"{self.who} at {self._address}: a {side} hand answers; swap the addresses", code="wrong_device")

    def _close(self) -> None:
        if self.worker.running:
            try:
                self.worker.call("close", timeout_s=CLOSE_S)
            except DeviceError:
                pass  # it goes with its process
        self.worker.stop()

    def _call(self, name: str, *args: Any, timeout_s: float | None = None) -> Any:
        if not self.worker.running:
            raise ConnectionLostError(f"{self.who} is not connected: {self._lost or 'call connect first'}")
        try:
            return self.worker.call(name, *args, timeout_s=timeout_s or self._timeout_s)
        except ConnectionLostError as error:
            self._lost, self._enabled, self._holding, self._waiting = str(error), False, False, None
            raise

    def _measure(self) -> None:
        before_ns = time.time_ns()
        told = frozen_array(self._call("read")["position"], (SLOTS,), f"{self.who} positions", finite=False)
        self._stamp_ns = (before_ns + time.time_ns()) // 2
        self._position = self._range.measured(self._range.lower + (told[self._slots] - self._offset) / self._slope)
        self._velocity.add(time.monotonic_ns(), self._position)

    def _send(self, target_rad: Array) -> None:
        radians = np.zeros(SLOTS)  # joints without a motor: zero, as in the vendor's samples
        radians[self._slots] = self._offset + (target_rad - self._range.lower) * self._slope
        self._call("command", radians.tolist())
        self._waiting, self._sent_ns = None, time.monotonic_ns()

    def _poll_status(self) -> tuple[Fault, ...]:
        told = self._call("status")
        self._faults = tuple(Fault(*fault) for fault in told["faults"])
        self._touch = {name: np.array(force, dtype=np.float64) * NEWTON_PER_COUNT for name, force in zip(PADS, told["touch"], strict=True)}
        self._status_ns = time.monotonic_ns()
        return self._faults

    def _refuse_faults(self, faults: tuple[Fault, ...], what: str) -> None:
        if faults:
            words = "; ".join(fault.words for fault in faults)
            raise DeviceError(f"{self.who} cannot {what}: {words}; recover first", code=faults[0].reason, device_code=faults[0].motor)


def slot_of(joint: str) -> int:
    """Place of a joint without its side, e.g. ``thumb_joint_2``, in the SDK's list. Raises ConfigError."""
    finger, _, number = joint.partition("_joint_")
    if finger not in FINGERS or number not in ("0", "1", "2", "3"):
        raise ConfigError(f"joint {joint!r} is none of a DexH13; its joints are <finger>_joint_<0..3>, fingers {list(FINGERS)}")
    return 4 * FINGERS.index(finger) + int(number)


def _map_to_radians(interface: Interface) -> tuple[Array, Array]:
    """``at_lower`` and slope of the hardware map per joint, in rad. Raises ConfigError for a unit that is neither deg nor rad."""
    robot, lower = interface.robot, np.array([limit.lower_rad for limit in interface.limits])
    if robot.hardware is None:
        return lower, np.ones(len(lower))
    units: dict[str, Callable[[float], float]] = {"deg": lambda value: float(np.radians(value)), "rad": float}
    if robot.hardware_unit not in units:
        raise ConfigError(f"{robot.name}: hardware_unit is {robot.hardware_unit!r}; a DexH13 counts in {' or '.join(units)}")
    convert = units[robot.hardware_unit]
    at = np.array([(convert(robot.hardware[j].at_lower), convert(robot.hardware[j].at_upper)) for j in robot.actuated])
    return at[:, 0], (at[:, 1] - at[:, 0]) / (np.array([limit.upper_rad for limit in interface.limits]) - lower)
