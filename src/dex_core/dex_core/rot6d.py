# SPDX-License-Identifier: Apache-2.0
"""Poses as the nine columns of a ``wrist_pose`` slice, and rotations as six numbers: two columns or two rows of the matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.types import POSE_COLUMNS, Array

__all__ = [
    "POSE_COLUMNS", "pose_columns", "poses_from_columns", "rot6d_columns", "rot6d_rows", "rotation_from_columns", "rotation_from_rows",
    "tool_pose_columns", "tool_poses_from_columns",
]

LEAST_LENGTH = 0.3
"""A first direction shorter than this says nothing; of a second one, what is at right angles to the first must not be shorter than ``LEAST_SINE``."""
LEAST_SINE = 0.2


def _numbers(values: ArrayLike, tail: tuple[int, ...], what: str) -> Array:
    out = np.asarray(values, dtype=np.float64)
    if out.shape[out.ndim - len(tail):] != tail:
        raise ShapeError(f"{what}: shape {out.shape}, expected (..., {', '.join(map(str, tail))})")
    if not np.isfinite(out).all():
        raise NonFiniteError(f"{what}: {np.count_nonzero(~np.isfinite(out))} numbers that are not finite")
    return out


def rot6d_columns(rotation: ArrayLike) -> Array:
    """(..., 6) of (..., 3, 3): first column, then second column."""
    matrix = _numbers(rotation, (3, 3), "rotation")
    return np.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def rot6d_rows(rotation: ArrayLike) -> Array:
    """(..., 6) of (..., 3, 3): first row, then second row, as some datasets store it."""
    matrix = _numbers(rotation, (3, 3), "rotation")
    return np.concatenate([matrix[..., 0, :], matrix[..., 1, :]], axis=-1)


def rotation_from_columns(six: ArrayLike) -> Array:
    """(..., 3, 3) rotation nearest in direction to the first of two columns, the second made perpendicular to it.

    Raises:
        DexError: ``rotation``, a first column shorter than 0.3, or a second one that is too short or nearly parallel to it: no rotation is made up.
    """
    values = _numbers(six, (6,), "rotation in six numbers")
    a, b = values[..., :3], values[..., 3:]
    length = np.linalg.norm(a, axis=-1, keepdims=True)
    _refuse(length[..., 0] < LEAST_LENGTH, length[..., 0], f"first column is {{:.3f}} long; at least {LEAST_LENGTH} is needed")
    x = a / length
    across = b - np.sum(x * b, axis=-1, keepdims=True) * x
    rest = np.linalg.norm(across, axis=-1, keepdims=True)
    least = np.maximum(LEAST_LENGTH * LEAST_SINE, LEAST_SINE * np.linalg.norm(b, axis=-1))
    _refuse(rest[..., 0] < least, rest[..., 0], "second column is {:.3f} long at right angles to the first: nearly parallel to it, or too short")
    y = across / rest
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def rotation_from_rows(six: ArrayLike) -> Array:
    """(..., 3, 3) from first row and second row; raises as ``rotation_from_columns``."""
    return np.swapaxes(rotation_from_columns(six), -1, -2)


def pose_columns(poses: ArrayLike) -> Array:
    """(..., 9) ``POSE_COLUMNS`` of (..., 4, 4) homogeneous poses."""
    matrix = _numbers(poses, (4, 4), "poses")
    return np.concatenate([matrix[..., :3, 3], rot6d_columns(matrix[..., :3, :3])], axis=-1)


def poses_from_columns(columns: ArrayLike) -> Array:
    """(..., 4, 4) homogeneous poses, rotations orthonormal, of (..., 9) ``POSE_COLUMNS``.

    Raises:
        DexError: ``rotation``, six numbers that are no rotation. ShapeError, NonFiniteError: other shape, NaN or infinity.
    """
    values = _numbers(columns, (9,), "wrist poses")
    out = np.zeros((*values.shape[:-1], 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = rotation_from_columns(values[..., 3:]), values[..., :3], 1.0
    return out


def tool_pose_columns(tool: ArrayLike) -> Array:
    """(..., 9) of (..., 4) x, y, z [m] and yaw [rad] of a grasp frame whose fingers (+Z) point straight down and whose palm (+X) looks along yaw."""
    values = _numbers(tool, (4,), "tool poses")
    cosine, sine, zero = np.cos(values[..., 3]), np.sin(values[..., 3]), np.zeros(values.shape[:-1])
    return np.concatenate([values[..., :3], np.stack([cosine, sine, zero, sine, -cosine, zero], axis=-1)], axis=-1)


def tool_poses_from_columns(columns: ArrayLike) -> Array:
    """(..., 4) x, y, z, yaw of (..., 9) columns; yaw is the direction of the first column over the ground, a tilt is left out."""
    values = _numbers(columns, (9,), "wrist poses")
    return np.concatenate([values[..., :3], np.arctan2(values[..., 4], values[..., 3])[..., None]], axis=-1)


def _refuse(bad: np.ndarray, values: Array, text: str) -> None:
    if np.any(bad):
        index = tuple(int(i) for i in np.argwhere(np.atleast_1d(bad))[0])
        place = f"step {index[0]}: " if np.ndim(bad) else ""
        raise DexError(f"{place}{text.format(float(np.atleast_1d(values)[index]))}", code="rotation")
