# SPDX-License-Identifier: Apache-2.0
"""Servo mode of the xArm controller (mode 1): streamed joint targets in front of a plant, at most 250 a second."""

from __future__ import annotations

import math

import numpy as np

from dex_core.clock import Clock
from dex_sim.plant import Plant
from dex_sim.xarm_controller_motion import ERROR_JOINT_RANGE, SERVO_PERIOD_S, RateLimit, ServoWatch
from dex_sim.xarm_controller_moves import WARNING_PARAMETER
from dex_sim.xarm_controller_requests import out_of_range
from dex_sim.xarm_controller_statistics import ServoStatistics

MOVING_NS = 100_000_000
"""This long after its last target the arm still calls itself moving."""


class ServoStream:
    """Not thread-safe: the controller's lock guards it.

    Attributes:
        statistics: of servo_j: arrivals, surplus, refused.
    """

    def __init__(self, plant: Plant, clock: Clock) -> None:
        self.statistics = ServoStatistics()
        self._plant, self._clock = plant, clock
        self._watch, self._rate = ServoWatch(), RateLimit(SERVO_PERIOD_S)
        self._newest_ns = -MOVING_NS

    @property
    def moving(self) -> bool:
        """A target came a moment ago."""
        return self._clock.now_ns() - self._newest_ns < MOVING_NS

    def start(self) -> None:
        """Streaming begins, or goes on, where the arm is now."""
        self._watch.start(self._plant.read().position_rad.tolist(), self._clock.now_ns())

    def stop(self) -> None:
        """The arm no longer calls itself moving."""
        self._newest_ns = -MOVING_NS

    def target(self, joints_rad: tuple[float, ...], ready: bool) -> tuple[int, int]:
        """Follows seven joints [rad], drops what is beyond the rate, or refuses.

        Args:
            joints_rad: as they came.
            ready: state and mode allow it.

        Returns:
            (error, warning) codes; zeros also for a target that was dropped.
        """
        now_ns = self._clock.now_ns()
        if not ready:
            self.statistics.refused += 1
        elif not all(map(math.isfinite, joints_rad)):
            self.statistics.refused += 1
            return 0, WARNING_PARAMETER
        elif not self._rate.admit(now_ns):
            self.statistics.surplus += 1
        elif out_of_range(joints_rad):
            return ERROR_JOINT_RANGE, 0
        elif error := self._watch.check(joints_rad, now_ns):
            return error, 0
        else:
            self._newest_ns = now_ns
            self.statistics.executed += 1
            self._plant.command(np.array(joints_rad))
        return 0, 0
