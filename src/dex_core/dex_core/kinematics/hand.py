# SPDX-License-Identifier: Apache-2.0
"""Kinematics of one hand: fingertips in the wrist frame (the root of the hand's URDF) and how joints move them."""
from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config import RobotConfig
from dex_core.errors import ConfigError
from dex_core.kinematics.chain import Array, RobotKinematics


class HandKinematics(RobotKinematics):
    """A hand's fingers by their semantic names. Joint names carry no side prefix.

    Args:
        robot: the hand's configuration; gives joint order and finger tips.
        urdf_text: URDF of the wanted side.
        coupling: one of the configuration's alternatives; empty: as the URDF says.

    Attributes:
        fingers: semantic names in the order of the configuration.
        tips: name of each finger's tip frame.
    """

    def __init__(self, robot: RobotConfig, urdf_text: str, coupling: str = "") -> None:
        alternatives = robot.couplings or {}
        if coupling and coupling not in alternatives:
            raise ConfigError(f"{robot.name!r} has no coupling {coupling!r}; it has {sorted(alternatives)}, or none for the URDF's")
        super().__init__(urdf_text, robot.actuated, alternatives.get(coupling))
        if not robot.fingers:
            raise ConfigError(f"{robot.name!r} has no fingers in its configuration")
        self.fingers = tuple(robot.fingers)
        self.tips = tuple(finger.tip for finger in robot.fingers.values())
        for tip in self.tips:
            self._frame(tip)

    def fingertips(self, q: ArrayLike) -> Array:
        """(k, 3) fingertip positions in the wrist frame in m."""
        return self.positions(q, self.tips)

    def fingertip_jacobian(self, q: ArrayLike) -> Array:
        """(k, 3, n) derivative of :meth:`fingertips` with respect to the actuated joints in m/rad."""
        return np.stack([self.jacobian(q, tip)[:3] for tip in self.tips])
