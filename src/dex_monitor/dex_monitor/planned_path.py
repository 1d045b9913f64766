# SPDX-License-Identifier: Apache-2.0
"""Where the arms go in an action chunk: forward kinematics of joint slices, or the wrist poses themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_core.kinematics import ArmKinematics
from dex_core.types import ActionChunk, index_map
from dex_description import interface_urdf

Array = NDArray[np.float64]


class PlannedPath:
    """Flange positions of chunks, for the arms that stand on the world."""

    def __init__(self, cell: CellConfig) -> None:
        self._arms = {
            name: (interface.names, ArmKinematics(interface.robot, interface_urdf(interface)), _mount(interface.mount.xyz_m, interface.mount.rpy_rad))
            for name, interface in cell.interfaces.items()
            if interface.robot.kind == "arm" and interface.mounted_on == "world"
        }

    def of_chunk(self, chunk: ActionChunk) -> dict[str, Array]:
        """Interface -> (T, 3) positions in ``world`` [m]: the flange's of a joint_position slice, the grasp frame's of a wrist_pose slice.

        Raises:
            JointNameError: a slice names other joints than its arm has.
        """
        paths = {}
        for name, (names, kinematics, mount) in self._arms.items():
            part = chunk.slice_of(name)
            if part is not None and part.space == "wrist_pose" and part.frame_id == "world":
                paths[name] = part.data[:, :3].copy()
            if part is None or part.space != "joint_position":
                continue
            order = index_map(part.names, names, f"slice of {name}")
            paths[name] = np.array([(mount @ kinematics.flange_pose(q))[:3, 3] for q in part.data[:, order]])
        return paths


def _mount(xyz_m: tuple[float, float, float], rpy_rad: tuple[float, float, float]) -> Array:
    """(4, 4) transform of a mount: URDF convention, R = Rz Ry Rx."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy_rad), np.sin(rpy_rad)
    transform = np.eye(4)
    transform[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    transform[:3, 3] = xyz_m
    return transform
