# SPDX-License-Identifier: Apache-2.0
"""Kinematics of one arm: its flange in the frame of its base."""
from __future__ import annotations

from numpy.typing import ArrayLike

from dex_core.config import RobotConfig
from dex_core.errors import ConfigError
from dex_core.kinematics.chain import Array, RobotKinematics
from dex_core.kinematics.tree import KinematicTree


class ArmKinematics(RobotKinematics):
    """An arm with one flange. Joint names carry no side prefix.

    Args:
        robot: the arm's configuration.
        urdf_text: its URDF.
        side: left or right of a body with two arms: only that arm's own joints move, from where the two chains part;
            the rest, waist included, stands at zero.
    """

    def __init__(self, robot: RobotConfig, urdf_text: str, side: str = "") -> None:
        flanges = {link.split("_")[0]: link for link in (robot.tip_link, *robot.tool_links)}
        if not side:
            super().__init__(urdf_text, robot.actuated)
            self.flange = robot.tip_link
        else:
            if len(flanges) < 2 or side not in flanges:
                raise ConfigError(
                    f"{robot.name!r} has no {side!r} arm of its own; " + (f"allowed: {sorted(flanges)}" if len(flanges) > 1 else "it has one arm")
                )
            whole = KinematicTree(urdf_text, robot.actuated)
            others = {c for name, link in flanges.items() if name != side for c in whole.columns_of(link)}
            own = [robot.actuated[c] for c in whole.columns_of(flanges[side]) if c not in others]
            super().__init__(urdf_text, own, locked_rad={name: 0.0 for name in robot.actuated if name not in own})
            self.flange = flanges[side]
        self._frame(self.flange)

    def flange_pose(self, q: ArrayLike) -> Array:
        """(4, 4) flange in the arm's base frame."""
        return self.pose(q, self.flange)

    def flange_jacobian(self, q: ArrayLike) -> Array:
        """(6, n) Jacobian of the flange, axes of the base frame."""
        return self.jacobian(q, self.flange)
