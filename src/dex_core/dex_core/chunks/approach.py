# SPDX-License-Identifier: Apache-2.0
"""A goal begins where the fingers are: hands that stand far from their first chunk come to it slowly, tick by tick."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from dex_core.chunks.spline import Point
from dex_core.errors import ShapeError
from dex_core.limits.acceleration import limit_acceleration
from dex_core.limits.base import JointLimits, Moment, Motion
from dex_core.limits.velocity import limit_velocity
from dex_core.types import Array


class Approach:
    """Between the measured joints of a hand and what its first chunk asks for; every other joint is passed through.

    What is followed may change on the way (the next chunk, a blend): it is the place of this very moment that is approached. A joint
    that has reached it follows it exactly from then on, as fast as its own limits let it.

    Args:
        limits: of all joints of the cell.
        hands: interface -> columns of its joints; what is not named here never approaches.
        near_rad: a hand with every joint nearer than this to its first command follows at once [rad].
        speed_rad_s: largest speed of a joint on its way [rad/s].
    """

    def __init__(self, limits: JointLimits, hands: Mapping[str, slice], near_rad: float, speed_rad_s: float) -> None:
        if not 0.0 < speed_rad_s < float("inf"):
            raise ShapeError(f"approach speed is {speed_rad_s} rad/s; it must be positive and finite")
        self._limits, self._hands, self._near_rad = limits, dict(hands), near_rad
        self._slow = dataclasses.replace(limits, velocity_rad_s=np.minimum(limits.velocity_rad_s, speed_rad_s))
        self.joints = np.zeros(len(limits.names), dtype=bool)  # of a hand, so that they may approach
        for columns in self._hands.values():
            self.joints[columns] = True
        self.pending = np.zeros_like(self.joints)

    def begin(self, gap_rad: Array) -> tuple[str, ...]:
        """A goal's first chunk came, (n,) ``gap_rad`` from the measured joints [rad]. Returns the hands that are far from it."""
        gap = np.abs(gap_rad)
        far = tuple(name for name, columns in self._hands.items() if gap[columns].max(initial=0.0) > self._near_rad)
        self.pending[:] = False
        for name in far:
            self.pending[self._hands[name]] = True
        return far

    def clear(self) -> None:
        """Nothing is followed any more."""
        self.pending[:] = False

    def toward(self, point: Point, motion: Motion, dt_s: float) -> Point:
        """Where to be after one tick, and how fast, on the way to ``point``; joints that arrive are let go.

        Args:
            point: what is followed, at the time of this tick.
            motion: last command.
            dt_s: time since then [s].
        """
        if not self.pending.any():
            return point
        moment = Moment(motion, motion.position_rad, dt_s, point.velocity_rad_s)
        slower = limit_velocity(self._slow, moment, self._limits.clip(point.position_rad))
        eased = limit_acceleration(self._slow, moment, slower.position_rad)
        self.pending &= slower.acted | eased.acted
        velocity = (eased.position_rad - motion.position_rad) / dt_s
        return Point(
            np.where(self.pending, eased.position_rad, point.position_rad),
            np.where(self.pending, velocity, point.velocity_rad_s),
            np.where(self.pending, 0.0, point.acceleration_rad_s2),
        )
