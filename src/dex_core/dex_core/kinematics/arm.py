# SPDX-License-Identifier: Apache-2.0
"""Kinematics of one arm: its flange in the frame of its base."""
from __future__ import annotations

from numpy.typing import ArrayLike

from dex_core.config import RobotConfig
from dex_core.kinematics.chain import Array, RobotKinematics


class ArmKinematics(RobotKinematics):
    """An arm with one flange. Joint names carry no side prefix."""

    def __init__(self, robot: RobotConfig, urdf_text: str) -> None:
        super().__init__(urdf_text, robot.actuated)
        self.flange = robot.tip_link
        self._frame(self.flange)

    def flange_pose(self, q: ArrayLike) -> Array:
        """(4, 4) flange in the arm's base frame."""
        return self.pose(q, self.flange)

    def flange_jacobian(self, q: ArrayLike) -> Array:
        """(6, n) Jacobian of the flange, axes of the base frame."""
        return self.jacobian(q, self.flange)
