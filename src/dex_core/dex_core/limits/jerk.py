# SPDX-License-Identifier: Apache-2.0
"""Fifth limit: change of acceleration, such that the joint can still brake before the end of its range and meet its target.

Acceleration and jerk are second and third differences of the commands, so the bound holds for what goes out, not for an ideal in between.
Why it never runs into an end: from every command it lets pass, :func:`braking_acceleration` alone, obeyed from then on, comes to rest
inside the range. A request is passed on when the same holds after it (:func:`reach` is never less than what braking takes); if no such
request is near, the braking acceleration itself is commanded, after which it holds again.

The step limit, which comes last, may move a command against all this and keeps it inside the range by itself; a joint that it moved begins anew,
without acceleration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dex_core.limits.base import TOLERANCE_RAD, JointLimits, Limited, Moment
from dex_core.limits.braking import stopping_velocity
from dex_core.types import Array

Allowed = Callable[[Array], NDArray[np.bool_]]
HALVINGS = 6
"""How finely it looks for the largest acceleration between the wanted and the braking one that may be commanded."""
AT_REST = 1e-9


def limit_jerk(limits: JointLimits, moment: Moment, request_rad: Array) -> Limited:
    """Bounds the change of acceleration since the previous output; nothing while braking, or where no joint has such a limit.

    Args:
        limits: of n joints.
        moment: previous output with its acceleration, dt, target and its velocity.
        request_rad: (n,) finite, limited in position, velocity and acceleration [rad].
    """
    limited = np.isfinite(limits.jerk_rad_s3)
    if moment.braking or not limited.any():
        return Limited(request_rad, np.zeros_like(limited), request_rad, request_rad)
    joints = _Joints(limits, moment, np.flatnonzero(limited))
    wanted = ((request_rad[joints.index] - joints.position) / joints.dt_s - joints.velocity) / joints.dt_s
    if joints.harmless(wanted):
        return Limited(request_rad, np.zeros_like(limited), request_rad, request_rad)
    chosen = joints.choose(wanted)
    position, acted = request_rad.copy(), np.zeros_like(limited)
    changed = np.abs(chosen - wanted) * joints.dt_s**2 > TOLERANCE_RAD
    index = joints.index[changed]
    position[index] = (joints.position + (joints.velocity + chosen * joints.dt_s) * joints.dt_s)[changed]
    acted[index] = True
    asked, given = np.zeros(len(limited)), np.zeros(len(limited))
    asked[joints.index], given[joints.index] = (wanted - joints.acceleration) / joints.dt_s, (chosen - joints.acceleration) / joints.dt_s
    return Limited(position, acted, asked, given)


def braking_acceleration(velocity: Array, acceleration: Array, most: Array, jerk: Array, dt_s: float) -> Array:
    """(n,) acceleration of the next step that brings a joint to rest as fast as its acceleration ``most`` and ``jerk`` let it."""
    wanted = -np.sign(velocity) * np.minimum(most, stopping_velocity(np.abs(velocity), jerk, dt_s))
    change = jerk * dt_s
    return np.minimum(np.maximum(wanted, acceleration - change), acceleration + change)


def reach(velocity: Array, acceleration: Array, most: Array, jerk: Array) -> Array:
    """(n,) how far ahead (in positive direction) a joint gets at most when it brakes from now on, never less than what it takes.

    The closed form of the motion in continuous time: the acceleration falls at ``jerk`` to at least ``-most`` and rises again to zero as the
    joint comes to rest. The steps of :func:`braking_acceleration` stay below it, since each begins with the acceleration it ends with.

    Args:
        velocity: (n,) of the last step. acceleration: (n,) of the last step. most, jerk: (n,) limits.
    """
    fall = np.abs(acceleration) / jerk
    gained = 0.5 * np.abs(acceleration) * fall
    rising = np.maximum(0.0, velocity * fall + acceleration * fall * fall / 3.0) + _rest_from(velocity + gained, most, jerk)
    peak = np.maximum(velocity, 0.0) + gained
    falling = np.where(velocity >= gained, _rest_from(peak, most, jerk) - (peak * fall - jerk * fall**3 / 6.0), velocity * fall)
    return np.where(acceleration >= 0.0, np.where(velocity + gained > 0.0, rising, 0.0), np.where(velocity > 0.0, falling, 0.0))


def _rest_from(velocity: Array, most: Array, jerk: Array) -> Array:
    """(n,) way to rest from ``velocity`` >= 0 with no acceleration yet."""
    speed = np.maximum(velocity, 0.0)
    ramp = most / jerk
    return np.where(speed >= most * ramp, 0.5 * speed * (speed / most + ramp), speed * np.sqrt(speed / jerk))


class _Joints:
    """The joints with a bounded jerk, and what they may do in this step."""

    def __init__(self, limits: JointLimits, moment: Moment, index: NDArray[np.intp]) -> None:
        before, self.index, self.dt_s = moment.previous, index, moment.dt_s
        self.most, self.jerk, fastest = (part[index] for part in (limits.acceleration_rad_s2, limits.jerk_rad_s3, limits.velocity_rad_s))
        self.position = before.position_rad[index]
        self.velocity = np.clip(before.velocity_rad_s[index], -fastest, fastest)
        acceleration = np.zeros(len(index)) if before.acceleration_rad_s2 is None else before.acceleration_rad_s2[index]
        self.acceleration = np.clip(acceleration, -self.most, self.most)
        self._up, self._down = limits.upper_rad[index] - self.position, self.position - limits.lower_rad[index]
        self._fastest = fastest
        target, speed = moment.target_rad, moment.target_velocity_rad_s
        self._goal = None if target is None or speed is None else (np.clip(target, limits.lower_rad, limits.upper_rad)[index], speed[index])

    def harmless(self, wanted: Array) -> bool:
        """True where nobody needs a closer look, which is nearly always: in step with the target, far from every end, the jerk within its limit.

        Coarser than :meth:`choose` on the safe side: :func:`reach` is at most ``0.5 w^2 / most + 1.5 w most / jerk``, with ``w`` the velocity plus
        all that the acceleration may still add to it.
        """
        if (np.abs(wanted - self.acceleration) > self.jerk * self.dt_s).any() or (np.abs(wanted) > self.most).any():
            return False
        velocity, ramp = self.velocity + wanted * self.dt_s, self.most / self.jerk
        if self._goal is not None and (np.abs(velocity + 0.5 * wanted * self.dt_s - self._goal[1]) > 0.5 * self.jerk * self.dt_s**2).any():
            return False
        fastest = np.abs(velocity) + (0.5 * ramp + self.dt_s) * self.most
        way = fastest * (0.5 * fastest / self.most + 1.5 * ramp + self.dt_s)
        return bool((fastest <= self._fastest).all() and (way <= np.minimum(self._up, self._down)).all())

    def choose(self, wanted: Array) -> Array:
        """(k,) acceleration for this step: the nearest to ``wanted`` after which the joint can still do all it must."""
        change = self.jerk * self.dt_s
        low, high = np.maximum(self.acceleration - change, -self.most), np.minimum(self.acceleration + change, self.most)
        # as fast as the acceleration can fall to nothing again, the velocity must not pass its limit meanwhile
        slack = stopping_velocity(np.maximum(self._fastest - self.velocity, 0.0), self.jerk, self.dt_s)
        fall = stopping_velocity(np.maximum(self._fastest + self.velocity, 0.0), self.jerk, self.dt_s)
        lowest, highest = np.minimum(high, np.maximum(low, -fall)), np.maximum(low, np.minimum(high, slack))
        chosen = np.minimum(np.maximum(wanted, lowest), highest)
        if self._goal is not None:
            chosen = np.minimum(np.maximum(self._toward_goal(wanted, chosen), lowest), highest)
        bad = ~self._inside(chosen)
        if bad.any():
            brake = braking_acceleration(self.velocity, self.acceleration, self.most, self.jerk, self.dt_s)
            chosen = self._nearest(chosen, brake, bad, self._inside)
        return chosen

    def _toward_goal(self, wanted: Array, chosen: Array) -> Array:
        """The same for joints that are behind their target: they must be able to take on its velocity before they pass it."""
        goal, speed = self._goal  # type: ignore[misc]
        relative = self.velocity - speed
        ahead = np.sign(goal - self.position - speed * self.dt_s)

        def meets(acceleration: Array) -> NDArray[np.bool_]:
            velocity = self.velocity + acceleration * self.dt_s
            gap = (goal - self.position - velocity * self.dt_s) * ahead
            return reach((velocity - speed) * ahead, acceleration * ahead, self.most, self.jerk) <= np.maximum(gap, 0.0) + TOLERANCE_RAD

        # in step with its target: this step ends on it, and with the velocity it has there but for what the jerk makes up for in one more
        late = self.velocity + 1.5 * chosen * self.dt_s - speed
        along = (np.abs(chosen - wanted) * self.dt_s**2 <= TOLERANCE_RAD) & (np.abs(late) <= 0.5 * self.jerk * self.dt_s**2)
        bad = ~along & ~meets(chosen)
        if not bad.any():
            return chosen
        brake = braking_acceleration(relative, self.acceleration, self.most, self.jerk, self.dt_s)
        return self._nearest(chosen, brake, bad, meets)

    def _inside(self, acceleration: Array) -> NDArray[np.bool_]:
        """(k,) True where the joint can still brake inside its range after a step with ``acceleration``."""
        velocity = self.velocity + acceleration * self.dt_s
        step = velocity * self.dt_s
        up, down = reach(velocity, acceleration, self.most, self.jerk), reach(-velocity, -acceleration, self.most, self.jerk)
        return (step + up <= self._up + AT_REST) & (down - step <= self._down + AT_REST)

    @staticmethod
    def _nearest(wanted: Array, safe: Array, bad: NDArray[np.bool_], allowed: Allowed) -> Array:
        """(k,) where ``bad``: the furthest from ``safe`` on the way to ``wanted`` that is ``allowed``, ``safe`` itself if none is."""
        low, high = np.zeros_like(wanted), np.ones_like(wanted)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            fits = allowed(safe + middle * (wanted - safe))
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return np.where(bad, safe + low * (wanted - safe), wanted)
