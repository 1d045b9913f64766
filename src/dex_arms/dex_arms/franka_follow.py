# SPDX-License-Identifier: Apache-2.0
"""From targets at any rate to positions each millisecond, within a Franka's velocity, acceleration and jerk; nothing ever jumps.

Targets are joined by straight lines, and each joint follows its line like three equal first-order filters in a row do. Where the next step of
that would break a limit, a time-optimal planner (Ruckig), which knows them, makes the step instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ruckig

from dex_core.errors import DeviceError
from dex_core.types import Array

PERIOD_S = 0.001
SPACING_S = (0.004, 0.05)
"""Targets are taken to come at least and at most this far apart."""
RANGE_DECELERATION_PART = 0.6
"""Part of the acceleration limit that braking towards the end of a range may need."""
LEAST_VELOCITY_RAD_S = 0.005
_WORKING = (ruckig.Result.Working, ruckig.Result.Finished)


@dataclass(frozen=True)
class ArmLimits:
    """What the follower keeps to, (7,) each: rad, rad/s, rad/s^2, rad/s^3.

    The velocity towards an end of the range is at most ``sqrt(2 deceleration distance) - offset``, less ``margin``, and never above ``velocity``.
    """

    lower: Array
    upper: Array
    velocity: Array
    acceleration: Array
    jerk: Array
    offset: Array
    deceleration: Array
    margin: float

    def velocity_range(self, position: Array) -> tuple[Array, Array]:
        """Lowest and highest velocity at ``position`` (7,)."""
        braking = np.minimum(self.deceleration, RANGE_DECELERATION_PART * self.acceleration)
        room = np.sqrt(2.0 * braking * np.maximum(np.stack([position - self.lower, self.upper - position]), 0.0)) - self.offset
        down, up = np.clip(np.minimum(room, self.velocity) - self.margin, LEAST_VELOCITY_RAD_S, None)
        return -down, up

    def reachable(self, position: Array) -> Array:
        """``position`` (7,) within what can be reached: near the ends of a range a Franka allows no speed at all."""
        braking = np.minimum(self.deceleration, RANGE_DECELERATION_PART * self.acceleration)
        still = (self.offset + self.margin) ** 2 / (2.0 * braking)
        return np.clip(position, self.lower + still, self.upper - still)


class TargetFollower:
    """Leads seven joints after targets.

    Args:
        limits: to keep to.
        corner_rad_s: corner frequency of the smoothing.

    Attributes:
        position, velocity, acceleration: (7,) of the newest step.
    """

    def __init__(self, limits: ArmLimits, corner_rad_s: float) -> None:
        self.limits, self._corner = limits, corner_rad_s
        self.position, self.velocity, self.acceleration = np.zeros(7), np.zeros(7), np.zeros(7)
        self._planner = ruckig.Ruckig(7, PERIOD_S)
        self._input, self._output = ruckig.InputParameter(7), ruckig.OutputParameter(7)
        self._input.synchronization = ruckig.Synchronization.No
        self._input.max_acceleration, self._input.max_jerk = limits.acceleration.tolist(), limits.jerk.tolist()
        self.start(np.zeros(7))

    def start(self, position: Array) -> None:
        """At rest at ``position`` (7,), to stay there."""
        self.position, self.velocity, self.acceleration = np.array(position, dtype=float), np.zeros(7), np.zeros(7)
        self._following = False
        self._settle()

    def target(self, position: Array, now_s: float) -> None:
        """A new target (7,) that came at ``now_s`` (monotonic); the first after start or brake may be anywhere near."""
        target = self.limits.reachable(position)
        spacing = now_s - self._came_s
        self._came_s = now_s
        if not self._following:
            self._settle()
            self._following = True
        elif SPACING_S[0] <= spacing <= SPACING_S[1]:
            self._spacing_s += 0.1 * (spacing - self._spacing_s)
        self._line = (self._led.copy(), target)
        self._along_s = 0.0

    def brake(self) -> None:
        """Comes to rest as fast as the limits allow, and stays."""
        self._following = False

    @property
    def at_rest(self) -> bool:
        """True when nothing moves."""
        return not self._following and not self.velocity.any() and not self.acceleration.any()

    def step(self) -> Array:
        """Position (7,) one millisecond later. Raises DeviceError when the planner finds no way on (the position stays as it was)."""
        if self._following:
            self._follow()
        elif not self.at_rest:
            self._stop()
        return self.position

    def _follow(self) -> None:
        self._along_s = min(self._along_s + PERIOD_S, self._spacing_s)
        start, end = self._line
        self._led = start + (end - start) * (self._along_s / self._spacing_s)
        w, limits = self._corner, self.limits
        jerk = w**3 * (self._led - self.position) - 3.0 * w**2 * self.velocity - 3.0 * w * self.acceleration
        acceleration = self.acceleration + jerk * PERIOD_S
        velocity = self.velocity + (self.acceleration + 0.5 * PERIOD_S * jerk) * PERIOD_S
        low, high = limits.velocity_range(self.position)
        free = (np.abs(jerk) <= limits.jerk) & (np.abs(acceleration) <= limits.acceleration) & (velocity >= low) & (velocity <= high)
        # exact for a constant jerk, as the planner's steps are: what is a little off here would be a jump there
        position = self.position + (self.velocity + PERIOD_S * (0.5 * self.acceleration + PERIOD_S / 6.0 * jerk)) * PERIOD_S
        if free.all():
            self.position, self.velocity, self.acceleration = position, velocity, acceleration
            return
        self._input.control_interface = ruckig.ControlInterface.Position
        self._input.target_position = self._led.tolist()
        self._plan(~free, low, high)
        self.position = np.where(free, position, self._output.new_position)
        self.velocity = np.where(free, velocity, self._output.new_velocity)
        self.acceleration = np.where(free, acceleration, self._output.new_acceleration)

    def _stop(self) -> None:
        self._input.control_interface = ruckig.ControlInterface.Velocity
        rested = self._plan(np.ones(7, dtype=bool), *self.limits.velocity_range(self.position))
        self.position = np.array(self._output.new_position)
        self.velocity = np.zeros(7) if rested else np.array(self._output.new_velocity)
        self.acceleration = np.zeros(7) if rested else np.array(self._output.new_acceleration)

    def _plan(self, joints: Array, low: Array, high: Array) -> bool:
        """One period of the planner for ``joints`` (7,) of bool; True when that was its last."""
        now = self._input
        now.enabled = joints.tolist()
        now.current_position, now.current_velocity = self.position.tolist(), self.velocity.tolist()
        now.current_acceleration = self.acceleration.tolist()
        now.max_velocity, now.min_velocity = high.tolist(), low.tolist()
        result = self._planner.update(now, self._output)
        if result not in _WORKING:
            raise DeviceError(f"no way on from velocity {self.velocity.round(4).tolist()} rad/s: {result}", code="planner")
        return result is ruckig.Result.Finished

    def _settle(self) -> None:
        """The line begins where the joints are led as they move now."""
        self._led = self.position + 3.0 * self.velocity / self._corner + 3.0 * self.acceleration / self._corner**2
        self._line = (self._led.copy(), self._led.copy())
        self._spacing_s, self._along_s, self._came_s = 0.01, 0.0, float("-inf")
