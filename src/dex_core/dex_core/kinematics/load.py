# SPDX-License-Identifier: Apache-2.0
"""Kinematics by name: ``load_hand("inspire", "right")``, ``load_arm("xarm7")``."""
from __future__ import annotations

from dex_core.config import load_robot, read_description
from dex_core.config.robot import RobotConfig
from dex_core.errors import ConfigError
from dex_core.kinematics.arm import ArmKinematics
from dex_core.kinematics.chain import RobotKinematics
from dex_core.kinematics.hand import HandKinematics


def load_hand(name: str, side: str, *, coupling: str = "") -> HandKinematics:
    """A hand of ``config/hands``, limits the tighter of its URDF and its configuration.

    Args:
        name: e.g. ``inspire``, or an alias.
        side: left or right.
        coupling: one of the hand's alternatives (``RobotConfig.couplings``); empty: as its URDF says.

    Raises:
        ConfigError: unknown name, side or coupling; says what there is.
    """
    robot = _robot(name, "hand")
    if side not in robot.sides:
        raise ConfigError(f"hand {robot.name!r} has no side {side!r}; allowed: {list(robot.sides)}")
    robot = robot.for_side(side)
    return _limited(HandKinematics(robot, read_description(robot.urdf, side), coupling), robot)


def load_arm(name: str, side: str = "") -> ArmKinematics:
    """An arm of ``config/arms``, limits the tighter of its URDF and its configuration.

    Args:
        name: e.g. ``xarm7``.
        side: for a body with two arms (``RobotConfig.tool_links``): left or right, the chain from its root to that wrist
            with every joint outside of it at zero; its names, limits and Jacobians are that chain's alone.

    Raises:
        ConfigError: unknown name or side; says what there is.
    """
    robot = _robot(name, "arm")
    return _limited(ArmKinematics(robot, read_description(robot.urdf), side), robot)


def _robot(name: str, kind: str) -> RobotConfig:
    robot = load_robot(name)
    if robot.kind != kind:
        raise ConfigError(f"{name!r} is of kind {robot.kind!r}, not {kind!r}")
    return robot


def _limited(kinematics: RobotKinematics, robot: RobotConfig) -> RobotKinematics:
    limits = [robot.limits[name] for name in kinematics.names]
    kinematics.limit([limit.lower_rad for limit in limits], [limit.upper_rad for limit in limits])
    return kinematics
