# SPDX-License-Identifier: Apache-2.0
"""What a user says of the robot on lerobot's command line."""

from dataclasses import dataclass
from pathlib import Path

from lerobot.robots.config import RobotConfig


@RobotConfig.register_subclass("dex")
@dataclass(kw_only=True)
class DexRobotConfig(RobotConfig):
    """A running cell.

    Attributes:
        description: the folder ``robot`` that ``dex export lerobot-robot`` wrote beside the cell that calls.
        connect_timeout_s: longest wait for the cell to call [s].
        observation_timeout_s: longest wait for an observation; a cell without a goal sends none [s].
        answer_s: how long the cell is kept waiting for the action that belongs to its observation, before it gets the one before [s].
    """

    description: Path
    connect_timeout_s: float = 60.0
    observation_timeout_s: float = 60.0
    answer_s: float = 0.05
