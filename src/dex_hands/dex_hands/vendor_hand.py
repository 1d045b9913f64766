# SPDX-License-Identifier: Apache-2.0
"""What the drivers of XHand1 and DexH13 share: targets within limits, and velocity from positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from dex_core.clock import NS
from dex_core.config import JointLimit
from dex_core.errors import DeviceError, LimitError
from dex_core.types import Array, frozen_array

LIMIT_SLACK_RAD = 1e-5
MEASURED_SLACK_RAD = 0.2
"""A measured angle may lie this far outside its limits before it is called implausible."""
VELOCITY_WINDOW_S = 0.1


class Range:
    """Position limits of n named joints."""

    def __init__(self, names: Sequence[str], limits: Sequence[JointLimit], who: str) -> None:
        self.names, self._who = tuple(names), who
        self.lower = np.array([limit.lower_rad for limit in limits])
        self.upper = np.array([limit.upper_rad for limit in limits])

    def target(self, position_rad: Array) -> Array:
        """A commanded target (n,) [rad], checked. Raises LimitError, NonFiniteError or ShapeError."""
        target = frozen_array(position_rad, (len(self.names),), f"{self._who} command")
        inside = np.clip(target, self.lower, self.upper)
        outside = np.abs(target - inside)
        worst = int(np.argmax(outside))
        if outside[worst] > LIMIT_SLACK_RAD:
            allowed = f"{self.lower[worst]} to {self.upper[worst]} rad"
            raise LimitError(f"{self.names[worst]} commanded to {target[worst]:.4f} rad; allowed {allowed}")
        return inside

    def measured(self, position_rad: Array) -> Array:
        """A measured position (n,) [rad] within the limits. Raises DeviceError (``implausible``) when it is far outside or no number."""
        wrong = ~(np.abs(position_rad - np.clip(position_rad, self.lower, self.upper)) <= MEASURED_SLACK_RAD)
        if wrong.any():
            i = int(np.argmax(wrong))
            allowed = f"{self.lower[i]} to {self.upper[i]} rad"
            raise DeviceError(f"{self.names[i]}: the hand reports {position_rad[i]:.3f} rad; its range is {allowed}", code="implausible")
        return np.clip(position_rad, self.lower, self.upper)


class VelocityEstimate:
    """Velocity from the positions of the last ``VELOCITY_WINDOW_S``, for hands that report none."""

    def __init__(self) -> None:
        self._history: deque[tuple[int, Array]] = deque(maxlen=64)

    def clear(self) -> None:
        """Forgets every position."""
        self._history.clear()

    def add(self, now_ns: int, position_rad: Array) -> None:
        """One more position (n,) [rad] at a monotonic time [ns]."""
        self._history.append((now_ns, position_rad))
        while len(self._history) > 2 and now_ns - self._history[1][0] >= VELOCITY_WINDOW_S * NS:
            self._history.popleft()

    def velocity(self) -> Array:
        """(n,) [rad/s]; zero before the second position."""
        (oldest_ns, oldest), (newest_ns, newest) = self._history[0], self._history[-1]
        return (newest - oldest) / ((newest_ns - oldest_ns) / NS) if newest_ns > oldest_ns else np.zeros_like(newest)
