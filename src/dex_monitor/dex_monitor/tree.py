# SPDX-License-Identifier: Apache-2.0
"""The frames of a cell: fixed transforms once, moving ones from joint positions, couplings included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import JointNameError
from dex_description import RobotDescription

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Transforms:
    """k transforms parent -> child: ``translation_m`` (k, 3), unit ``rotation_xyzw`` (k, 4)."""

    parents: tuple[str, ...]
    children: tuple[str, ...]
    translation_m: Array
    rotation_xyzw: Array


def quaternion_from_rpy(rpy_rad: Array) -> Array:
    """(k, 3) URDF roll, pitch, yaw -> (k, 4) x, y, z, w: R = Rz Ry Rx."""
    half = 0.5 * np.asarray(rpy_rad, dtype=float).reshape(-1, 3)
    zero = np.zeros(len(half))
    turns = []
    for axis in range(3):
        turn = np.stack([zero, zero, zero, np.cos(half[:, axis])], axis=1)
        turn[:, axis] = np.sin(half[:, axis])
        turns.append(turn)
    return multiply(turns[2], multiply(turns[1], turns[0]))


def multiply(a: Array, b: Array) -> Array:
    """(k, 4) product of quaternions x, y, z, w."""
    ax, ay, az, aw = a.T
    bx, by, bz, bw = b.T
    return np.stack([
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    ], axis=1)


def rotate(q: Array, vector: Array) -> Array:
    """(k, 3) vectors turned by (k, 4) quaternions x, y, z, w."""
    twice = 2.0 * np.cross(q[:, :3], vector)
    return vector + q[:, 3:] * twice + np.cross(q[:, :3], twice)


class FrameTree:
    """Transforms of one description.

    Args:
        description: the whole cell.
        leave_out: fixed children that somebody else publishes, e.g. the camera's.

    Attributes:
        fixed: all fixed transforms.
        joints: actuated joints a position is needed for.
    """

    def __init__(self, description: RobotDescription, leave_out: tuple[str, ...] = ()) -> None:
        still = [j for j in description.joints if j.kind == "fixed" and j.child not in leave_out]
        moving = [j for j in description.joints if j.kind != "fixed"]
        self.joints = tuple(j.name for j in moving if j.mimic is None)
        column = {name: i for i, name in enumerate(self.joints)}
        self.fixed = Transforms(
            tuple(j.parent for j in still), tuple(j.child for j in still),
            np.array([j.origin.xyz_m for j in still]).reshape(-1, 3), quaternion_from_rpy(np.array([j.origin.rpy_rad for j in still])),
        )
        self._parents, self._children = tuple(j.parent for j in moving), tuple(j.child for j in moving)
        self._translation = np.array([j.origin.xyz_m for j in moving]).reshape(-1, 3)
        self._origin = quaternion_from_rpy(np.array([j.origin.rpy_rad for j in moving]))
        axes = np.array([j.axis for j in moving], dtype=float).reshape(-1, 3)
        self._axis = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        self._slides = np.array([j.kind == "prismatic" for j in moving], dtype=bool)
        self._along = rotate(self._origin, self._axis)
        self._idx_source = np.array([column[j.mimic.joint if j.mimic else j.name] for j in moving], dtype=np.intp)
        self._multiplier = np.array([j.mimic.multiplier if j.mimic else 1.0 for j in moving])
        self._offset = np.array([j.mimic.offset_rad if j.mimic else 0.0 for j in moving])

    def moving(self, position_rad: dict[str, float]) -> Transforms:
        """Transforms of the joints whose position [rad, of a prismatic joint m] is known; one that is not known has no transform, never a zero one.

        Raises:
            JointNameError: a name is no actuated joint of this cell.
        """
        unknown = set(position_rad) - set(self.joints)
        if unknown:
            raise JointNameError("frame tree", tuple(position_rad), self.joints)
        actuated = np.array([position_rad.get(name, np.nan) for name in self.joints])
        angle = self._multiplier * actuated[self._idx_source] + self._offset
        known = np.flatnonzero(np.isfinite(angle))
        slide = self._slides[known, None]
        half = np.where(slide, 0.0, 0.5 * angle[known, None])
        turn = np.concatenate([np.sin(half) * self._axis[known], np.cos(half)], axis=1)
        return Transforms(
            tuple(self._parents[i] for i in known), tuple(self._children[i] for i in known),
            self._translation[known] + np.where(slide, angle[known, None], 0.0) * self._along[known], multiply(self._origin[known], turn),
        )
