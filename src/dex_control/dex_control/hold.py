# SPDX-License-Identifier: Apache-2.0
"""Coming to rest: brake within the limits, then hold the measured position, latched once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dex_core.limits import JointLimits, Motion
from dex_core.types import Array

SETTLE_S = 0.05
"""Joints lag behind their command: the measured position is latched this long after the command came to rest ..."""
SETTLE_BY_S = 0.14
"""... and once they are still, but not later than this after the hold began, unless the command itself still brakes."""
AT_REST_RAD_S = 1e-6
STILL_RAD_S = 0.02
ARRIVED_RAD = 1e-6
GIVE_UP_S = 0.6
"""A hold that did not arrive by then (the step limit follows a joint that is being pushed) counts as done."""


class HoldRequest(NamedTuple):
    """What to ask of the limits: positions (n,) [rad] and velocity of that target (n,) or None."""

    position_rad: Array
    target_velocity_rad_s: Array | None


class Hold:
    """One hold, from its entry on.

    Args:
        now_ns: monotonic time of entry [ns].
        limits: of all joints.
        target_rad: (n,) hold here at once (the cell rests already); None: brake first, then latch the measured position.
    """

    def __init__(self, now_ns: int, limits: JointLimits, target_rad: Array | None = None) -> None:
        self._entered_ns = now_ns
        self._limits = limits
        self._target_rad = target_rad
        self._rested_ns: int | None = None
        self._zero = np.zeros(len(limits.names))

    @property
    def target_rad(self) -> Array | None:
        """(n,) position that is held [rad]; None while braking."""
        return self._target_rad

    def request(self, motion: Motion, measured_rad: Array, velocity_rad_s: Array, now_ns: int) -> HoldRequest:
        """What to command next.

        Args:
            motion: last command.
            measured_rad, velocity_rad_s: (n,) newest measured joints.
            now_ns: monotonic time [ns].
        """
        if self._target_rad is None:
            if not self._may_latch(motion, velocity_rad_s, now_ns):
                return HoldRequest(motion.position_rad, None)
            self._target_rad = self._limits.clip(measured_rad)
        return HoldRequest(self._target_rad, self._zero)

    def _may_latch(self, motion: Motion, velocity_rad_s: Array, now_ns: int) -> bool:
        if np.abs(motion.velocity_rad_s).max() > AT_REST_RAD_S:
            return False
        self._rested_ns = self._rested_ns or now_ns
        if now_ns - self._entered_ns >= SETTLE_BY_S * 1e9:
            return True
        return now_ns - self._rested_ns >= SETTLE_S * 1e9 and bool(np.abs(velocity_rad_s).max() < STILL_RAD_S)

    def done(self, motion: Motion, now_ns: int) -> bool:
        """True once the command rests at the held position."""
        if now_ns - self._entered_ns > GIVE_UP_S * 1e9:
            return True
        if self._target_rad is None or np.abs(motion.velocity_rad_s).max() > AT_REST_RAD_S:
            return False
        return bool(np.abs(motion.position_rad - self._target_rad).max() < ARRIVED_RAD)
