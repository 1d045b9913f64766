# SPDX-License-Identifier: Apache-2.0
"""Moves one joint of one device slowly, everything else staying where it is measured to be. Asks before anything moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dex_core.clock import Ticker
from dex_core.config import Interface
from dex_core.devices.limited import Limited
from dex_core.errors import ConfigError, DeviceError
from dex_core.types import Array

MAX_SPEED_RAD_S = 0.5
DEFAULT_SPEED_RAD_S = 0.1
PEAK_OVER_MEAN = 1.875
"""Of a minimum-jerk move: its top speed over its mean speed."""
MAX_RATE_HZ = 100.0
SETTLE_S = 2.0
NEAR_RAD = {"arm": 0.01, "hand": 0.05}
"""As near must the joint come; hands are coarser and may close on something."""


@dataclass(frozen=True)
class Move:
    """A slow move of one joint.

    Attributes:
        joint: name with prefix. index: of it in the device's order.
        start_rad, goal_rad: of that joint.
        speed_rad_s: its top speed.
    """

    joint: str
    index: int
    start_rad: float
    goal_rad: float
    speed_rad_s: float

    @property
    def duration_s(self) -> float:
        """How long it takes."""
        return PEAK_OVER_MEAN * abs(self.goal_rad - self.start_rad) / self.speed_rad_s

    def at(self, time_s: float) -> float:
        """Where the joint shall be [rad]: a minimum-jerk move, at rest at both ends."""
        s = min(max(time_s / self.duration_s, 0.0), 1.0) if self.duration_s > 0.0 else 1.0
        return self.start_rad + (self.goal_rad - self.start_rad) * s**3 * (10.0 - 15.0 * s + 6.0 * s * s)

    def words(self) -> str:
        """One sentence for people."""
        return (
            f"{self.joint}: from {self.start_rad:.4f} rad ({np.degrees(self.start_rad):.1f} degrees) to {self.goal_rad:.4f} rad "
            f"({np.degrees(self.goal_rad):.1f} degrees), at most {self.speed_rad_s:.3f} rad/s, {self.duration_s:.1f} s"
        )


def plan(interface: Interface, joint: str, measured_rad: Array, *, to_rad: float | None, by_rad: float | None, speed_rad_s: float) -> Move:
    """Checks what was asked for.

    Args:
        joint: with or without the side's prefix.
        measured_rad: (n,) where the device is.
        to_rad, by_rad: goal, or distance; exactly one.

    Raises:
        ConfigError: unknown joint, a goal outside its limits, or a speed that is not slow; says what is allowed.
    """
    name = joint if joint in interface.names else interface.prefix + joint
    if name not in interface.names:
        raise ConfigError(f"no joint is called {joint!r}; there is: {list(interface.names)}")
    if (to_rad is None) == (by_rad is None):
        raise ConfigError("give --to RADIANS or --by RADIANS, one of them")
    index = interface.names.index(name)
    limit, start = interface.limits[index], float(measured_rad[index])
    goal = start + by_rad if by_rad is not None else to_rad
    assert goal is not None
    if not limit.lower_rad <= goal <= limit.upper_rad:  # a NaN is not
        raise ConfigError(f"{name} to {goal:.4f} rad; allowed {limit.lower_rad} to {limit.upper_rad}")
    fastest = min(MAX_SPEED_RAD_S, limit.velocity_rad_s)
    if not 0.0 < speed_rad_s <= fastest:
        raise ConfigError(f"speed is {speed_rad_s} rad/s; allowed above 0 to {fastest}")
    return Move(name, index, start, goal, speed_rad_s)


def run(device: Limited, interface: Interface, move: Move, tick: Callable[[], None] = lambda: None) -> Array:
    """Makes the move; always ends with a hold.

    Args:
        device: connected and enabled.
        tick: called in every cycle; may raise to stop it.

    Returns:
        (n,) measured joints at the end [rad].

    Raises:
        DeviceError: the device failed, or ``not_reached``, the joint did not come near its goal.
    """
    still = np.clip(device.read().position_rad, [v.lower_rad for v in interface.limits], [v.upper_rad for v in interface.limits])
    try:
        ticker, start_s = Ticker(min(interface.rate_hz, MAX_RATE_HZ)), time.monotonic()
        while True:
            elapsed_s = time.monotonic() - start_s
            target = still.copy()
            target[move.index] = move.at(elapsed_s)
            device.command(target)
            measured = device.read().position_rad
            tick()
            near = abs(measured[move.index] - move.goal_rad) <= NEAR_RAD[interface.robot.kind]
            if elapsed_s >= move.duration_s and near:
                return measured
            if elapsed_s > move.duration_s + SETTLE_S:
                raise DeviceError(
                    f"{move.joint} stays at {measured[move.index]:.4f} rad, its goal is {move.goal_rad:.4f}: is something in its way?",
                    code="not_reached",
                )
            ticker.wait()
    finally:
        device.hold()
