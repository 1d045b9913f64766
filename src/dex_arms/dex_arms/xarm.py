# SPDX-License-Identifier: Apache-2.0
"""UFACTORY xArm7 through the vendor's SDK: servo mode (mode 1), joint targets streamed one by one.

What the SDK does that this driver has to work around: see docs/devices_xarm.md.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from dex_arms.xarm_codes import STATE_WORDS, WARNING_WORDS, error_in_words, return_in_words
from dex_arms.xarm_link import CONNECT_TIMEOUT_S, TIMEOUT_S, identify, open_sdk, probe_version, quiet, split_address
from dex_arms.xarm_report import ReportReader
from dex_core.config import Interface
from dex_core.devices.catch_up import CatchUp
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConnectionLostError, DeviceError, DexError, LimitError
from dex_core.types import Array, JointState, frozen_array

READY_TIMEOUT_S = 2.0
REPORT_MAX_AGE_S = 3.0
SERVO_PERIOD_S = 0.004
GAP_S, HASTE = 0.04, 1.15
"""The controller stops with error 24 or 60 when a target is too far from the one before for the time between them (3.14 rad/s, 1.2 m/s), and
counts a pause only in part. The gate keeps to 2.14 rad/s and 1.0 m/s, so what a pause left to do may follow this much faster."""
MODE_SERVO, MODE_POSITION = 1, 0
STATE_RUN, STATE_STOP, STATES_READY = 0, 4, (0, 1, 2)
CODE_ERROR_ACTIVE, CODE_TIMEOUT, CODE_NOT_CONNECTED, CODE_NOT_SENT, CODE_NOT_READY = 1, 3, -1, 8, 9
ERRORS_WITHOUT_ENCODERS = range(1, 18)
"""While one of these is active the SDK itself distrusts the angles that the controller reports."""


class XArmDriver:
    """An xArm7 as a JointDevice.

    Args:
        interface: names, limits and serial number of this arm.
        address: ``ip`` or ``ip:control_port`` (a simulator where port 502 needs root).
    """

    def __init__(self, interface: Interface, address: str) -> None:
        self._host, self._port = split_address(address)
        self.names = interface.names
        self._serial_number = interface.address.serial_number
        self._step_rad = np.array([limit.step_rad for limit in interface.limits])
        self._api: Any = None
        self._report: ReportReader | None = None
        self._enabled = False
        self._streaming = False
        self._error = 0
        self._error_time_ns = 0
        self._sent_ns = 0
        self._catch_up = CatchUp(GAP_S, HASTE)
        self._enabled_ns = 0
        self._lost = ""
        self._identity = ""

    def connect(self) -> None:
        """Opens the link and checks that it is the xArm7 that was asked for. Moves nothing. Raises DeviceError."""
        self.disconnect()
        self._identity = probe_version(self._host, self._port)
        axes, serial = identify(self._identity, self._host)
        if axes != 7:
            raise DeviceError(f"arm at {self._host} has {axes} axes; an xArm7 is expected", code="wrong_device")
        if self._serial_number and serial != self._serial_number:
            raise DeviceError(f"arm at {self._host} has serial number {serial!r}; the cell asks for {self._serial_number!r}", code="wrong_device")
        self._api = open_sdk(self._host, self._port)
        self._lost, self._error = "", 0
        self._report = ReportReader(self._host, 30002)
        try:
            self._report.wait_first(CONNECT_TIMEOUT_S)
            self._error = self._read_error()
        except DexError:
            self.disconnect()
            raise

    def enable(self) -> None:
        """Motors on, servo mode, state ready; holds where it is. Raises DeviceError, also for an active error."""
        api = self._connected()
        self._enabled = self._streaming = False
        if self._read_error():
            raise DeviceError(f"{self._error_words()}; clear its cause, then recover", device_code=self._error)
        for what, call in (
            ("motion_enable", lambda: api.motion_enable(True)), ("set_mode", lambda: api.set_mode(MODE_SERVO)),
            ("set_state", lambda: api.set_state(STATE_RUN)),
        ):
            self._check(call(), what)
        self._wait_ready()
        self._enabled = True

    def read(self) -> JointState:
        """Position, velocity and effort by one request. A failed request is never a zero.

        Raises:
            DeviceError: no answer, or the arm has just stopped following (error, or stopped by somebody else).
        """
        core, was_enabled = self._connected().core, self._enabled
        before_ns = time.time_ns()
        numbers = core.get_joint_states(num=3)
        stamp_ns = (before_ns + time.time_ns()) // 2
        self._note(numbers[0], "get_joint_states")
        if was_enabled:
            self._check_ready(core)
        if self._error in ERRORS_WITHOUT_ENCODERS:
            raise DeviceError(f"joint angles are not trusted: {self._error_words()}", device_code=self._error)
        if len(numbers) != 22:
            raise DeviceError(f"get_joint_states gave {len(numbers) - 1} numbers, expected 21")
        return JointState(self.names, np.array(numbers[1:8]), np.array(numbers[8:15]), np.array(numbers[15:22]), stamp_ns)

    def command(self, position_rad: Array) -> Array:
        """Streams one joint target (7,) [rad] and returns what was sent: after a pause of the stream the way is made good at 1.15 times its pace.

        The first after ``enable`` or ``hold`` must be near the measured joints.

        Raises:
            LimitError: that first target is further than ``step_rad``.
            DeviceError: not enabled, refused, error active, or the link is gone.
        """
        target = frozen_array(position_rad, (7,), "xArm target")
        if self._error:
            raise DeviceError(self._error_words(), device_code=self._error)
        if not self._enabled:
            raise DeviceError(f"arm at {self._host} is not enabled", code="not_enabled")
        if not self._streaming:
            self._check_start(target)
            self._catch_up.start()
        sent = self._catch_up.next(target, time.monotonic_ns())
        self._servo(sent)
        self._streaming = True
        return sent

    def hold(self) -> None:
        """Makes the measured position the target; the next command is a first one again."""
        self._streaming = False
        if not self._enabled or self._error or self._lost:
            return  # a stopped or faulted controller holds by itself
        measured = self.read().position_rad
        left_s = SERVO_PERIOD_S - (time.monotonic_ns() - self._sent_ns) * 1e-9
        if left_s > 0.0:
            time.sleep(left_s)  # a target inside the controller's 4 ms period would be dropped
        self._servo(measured)

    def recover(self) -> None:
        """Clears errors and warnings and enables again, without motion. Raises DeviceError while the cause persists."""
        api = self._connected()
        self._note(api.core.clean_err()[0], "clean_error")
        self._note(api.core.clean_war()[0], "clean_warn")
        self.enable()

    def health(self) -> DeviceHealth:
        """Newest health, from the report and the last replies."""
        if self._api is None or self._lost:
            return DeviceHealth(False, "connection_lost", self._lost or f"not connected to {self._host}")
        values = self._values()
        if self._error:
            return DeviceHealth(False, "device_error", self._error_words(), values)
        report = self._report.newest if self._report else None
        if self._report is None or report is None or self._report.age_s() > REPORT_MAX_AGE_S:
            return DeviceHealth(False, "report_stale", f"no report from {self._host} for {REPORT_MAX_AGE_S:.0f} s", values)
        if self._enabled and report.time_ns > self._enabled_ns + 500_000_000 and (report.mode != MODE_SERVO or not report.ready):
            return DeviceHealth(
                False,
                "not_enabled",
                f"{self._host}: mode {report.mode}, state {STATE_WORDS.get(report.state, report.state)}: somebody else changed it",
                values,
            )
        if not self._enabled:
            return DeviceHealth(False, "not_enabled", "connected, motors not enabled by this driver", values)
        if report.warning:
            return DeviceHealth(True, "", f"warning {report.warning}: {WARNING_WORDS.get(report.warning, 'unknown')}", values)
        return DeviceHealth(True, values=values)

    def currents(self) -> Array | None:
        """(7,) motor currents [A] of the newest report, at most 0.2 s old; None while there is none."""
        report = self._report.newest if self._report else None
        if self._report is None or report is None or self._report.age_s() > REPORT_MAX_AGE_S:
            return None
        return np.array(report.current_a[:7])

    def disable(self) -> None:
        """Hold, then state 4: the controller keeps the pose and refuses motion. Brakes stay for the vendor's own switch-off."""
        try:
            if self._enabled:
                self.hold()
        finally:
            self._enabled = self._streaming = False
            if self._api is not None and not self._lost:
                self._note(self._api.core.set_state(STATE_STOP)[0], "set_state")

    def disconnect(self) -> None:
        """Closes the link; any number of times."""
        self._enabled = self._streaming = False
        if self._report is not None:
            self._report.close()
            self._report = None
        if self._api is not None:
            api, self._api = self._api, None
            with quiet():
                api.disconnect()

    def _connected(self) -> Any:
        if self._api is None or not self._api.connected:
            self._lose(f"link to the xArm at {self._host} is closed")
        return self._api

    def _lose(self, words: str) -> None:
        self._lost, self._enabled, self._streaming = words, False, False
        raise ConnectionLostError(words)

    def _check_start(self, target: Array) -> None:
        distance = np.abs(target - self.read().position_rad)
        worst = int(np.argmax(distance - self._step_rad))
        if distance[worst] > self._step_rad[worst]:
            raise LimitError(
                f"first target of {self.names[worst]} is {distance[worst]:.3f} rad from measured; at most {self._step_rad[worst]} rad",
                code="first_command_far",
            )

    def _servo(self, target: Array) -> None:
        # core.move_servoj: the public call would warn at every target that the mode, which it learns from its own report, is unknown
        core = self._connected().core
        code = core.move_servoj(target.tolist(), 0.0, 0.0, 0.0)[0]
        self._sent_ns = time.monotonic_ns()
        self._note(code, "servo_j")
        self._check_ready(core)

    def _check_ready(self, core: Any) -> None:
        """Judges the state byte of the last reply."""
        if self._error:
            raise DeviceError(self._error_words(), device_code=self._error)
        if not core.state_is_ready:
            self._enabled = self._streaming = False
            raise DeviceError(f"xArm at {self._host} is not ready to move: stopped, or motors off", code="not_enabled", device_code=CODE_NOT_READY)

    def _note(self, code: int, what: str) -> None:
        """Takes a raw return code: learns of errors, raises when the request itself failed."""
        if code in (CODE_TIMEOUT, CODE_NOT_SENT, CODE_NOT_CONNECTED):
            self._lose(f"xArm at {self._host}, {what}: {return_in_words(code)} ({TIMEOUT_S} s)")
        if code == CODE_ERROR_ACTIVE:
            if not self._error or time.monotonic_ns() - self._error_time_ns > 200_000_000:
                self._read_error()
        elif code in (0, 2):
            self._error = 0
        else:
            raise DeviceError(f"xArm at {self._host}, {what}: {return_in_words(code)}", device_code=code)

    def _check(self, code: int, what: str) -> None:
        """For the SDK's public calls, which hide an active error behind 0."""
        self._note(code, what)
        if self._read_error():
            raise DeviceError(f"{what} had no effect: {self._error_words()}", device_code=self._error)

    def _read_error(self) -> int:
        reply = self._connected().core.get_err_code()
        if reply[0] not in (0, 1, 2) or len(reply) < 3:
            self._note(reply[0] or 4, "get_err_warn_code")
        self._error, self._error_time_ns = int(reply[1]), time.monotonic_ns()
        if self._error:
            self._enabled = self._streaming = False
        return self._error

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            code, state = self._connected().get_state()
            self._note(code, "get_state")
            if state in STATES_READY:
                self._enabled_ns = time.monotonic_ns()
                return
            if time.monotonic() > deadline:
                raise DeviceError(f"xArm at {self._host} stays in state {state} ({STATE_WORDS.get(state, '?')}) after enabling", code="not_enabled")
            time.sleep(0.02)

    def _error_words(self) -> str:
        report = self._report.newest if self._report else None
        return error_in_words(self._error, report.servo_codes if report else ())

    def _values(self) -> dict[str, str]:
        values = {"address": self._host, "error_code": str(self._error), "identity": self._identity}
        report = self._report.newest if self._report else None
        if report is not None:
            values |= {
                "mode": str(report.mode), "state": STATE_WORDS.get(report.state, str(report.state)), "warning_code": str(report.warning),
                "temperature_c": str(max(report.temperature_c[:7])), "current_a": f"{np.abs(report.current_a[:7]).sum():.2f}",
            }
            for name, celsius, current in zip(self.names, report.temperature_c, report.current_a, strict=False):
                values |= {f"{name}.temperature_c": str(celsius), f"{name}.current_a": f"{current:.3f}"}
        return values
