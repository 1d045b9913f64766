# SPDX-License-Identifier: Apache-2.0
"""A robot cell as a LeRobot robot, ``--robot.type=dex``; lerobot finds this package by its name."""

from lerobot_robot_dex.config_dex import DexRobotConfig
from lerobot_robot_dex.dex import DexRobot

__all__ = ["DexRobot", "DexRobotConfig"]
