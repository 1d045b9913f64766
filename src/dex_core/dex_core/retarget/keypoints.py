# SPDX-License-Identifier: Apache-2.0
"""21 keypoints of a human hand (order of MediaPipe and of dex-retargeting) and the frame of their palm."""
from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config import FINGERS
from dex_core.errors import DexError, ShapeError
from dex_core.types import Array, frozen_array

COUNT = 21
WRIST, INDEX_KNUCKLE, MIDDLE_KNUCKLE = 0, 5, 9
"""Rows; finger i of thumb, index, middle, ring, little has its four points at 1 + 4 i, from its root to its tip."""
SMALLEST_M = 1e-4
"""A palm with less than this between its points has no frame."""
_MANO_ROOTS = {"index": 1, "middle": 4, "little": 7, "ring": 10, "thumb": 13}


def tip_row(finger: str) -> int:
    """Row of a finger's tip."""
    return 4 + 4 * FINGERS.index(finger)


def phalanx_row(finger: str) -> int:
    """Row where a finger's middle phalanx begins (thumb: where its proximal one does)."""
    return tip_row(finger) - 2


def from_mano(joints_m: ArrayLike, tips_m: ArrayLike) -> Array:
    """(21, 3) keypoints from MANO's 16 joints and 5 tips.

    Args:
        joints_m: (16, 3) wrist, then three each of index, middle, little, ring, thumb.
        tips_m: (5, 3) thumb, index, middle, ring, little.
    """
    joints, tips = frozen_array(joints_m, (16, 3), "MANO joints"), frozen_array(tips_m, (5, 3), "MANO tips")
    out = np.empty((COUNT, 3))
    out[WRIST] = joints[0]
    for finger, first in _MANO_ROOTS.items():
        tip = tip_row(finger)
        out[tip - 3 : tip] = joints[first : first + 3]
        out[tip] = tips[FINGERS.index(finger)]
    return out


def checked(keypoints_m: ArrayLike) -> Array:
    """(T, 21, 3) of one hand or a track. Raises ShapeError and NonFiniteError with the place."""
    points = np.asarray(keypoints_m, dtype=float)
    if points.ndim not in (2, 3) or points.shape[-2:] != (COUNT, 3):
        raise ShapeError(f"keypoints: shape {points.shape}, expected ({COUNT}, 3) or (T, {COUNT}, 3)")
    return frozen_array(points.reshape(-1, COUNT, 3), (None, COUNT, 3), "keypoints")


def in_palm(points: Array, side: str) -> Array:
    """(T, 21, 3) keypoints seen from their own palm: origin at the wrist, +Z to the middle knuckle, +Y to the thumb's side on a right
    hand and away from it on a left hand, +X out of the palm.

    The plane through wrist, index and middle knuckle is the palm's, as in DexPilot and dex-retargeting; with three points it is exact.

    Args:
        points: (T, 21, 3) in any frame of the same handedness (not a mirrored picture).
        side: left or right.

    Raises:
        DexError: code ``degenerate``: the three points lie on a line.
    """
    along = points[:, MIDDLE_KNUCKLE] - points[:, WRIST]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    z = along / np.maximum(length, 1e-12)
    across = points[:, INDEX_KNUCKLE] - points[:, MIDDLE_KNUCKLE]
    across = across - np.sum(across * z, axis=1, keepdims=True) * z
    width = np.linalg.norm(across, axis=1, keepdims=True)
    flat = np.flatnonzero((length < SMALLEST_M) | (width < SMALLEST_M))
    if flat.size:
        raise DexError(f"keypoints of step {flat[0]}: wrist, index and middle knuckle lie on a line and span no palm", code="degenerate")
    y = (1.0 if side == "right" else -1.0) * across / width
    axes = np.stack([np.cross(y, z), y, z], axis=2)  # columns x, y, z
    return (points - points[:, :1]) @ axes


def finger_length_m(points: Array, finger: str) -> Array:
    """(T,) knuckle to tip of a finger along its bones [m]: the same however it is bent."""
    tip = tip_row(finger)
    return np.linalg.norm(np.diff(points[:, tip - 3 : tip + 1], axis=1), axis=2).sum(axis=1)
