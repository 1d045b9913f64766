# SPDX-License-Identifier: Apache-2.0
"""The arm that carries the camera or the board: where its flange is in the world, and what the cell's file says of a camera then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dex_core.config import CellConfig
from dex_core.config.load import flange
from dex_core.config.robot import Pose
from dex_core.errors import ConfigError, JointNameError
from dex_core.types import Array
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import link_poses
from dex_perception.calibrate import Calibration, Setup
from dex_perception.calibrate.poses import inverse, rotation
from dex_perception.calibrate.session import as_pose

OPTICAL_IN_LINK = np.eye(4)
OPTICAL_IN_LINK[:3, :3] = rotation((0.0, 0.0, -np.pi / 2.0)) @ rotation((-np.pi / 2.0, 0.0, 0.0))  # REP 103
WORLD = "world"


@dataclass(frozen=True)
class Written:
    """What a calibration puts into the cell's file: pose of ``camera_link`` in a link of the cell."""

    pose: Pose
    mounted_on: str


class Carrier:
    """One arm of a cell.

    Args:
        cell: the cell.
        interface: e.g. ``left_arm``; empty: the only arm.
        side: of a body with two arms: left or right.

    Attributes:
        interface: its name. joints: its joints, with prefix. link: its flange in the cell, with prefix.

    Raises:
        ConfigError: no such arm, or more than one and none named.
    """

    def __init__(self, cell: CellConfig, interface: str = "", side: str = "") -> None:
        arms = [name for name, i in cell.interfaces.items() if i.robot.kind == "arm"]
        if not interface and len(arms) != 1:
            raise ConfigError(f"cell {cell.name!r} has the arms {arms}; say with --arm which one carries the camera or the board")
        chosen = cell.interface(interface or arms[0])
        if chosen.robot.kind != "arm":
            raise ConfigError(f"{interface!r} is a {chosen.robot.kind}; allowed: {arms}")
        self.interface, self.joints = chosen.name, chosen.names
        self.link = chosen.prefix + flange(chosen.robot, side or chosen.side)
        self._description = parse_urdf(compose_cell_urdf(cell))

    def pose_in_world(self, joints_rad: Mapping[str, float]) -> Array:
        """(4, 4) flange in the world; joints of other robots may be among the given ones.

        Raises:
            JointNameError: one of this arm's joints is missing.
        """
        if not set(self.joints) <= set(joints_rad):
            raise JointNameError(f"joints of {self.interface}", [n for n in joints_rad if n in self.joints], self.joints)
        return np.asarray(link_poses(self._description, {name: joints_rad[name] for name in self.joints})[self.link])

    def written(self, found: Calibration) -> Written:
        """The camera's place in the cell: optical frame turned into ``camera_link``, on the flange or in the world."""
        return Written(as_pose(found.camera @ inverse(OPTICAL_IN_LINK)), self.link if found.setup is Setup.IN_HAND else WORLD)
