# SPDX-License-Identifier: Apache-2.0
"""The robot: it waits for a cell to call, shows what the cell measures, and answers with actions.

The cell asks as it asks any policy: within a goal, through its gate with all limits, holding when the answers stop. Nothing here commands a device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from lerobot.robots.robot import Robot

from lerobot_robot_dex.config_dex import DexRobotConfig
from lerobot_robot_dex.description import read_description
from lerobot_robot_dex.mailbox import Mailbox


class DexRobot(Robot):
    """A cell of this stack.

    Args:
        config: which.
    """

    config_class = DexRobotConfig
    name = "dex"

    def __init__(self, config: DexRobotConfig) -> None:
        super().__init__(config)
        self.config = config
        self._cell = read_description(config.description)
        self._mailbox: Mailbox | None = None

    @property
    def observation_features(self) -> dict[str, Any]:
        """Measured joints [rad] and pictures (height, width, 3)."""
        return {**dict.fromkeys(self._cell.columns, float), **{key: (*hw, 3) for key, hw in self._cell.cameras.items()}}

    @property
    def action_features(self) -> dict[str, Any]:
        """Joints to be at [rad]."""
        return dict.fromkeys(self._cell.columns, float)

    @property
    def is_connected(self) -> bool:
        """Whether a cell is there."""
        return self._mailbox is not None and self._mailbox.has_cell

    def connect(self, calibrate: bool = True) -> None:
        """Waits for the cell to call. Raises ConnectionError when it does not."""
        del calibrate  # the cell's drivers do that
        if self._mailbox is not None:
            raise ConnectionError(f"{self} is connected already")
        cell = self._cell
        mailbox = Mailbox(cell.host, cell.port, cell.name, cell.steps, self.config.answer_s)
        if not mailbox.wait_cell(self.config.connect_timeout_s):
            mailbox.close()
            where, seconds = f"{cell.host}:{cell.port}", self.config.connect_timeout_s
            raise ConnectionError(f"no cell called {where} within {seconds} s; start it with: dex up CELL, as dex export lerobot-robot wrote it")
        self._mailbox = mailbox

    @property
    def is_calibrated(self) -> bool:
        """Always: joints are calibrated by the cell's drivers."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_observation(self) -> dict[str, Any]:
        """What the cell measured last and was not seen yet. Raises ConnectionError, TimeoutError."""
        found = self._require().take(self.config.observation_timeout_s)
        if found is None:
            seconds = self.config.observation_timeout_s
            raise TimeoutError(f"no observation within {seconds} s: the cell has no goal; give it one with: dex run INSTRUCTION")
        state = np.asarray(found["state"], dtype=float)
        pictures = {key: np.array(found[key]) for key in self._cell.cameras}
        return {**dict(zip(self._cell.columns, state.tolist(), strict=True)), **pictures}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Answers the cell. Returns what was answered; the gate's limits come after it. Raises ConnectionError, ValueError."""
        mailbox = self._require()
        missing = [name for name in self._cell.columns if name not in action]
        if missing:
            raise ValueError(f"action lacks {missing[:3]}{'...' if len(missing) > 3 else ''}; it needs all of {len(self._cell.columns)} joints")
        values = [float(action[name]) for name in self._cell.columns]
        wrong = [name for name, value in zip(self._cell.columns, values, strict=True) if not math.isfinite(value)]
        if wrong:
            raise ValueError(f"action of {wrong[0]} is not finite")
        mailbox.put(np.array(values))
        return dict(zip(self._cell.columns, values, strict=True))

    def disconnect(self) -> None:
        """Hangs up; the cell holds, and its goal ends."""
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.close()

    def _require(self) -> Mailbox:
        if self._mailbox is None:
            raise ConnectionError(f"{self} is not connected")
        return self._mailbox
