# SPDX-License-Identifier: Apache-2.0
"""Joints of a LEAP hand in radians and in counts of its servos, and what is too far either way."""

from __future__ import annotations

import numpy as np

from dex_core.config import Interface
from dex_core.errors import ConfigError, DeviceError, LimitError
from dex_core.types import Array, frozen_array

TOLERATED_RAD = 0.5
"""A measured joint may lie this far beyond its limits before it is called implausible."""


class JointMap:
    """n joints of one hand, hardware order.

    Attributes:
        names: with the side's prefix.
        resolution_rad: (n,) one count.
        sign: (n,) +1 where counts grow with the angle, else -1.
    """

    def __init__(self, interface: Interface) -> None:
        hardware = interface.robot.hardware
        if hardware is None:
            raise ConfigError(f"{interface.robot.name} has no hardware map; the LEAP driver needs one")
        maps = [hardware[joint] for joint in interface.robot.actuated]
        self.names = interface.names
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._at_lower = np.array([m.at_lower for m in maps])
        per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / (self._upper - self._lower)
        self._per_rad, self.sign, self.resolution_rad = per_rad, np.sign(per_rad), 1.0 / np.abs(per_rad)

    def target(self, position_rad: Array, who: str) -> list[int]:
        """Targets (n,) [rad] in whole counts. Raises ShapeError, NonFiniteError, or LimitError more than a count beyond a limit."""
        target = frozen_array(position_rad, (len(self.names),), f"{who} command")
        outside = (target < self._lower - self.resolution_rad) | (target > self._upper + self.resolution_rad)
        if outside.any():
            i = int(np.argmax(outside))
            raise LimitError(f"{self.names[i]} commanded to {target[i]:.4f} rad; allowed {self._lower[i]} to {self._upper[i]} rad")
        return np.rint(self._at_lower + (target - self._lower) * self._per_rad).astype(int).tolist()

    def rad(self, counts: Array | list[int]) -> Array:
        """(n,) [rad] of (n,) counts."""
        return self._lower + (np.asarray(counts, dtype=float) - self._at_lower) / self._per_rad

    def measured(self, counts: Array) -> Array:
        """The same of a measurement. Raises DeviceError (``implausible``) far beyond the limits."""
        position = self.rad(counts)
        wrong = (position < self._lower - TOLERATED_RAD) | (position > self._upper + TOLERATED_RAD)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise DeviceError(f"{self.names[i]}: the servo reports {int(counts[i])} counts, {position[i]:.2f} rad; "
                              f"allowed {self._lower[i]} to {self._upper[i]} rad", code="implausible")
        return position
