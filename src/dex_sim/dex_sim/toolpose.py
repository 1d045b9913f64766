# SPDX-License-Identifier: Apache-2.0
"""Closed-form kinematics of an xArm7 that keeps its hand upright over the table (joint3 = joint5 = 0).

A tool pose is (x, y, z, yaw): where the grasp frame of the hand is, and the direction in which the palm looks, all in ``world``, m and rad.
"""
from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig
from dex_core.decode.mounted import ArmInWorld, MountedHand
from dex_core.rot6d import pose_columns, tool_poses_from_columns

Array = NDArray[np.float64]

SHOULDER_Z_M = 0.267
UPPER_M = (0.0525, 0.293)  # shoulder to elbow at joint2 = 0: forward, up
FORE_M = (0.0775, -0.3425)  # elbow to wrist at joint4 = 0
WRIST_M = (0.076, 0.097)  # wrist to flange: forward, down
_UPPER = math.hypot(*UPPER_M)
_FORE = math.hypot(*FORE_M)
_FOLDED = math.atan2(UPPER_M[0], UPPER_M[1]) + math.atan2(FORE_M[0], -FORE_M[1])


def _upright(flange: Array, height: Array, yaw: Array, mount_yaw: float) -> Array:
    """(n, 7) joints that bring the flange to (2, n) in the arm's base, at heights (n,), looking down, what it carries turned to yaw (n,)."""
    azimuth = np.arctan2(flange[1], flange[0])
    forward = np.hypot(flange[0], flange[1]) - WRIST_M[0]
    up = height + WRIST_M[1] - SHOULDER_Z_M
    reach = np.hypot(forward, up)
    cosine = (_UPPER**2 + _FORE**2 - reach**2) / (2.0 * _UPPER * _FORE)
    elbow = np.arccos(np.clip(cosine, -1.0, 1.0)) - _FOLDED
    folded_x = UPPER_M[0] + np.cos(elbow) * FORE_M[0] - np.sin(elbow) * FORE_M[1]
    folded_z = UPPER_M[1] + np.sin(elbow) * FORE_M[0] + np.cos(elbow) * FORE_M[1]
    shoulder = np.arctan2(forward, up) - np.arctan2(folded_x, folded_z)
    turn = azimuth - yaw - mount_yaw
    turn = (turn + np.pi) % (2.0 * np.pi) - np.pi
    zero = np.zeros_like(height)
    return np.stack([azimuth, shoulder, zero, elbow, zero, elbow - shoulder, turn], axis=1)


class GraspArm:
    """One arm of a cell with whatever hand it carries: tool pose of the hand's grasp frame to joints and back.

    Args:
        cell: the arm must stand upright on the world, and the hand's fingers point along the arm's flange.
        side: ``left`` or ``right``.

    Attributes:
        home: (4,) tool pose of the cell's home posture.

    Raises:
        ConfigError: the hand gives no grasp frame.
    """

    def __init__(self, cell: CellConfig, side: str) -> None:
        arm = cell.interface(f"{side}_arm")
        self.side, self._arm, self._hand = side, ArmInWorld(cell, side), MountedHand.of_cell(cell, side)
        grasp = self._hand.grasp_in_flange
        if any(abs(angle) > 1e-9 for angle in arm.mount.rpy_rad) or abs(grasp[2, 2] - 1.0) > 1e-6:
            raise ValueError(f"{side}: a tool pose needs an arm that stands upright and fingers that point along its flange")
        self._base_m, self._heading = np.array(arm.mount.xyz_m), math.atan2(grasp[1, 0], grasp[0, 0])
        self._offset_m = grasp[:3, :3].T @ grasp[:3, 3]  # flange to grasp frame on the palm's axes
        self.lower_rad = np.array([limit.lower_rad for limit in arm.limits])
        self.upper_rad = np.array([limit.upper_rad for limit in arm.limits])
        self.home = self.pose(np.array(arm.home))

    def joints(self, pose: ArrayLike) -> Array:
        """(n, 7) joints in rad for (n, 4) tool poses; a pose out of reach gives the nearest stretch of the elbow."""
        x, y, z, yaw = np.asarray(pose, dtype=float).T
        normal = np.stack([np.cos(yaw), np.sin(yaw)])
        side = np.stack([normal[1], -normal[0]])  # palm +Y with the fingers down
        flange = np.stack([x, y]) - self._offset_m[0] * normal - self._offset_m[1] * side - self._base_m[:2, None]
        q = _upright(flange, z + self._offset_m[2] - self._base_m[2], yaw, self._heading)
        return np.clip(q, self.lower_rad, self.upper_rad)

    def pose(self, q: ArrayLike) -> Array:
        """(4,) tool pose of measured joints (7,) in rad: where the grasp frame is; of its turn only the heading."""
        return tool_poses_from_columns(pose_columns(self._arm.grasp_pose(q, self._hand)))
