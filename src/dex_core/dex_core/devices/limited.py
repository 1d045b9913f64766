# SPDX-License-Identifier: Apache-2.0
"""The second wall: a JointDevice that refuses what the gate should never have sent. It clamps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import JointLimit
from dex_core.devices.joint_device import DeviceHealth, JointDevice
from dex_core.errors import DexError, LimitError, NonFiniteError, ShapeError
from dex_core.types import Array, JointState

POSITION_TOLERANCE_RAD = 1e-6
STEP_SLACK_RAD = 0.05
"""The gate measures its step from a state that is a few milliseconds older; at 2 rad/s that is worth this much."""


class Limited:
    """Wraps a device in its limits: shape, finite, position, step from measured. A violation holds and raises.

    Args:
        device: what really moves.
        limits: one per joint, in the device's order.
        max_state_age_s: an older measurement is read anew before a step is judged.
        step_slack_rad: added to every ``step_rad``.
        clock: monotonic.

    Attributes:
        violations: refused commands so far.
    """

    def __init__(
        self, device: JointDevice, limits: Sequence[JointLimit], *, max_state_age_s: float = 0.05,
        step_slack_rad: float = STEP_SLACK_RAD, clock: Clock | None = None,
    ) -> None:
        if len(limits) != len(device.names):
            raise ShapeError(f"{len(limits)} limits for the {len(device.names)} joints {list(device.names)}")
        self.names = device.names
        self.device = device
        self.violations = 0
        self._lower = np.array([limit.lower_rad for limit in limits]) - POSITION_TOLERANCE_RAD
        self._upper = np.array([limit.upper_rad for limit in limits]) + POSITION_TOLERANCE_RAD
        self._step = np.array([limit.step_rad for limit in limits]) + step_slack_rad
        self._max_age_ns = round(max_state_age_s * NS)
        self._clock = clock or SteadyClock()
        self._measured: JointState | None = None
        self._measured_ns = 0
        self._fault: DexError | None = None

    def connect(self) -> None:
        """As the device."""
        self._measured = None
        self.device.connect()

    def enable(self) -> None:
        """As the device."""
        self.device.enable()
        self._fault = None

    def read(self) -> JointState:
        """As the device; the measurement is kept for the step limit."""
        state = self.device.read()
        self._measured, self._measured_ns = state, self._clock.now_ns()
        return state

    def command(self, position_rad: Array) -> Array:
        """Passes a target (n,) [rad] on when it is within every limit.

        Raises:
            ShapeError, NonFiniteError, LimitError: refused; the device holds, and ``health`` says so until a lawful one follows.
            DeviceError: from the device.
        """
        target = np.asarray(position_rad, dtype=np.float64)
        problem = self._problem(target)
        if problem is None:
            sent = self.device.command(target)
            self._fault = None
            return sent
        self.violations += 1
        self._fault = problem
        self.device.hold()
        raise problem

    def hold(self) -> None:
        """As the device."""
        self.device.hold()

    def recover(self) -> None:
        """As the device."""
        self.device.recover()
        self._fault = None

    def health(self) -> DeviceHealth:
        """The device's, unless the wall acted."""
        health = self.device.health()
        health = replace(health, values={**health.values, "limit_violations": str(self.violations)})
        if self._fault is None or not health.ok:
            return health
        return replace(health, ok=False, code=self._fault.code, text=f"command refused at the driver: {self._fault}")

    def disable(self) -> None:
        """As the device."""
        self.device.disable()

    def disconnect(self) -> None:
        """As the device."""
        self._measured = None
        self.device.disconnect()

    def _problem(self, target: Array) -> DexError | None:
        if target.shape != (len(self.names),):
            return ShapeError(f"command has shape {target.shape}, expected ({len(self.names)},)")
        if not np.isfinite(target).all():
            worst = int(np.flatnonzero(~np.isfinite(target))[0])
            return NonFiniteError(f"command of {self.names[worst]} is {target[worst]}; every number must be finite")
        outside = np.maximum(self._lower - target, target - self._upper)
        worst = int(np.argmax(outside))
        if outside[worst] > 0.0:
            return LimitError(
                f"command of {self.names[worst]} is {target[worst]:.4f} rad; allowed {self._lower[worst]:.4f} to {self._upper[worst]:.4f}"
            )
        return self._step_problem(target)

    def _step_problem(self, target: Array) -> DexError | None:
        if self._measured is None or self._clock.now_ns() - self._measured_ns > self._max_age_ns:
            self.read()
        assert self._measured is not None
        distance = np.abs(target - self._measured.position_rad)
        worst = int(np.argmax(distance - self._step))
        if distance[worst] <= self._step[worst]:
            return None
        return LimitError(
            f"command of {self.names[worst]} is {distance[worst]:.3f} rad from measured; at most {self._step[worst]:.3f} rad", code="limit_step"
        )
