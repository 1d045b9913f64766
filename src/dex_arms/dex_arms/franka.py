# SPDX-License-Identifier: Apache-2.0
"""Franka arms through the vendor's ``pylibfranka``: joint positions at 1 kHz from a process of its own, led by our targets.

Why this library and not ``franky``, and what it needs: docs/devices_franka.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from dex_arms.franka_codes import MODE_WORDS
from dex_arms.franka_config import FrankaSettings, load_settings
from dex_arms.franka_follow import ArmLimits
from dex_arms.franka_probe import RobotIdentity, probe
from dex_arms.franka_shared import MODES, Act, Report, SharedMemory, Target
from dex_core.config import Interface, JointLimit
from dex_core.devices.joint_device import DeviceHealth
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, DexError, LimitError
from dex_core.types import Array, JointState, frozen_array

START_TIMEOUT_S, ORDER_TIMEOUT_S = 10.0, 4.0
SILENCE_S = 0.15
"""The 1 kHz process writes every millisecond; after this long it is taken for dead, hung, or without a robot."""
JERK_PER_ACCELERATION = 500.0
"""A Franka's jerk limit over its acceleration limit [1/s], on every joint of FR3 and Panda."""
MODEL_NAMES = {"fr3": ("fr3",), "panda": ("panda", "fer")}
REALTIME_FILE = Path("/sys/kernel/realtime")


class FrankaDriver:
    """A Franka Research 3 as a JointDevice.

    Args:
        interface: names, limits and home of this arm.
        address: IPv4 address of its control (the port is always 1337).
    """

    def __init__(self, interface: Interface, address: str) -> None:
        try:
            socket.inet_aton(address)
        except OSError as error:
            raise ConfigError(f"address of a Franka is {address!r}; allowed: an IPv4 address (the port is always 1337)") from error
        if interface.robot.name not in MODEL_NAMES:
            raise ConfigError(f"franka_fci drives {sorted(MODEL_NAMES)}; {interface.name} is a {interface.robot.name}")
        if interface.address.serial_number:
            raise ConfigError(f"{interface.name}: the Franka control interface tells no serial number; leave serial_number out")
        self.names = interface.names
        self._robot, self._joint_limits, self._host = interface.robot.name, interface.limits, address
        self._step_rad = np.array([limit.step_rad for limit in interface.limits])
        self._settings = load_settings()
        self._limits: ArmLimits | None = None
        self._shared: SharedMemory | None = None
        self._orders: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._enabled = self._streaming = False
        self._number = 0
        self._fault = ""

    def connect(self) -> None:
        """Asks the robot who it is, then starts the 1 kHz process. Moves nothing. Raises DeviceError, ConfigError without the library."""
        self.disconnect()
        if importlib.util.find_spec("pylibfranka") is None:
            raise ConfigError("pylibfranka is not installed; it is on PyPI for Python 3.10 to 3.12")
        identity = probe(self._host)
        if not identity.name.startswith(MODEL_NAMES[self._robot]):
            raise DeviceError(f"robot at {self._host} calls itself {identity.name!r}; the cell asks for a {self._robot}", code="wrong_device")
        self._limits = make_limits(identity, self._joint_limits, self._settings)
        self._start_process(self._limits)
        try:
            self._answer(START_TIMEOUT_S)
            self._report()
        except DexError:
            self.disconnect()
            raise

    def enable(self) -> None:
        """Collision thresholds and impedance as configured, then joint position control that holds. Moves nothing. Raises DeviceError."""
        self._order("enable")
        self._enabled, self._streaming, self._fault = True, False, ""

    def read(self) -> JointState:
        """Newest state, at most SILENCE_S old.

        Raises:
            DeviceError: no robot behind it, or the arm has just stopped following (reflex, user stop).
        """
        report = self._report()
        self._check_following(report)
        return JointState(
            self.names, np.array(report.position_rad), np.array(report.velocity_rad_s), np.array(report.effort_nm), report.stamp_ns
        )

    def command(self, position_rad: Array) -> Array:
        """Gives one target (7,) [rad]; the joints come after it within their limits. The first must be near the measured joints.

        Returns:
            the target, kept away from the last millirads of a range, where a Franka allows no speed.

        Raises:
            LimitError: the first target is further than ``step_rad``.
            DeviceError: not enabled, stopped by the robot, or the link is gone.
        """
        target = frozen_array(position_rad, (7,), "Franka target")
        report = self._report()
        self._check_following(report)
        if not self._enabled or self._limits is None or self._shared is None:
            raise DeviceError(f"Franka at {self._host} is not enabled" + (f": {self._fault}" if self._fault else ""), code="not_enabled")
        if not self._streaming:
            self._check_start(target, report)
        self._number += 1
        self._shared.write_target(Target(self._number, Act.FOLLOW, target))
        self._streaming = True
        return self._limits.reachable(target)

    def hold(self) -> None:
        """Brakes within the limits and stays; the next command is a first one again."""
        self._streaming = False
        if self._enabled and self._shared is not None:
            self._number += 1
            self._shared.write_target(Target(self._number, Act.HOLD, np.zeros(7)))

    def recover(self) -> None:
        """The robot's automatic error recovery, then as enable. Raises DeviceError while the cause persists."""
        self._order("recover")
        self._enabled, self._streaming, self._fault = True, False, ""

    def health(self) -> DeviceHealth:
        """Newest health, from shared memory."""
        report = self._shared.report() if self._shared is not None else None
        if report is None or self._process is None:
            return DeviceHealth(False, "connection_lost", f"not connected to {self._host}")
        age_s = (time.monotonic_ns() - report.alive_ns) * 1e-9
        values = self._values(report, age_s)
        if report.lost or age_s > SILENCE_S or self._process.poll() is not None:
            return DeviceHealth(False, "connection_lost", self._lost_words(report, age_s), values)
        if not report.controlled:
            if report.fault or report.mode != "Idle":
                return DeviceHealth(False, "device_error", report.fault or MODE_WORDS[report.mode], values)
            return DeviceHealth(False, "not_enabled", "connected, not enabled by this driver", values)
        if not _has_realtime_kernel():
            return DeviceHealth(True, "", "ok, but this kernel has no PREEMPT_RT: under load commands come late; 20 in a row are a reflex", values)
        return DeviceHealth(True, values=values)

    def disable(self) -> None:
        """Brakes and ends the motion; the robot holds the pose with its motors on, brakes are for Desk. Raises DeviceError."""
        was_enabled, self._enabled, self._streaming = self._enabled, False, False
        if was_enabled:
            self._order("disable")

    def disconnect(self) -> None:
        """Closes the link and ends the process; any number of times."""
        self._enabled = self._streaming = False
        orders, self._orders = self._orders, None
        if orders is not None:
            orders.close()  # the process brakes, ends the motion and leaves
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(timeout=2.5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()

    # --- the 1 kHz process ---------------------------------------------------------------------------------------------

    def _start_process(self, limits: ArmLimits) -> None:
        self._shared = SharedMemory()
        self._number = 0
        self._orders, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(limits).items()}
        self._process = subprocess.Popen(  # noqa: S603
            [
                sys.executable, "-m", "dex_arms.franka_worker", "--host", self._host, "--memory", str(self._shared.fd),
                "--orders", str(child.fileno()), "--limits", json.dumps(numbers),
            ],
            pass_fds=(self._shared.fd, child.fileno()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        child.close()

    def _order(self, what: str) -> None:
        """Asks and waits. Raises DeviceError with the refusal; its device_code is the robot's mode."""
        report = self._report()
        assert self._orders is not None
        try:
            self._orders.send(json.dumps({"do": what}).encode())
            self._answer(ORDER_TIMEOUT_S)
        except BrokenPipeError as error:
            raise ConnectionLostError(self._lost_words(report, 0.0)) from error
        except ConnectionLostError:
            raise
        except DeviceError as error:
            raise DeviceError(f"Franka at {self._host}, {what}: {error}", device_code=MODES.index(self._report().mode)) from error

    def _answer(self, timeout_s: float) -> None:
        assert self._orders is not None
        self._orders.settimeout(timeout_s)
        try:
            data = self._orders.recv(4096)
        except TimeoutError:
            raise ConnectionLostError(f"Franka at {self._host}: its 1 kHz process does not answer for {timeout_s} s") from None
        except OSError as error:
            raise ConnectionLostError(f"Franka at {self._host}: {error}") from error
        if not data:
            report = self._shared.report() if self._shared is not None else None
            raise ConnectionLostError(self._lost_words(report, 0.0))
        answer = json.loads(data)
        if "error" in answer:
            raise DeviceError(answer["error"])

    def _report(self) -> Report:
        """Newest report. Raises ConnectionLostError when there is none that is fresh."""
        if self._shared is None or self._process is None:
            raise ConnectionLostError(f"not connected to the Franka at {self._host}")
        report = self._shared.report()
        age_s = (time.monotonic_ns() - report.alive_ns) * 1e-9 if report is not None else float("inf")
        if report is None or report.lost or age_s > SILENCE_S or self._process.poll() is not None:
            self._enabled = self._streaming = False
            raise ConnectionLostError(self._lost_words(report, age_s))
        if not np.isfinite((report.position_rad, report.velocity_rad_s, report.desired_rad)).all():
            raise DeviceError(f"Franka at {self._host} reports joints that are not finite: {list(report.position_rad)}", code="non_finite")
        return report

    def _lost_words(self, report: Report | None, age_s: float) -> str:
        ended = self._process.poll() if self._process is not None else None
        if report is not None and report.lost:
            return report.fault
        if ended is not None:
            return f"Franka at {self._host}: its 1 kHz process has ended ({ended})"
        return f"Franka at {self._host}: no state for {age_s * 1e3:.0f} ms; at most {SILENCE_S * 1e3:.0f} ms is allowed"

    def _check_following(self, report: Report) -> None:
        if self._enabled and not report.controlled:
            self._enabled = self._streaming = False
            self._fault = report.fault or MODE_WORDS[report.mode]
            raise DeviceError(f"Franka at {self._host} stopped: {self._fault}", device_code=MODES.index(report.mode))

    def _check_start(self, target: Array, report: Report) -> None:
        distance = np.abs(target - report.position_rad)
        worst = int(np.argmax(distance - self._step_rad))
        if distance[worst] > self._step_rad[worst]:
            raise LimitError(
                f"first target of {self.names[worst]} is {distance[worst]:.3f} rad from measured; at most {self._step_rad[worst]} rad",
                code="first_command_far",
            )

    def _values(self, report: Report, age_s: float) -> dict[str, str]:
        return {
            "address": self._host, "mode": report.mode, "error_code": str(MODES.index(report.mode)), "age_s": f"{age_s:.3f}",
            "success_rate": f"{report.success:.2f}", "missed_periods": str(report.missed),
            "realtime_kernel": "yes" if _has_realtime_kernel() else "no",
            "external_torque_nm": " ".join(f"{torque:.2f}" for torque in report.external_nm),
        }


def make_limits(identity: RobotIdentity, joints: tuple[JointLimit, ...], settings: FrankaSettings) -> ArmLimits:
    """What the joints are led within: the narrower of the robot's own limits and the configured ones."""
    acceleration = np.array([joint.acceleration_rad_s2 for joint in joints])
    return ArmLimits(
        lower=np.maximum(identity.lower, [joint.lower_rad for joint in joints]),
        upper=np.minimum(identity.upper, [joint.upper_rad for joint in joints]),
        velocity=np.minimum(identity.velocity, [joint.velocity_rad_s for joint in joints]),
        acceleration=settings.acceleration_part * acceleration,
        jerk=settings.jerk_part * JERK_PER_ACCELERATION * acceleration,
        offset=identity.offset, deceleration=identity.deceleration, margin=settings.velocity_margin_rad_s,
    )


def _has_realtime_kernel() -> bool:
    try:
        return REALTIME_FILE.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
