# SPDX-License-Identifier: Apache-2.0
"""Rotations in the forms that servers use: two columns, two rows, a rotation vector, a quaternion."""

from __future__ import annotations

import numpy as np

from dex_core.errors import DexError
from dex_core.rot6d import rot6d_columns, rot6d_rows, rotation_from_columns, rotation_from_rows
from dex_core.types import Array

QUATERNION_TOLERANCE = 0.1
"""A quaternion whose length is further from 1 says no rotation: nothing is made up."""
SMALL_ANGLE = 1e-6


def rotation_from_vector(vector: Array) -> Array:
    """(..., 3, 3) of (..., 3) rotation vectors [rad] (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(np.asarray(vector, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    small = angle < SMALL_ANGLE
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1.0, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1.0 - np.cos(safe)) / safe**2)
    return np.eye(3) + first * cross + second * (cross @ cross)


def vector_of(rotation: Array) -> Array:
    """(..., 3) rotation vectors [rad], no longer than pi, of (..., 3, 3)."""
    quaternion = quaternion_of(rotation)
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(length, w)
    return np.where(length < SMALL_ANGLE, 2.0 * axis, angle * axis / np.where(length < SMALL_ANGLE, 1.0, length))


def rotation_from_quaternion(quaternion: Array) -> Array:
    """(..., 3, 3) of (..., 4) x, y, z, w. Raises DexError ``rotation`` for one whose length is not near 1."""
    length = np.linalg.norm(quaternion, axis=-1)
    if np.any(np.abs(length - 1.0) > QUATERNION_TOLERANCE):
        worst = float(np.ravel(length)[int(np.argmax(np.abs(np.ravel(length) - 1.0)))])
        raise DexError(f"a quaternion is {worst:.3f} long; allowed {1 - QUATERNION_TOLERANCE} to {1 + QUATERNION_TOLERANCE}", code="rotation")
    x, y, z, w = np.moveaxis(quaternion / length[..., None], -1, 0)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, axis=-1).reshape(*x.shape, 3, 3)


def quaternion_of(rotation: Array) -> Array:
    """(..., 4) x, y, z, w with w >= 0 of (..., 3, 3), by the largest of the four (Shepperd): exact at any angle."""
    m = np.asarray(rotation, dtype=np.float64)
    d = np.moveaxis(np.diagonal(m, axis1=-2, axis2=-1), -1, 0)  # (3, ...)
    squares = np.stack([1 + 2 * d[i] - d.sum(axis=0) for i in range(3)] + [1 + d.sum(axis=0)], axis=-1)  # four times the square of x, y, z, w
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    candidates = np.stack([np.stack(row, axis=-1) for row in (
        (squares[..., 0], xy, xz, a), (xy, squares[..., 1], yz, b), (xz, yz, squares[..., 2], c), (a, b, c, squares[..., 3]),
    )], axis=-2)  # (..., 4, 4), each row the quaternion up to its length
    chosen = np.take_along_axis(candidates, np.argmax(squares, axis=-1)[..., None, None], axis=-2)[..., 0, :]
    unit = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    return np.where(unit[..., 3:] < 0.0, -unit, unit)


TO_MATRIX = {
    "rot6d_columns": rotation_from_columns, "rot6d_rows": rotation_from_rows, "rotvec": rotation_from_vector, "quat_xyzw": rotation_from_quaternion,
}
"""Form -> function of (..., n) numbers that gives (..., 3, 3)."""
FROM_MATRIX = {"rot6d_columns": rot6d_columns, "rot6d_rows": rot6d_rows, "rotvec": vector_of, "quat_xyzw": quaternion_of}
"""Form -> function of (..., 3, 3) that gives (..., n) numbers."""
