# SPDX-License-Identifier: Apache-2.0
"""Small algebra of poses: 4x4 matrices, rotation vectors, roll-pitch-yaw."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import ShapeError
from dex_core.types import Array


def pose(rotation_vector: ArrayLike, position_m: ArrayLike) -> Array:
    """(4, 4) from a rotation vector [rad] and a position [m]."""
    out = np.eye(4)
    out[:3, :3] = rotation(rotation_vector)
    out[:3, 3] = np.asarray(position_m, dtype=float).reshape(3)
    return out


def rotation(vector: ArrayLike) -> Array:
    """(3, 3) of a rotation vector [rad]."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, dtype=float).reshape(3, 1))[0])


def rotation_vector(matrix: ArrayLike) -> Array:
    """(3,) rotation vector [rad] of a (3, 3) or (4, 4) matrix."""
    return np.asarray(cv2.Rodrigues(np.ascontiguousarray(np.asarray(matrix, dtype=float)[:3, :3]))[0]).reshape(3)


def inverse(matrix: ArrayLike) -> Array:
    """(4, 4) inverse of a rigid pose."""
    m = np.asarray(matrix, dtype=float)
    out = np.eye(4)
    out[:3, :3] = m[:3, :3].T
    out[:3, 3] = -m[:3, :3].T @ m[:3, 3]
    return out


def nearest_rotation(matrix: ArrayLike) -> Array:
    """(3, 3) rotation nearest to a matrix (Frobenius norm)."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, dtype=float))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def angle(a: ArrayLike, b: ArrayLike) -> float:
    """Angle between the rotations of two poses [rad]."""
    return float(np.linalg.norm(rotation_vector(np.asarray(a)[:3, :3].T @ np.asarray(b)[:3, :3])))


def distance(a: ArrayLike, b: ArrayLike) -> float:
    """Distance between the origins of two poses [m]."""
    return float(np.linalg.norm(np.subtract(np.asarray(a)[:3, 3], np.asarray(b)[:3, 3])))


def mean_pose(poses: ArrayLike) -> Array:
    """(4, 4) mean of (n, 4, 4) poses: positions averaged, rotations in the chordal sense."""
    many = np.asarray(poses, dtype=float)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = nearest_rotation(many[:, :3, :3].mean(axis=0)), many[:, :3, 3].mean(axis=0)
    return out


def from_xyz_rpy(xyz_m: ArrayLike, rpy_rad: ArrayLike) -> Array:
    """(4, 4) as URDF means it: R = Rz Ry Rx."""
    roll, pitch, yaw = np.asarray(rpy_rad, dtype=float)
    out = np.eye(4)
    out[:3, :3] = rotation((0, 0, yaw)) @ rotation((0, pitch, 0)) @ rotation((roll, 0, 0))
    out[:3, 3] = np.asarray(xyz_m, dtype=float)
    return out


def to_rpy(matrix: ArrayLike) -> tuple[float, float, float]:
    """Roll, pitch, yaw [rad] of a (3, 3) or (4, 4) matrix as URDF means them; pitch in [-pi/2, pi/2]."""
    r = np.asarray(matrix, dtype=float)
    level = math.hypot(r[0, 0], r[1, 0])
    if level < 1e-9:  # straight up or down: roll and yaw turn about one axis, all of it is put into yaw
        return 0.0, math.atan2(-r[2, 0], level), math.atan2(-r[0, 1], r[1, 1])
    return math.atan2(r[2, 1], r[2, 2]), math.atan2(-r[2, 0], level), math.atan2(r[1, 0], r[0, 0])


def checked_pose(matrix: ArrayLike, where: str) -> Array:
    """The (4, 4) itself, read-only. Raises ShapeError where it is no rigid pose."""
    out = np.array(matrix, dtype=float)
    rigid = out.shape == (4, 4) and np.isfinite(out).all() and np.allclose(out[3], (0, 0, 0, 1)) \
        and np.allclose(out[:3, :3] @ out[:3, :3].T, np.eye(3), atol=1e-6) and np.linalg.det(out[:3, :3]) > 0.0
    if not rigid:
        raise ShapeError(f"{where}: no rigid pose (4x4, finite, rotation orthonormal within 1e-6): {out.tolist()}")
    out.setflags(write=False)
    return out
