# SPDX-License-Identifier: Apache-2.0
"""What the functions of this package ask of their arguments, with the words of refusal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import NonFiniteError, ShapeError


def checked(points_m: ArrayLike, where: str, *, finite: bool = False) -> NDArray[np.float32]:
    """(N, 3) contiguous float32 [m].

    Raises:
        ShapeError: another shape. NonFiniteError: ``finite`` is asked for and a number is not; named by its place.
    """
    points = np.ascontiguousarray(points_m, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"{where}: shape {points.shape}, expected (points, 3)")
    if finite:
        good = np.isfinite(points)
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise NonFiniteError(f"{where}: {points[row, column]} at point {row}; every coordinate must be finite")
    return points


def check_depth(depth_m: NDArray, intrinsics: Intrinsics) -> NDArray[np.float32]:
    """(H, W) contiguous float32 [m] of the size the intrinsics are for. Raises ShapeError."""
    expected = (intrinsics.height, intrinsics.width)
    if np.shape(depth_m) != expected or np.asarray(depth_m).dtype.kind != "f":
        got = f"{np.asarray(depth_m).dtype} {np.shape(depth_m)}"
        raise ShapeError(f"depth: {got}, expected float {expected} in metres as the intrinsics say")
    return np.ascontiguousarray(depth_m, dtype=np.float32)


def check_picture(rgb: NDArray, intrinsics: Intrinsics) -> NDArray[np.uint8]:
    """(H, W, 3) contiguous uint8 of the size the intrinsics are for. Raises ShapeError."""
    expected = (intrinsics.height, intrinsics.width, 3)
    if np.shape(rgb) != expected or np.asarray(rgb).dtype != np.uint8:
        raise ShapeError(f"colour: {np.asarray(rgb).dtype} {np.shape(rgb)}, expected uint8 {expected} as the intrinsics say")
    return np.ascontiguousarray(rgb)


def check_pose(pose: ArrayLike, where: str) -> NDArray[np.float64]:
    """(4, 4) rigid transform. Raises ShapeError, NonFiniteError."""
    matrix = np.asarray(pose, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ShapeError(f"{where}: shape {matrix.shape}, expected (4, 4)")
    if not np.isfinite(matrix).all():
        raise NonFiniteError(f"{where}: not finite")
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-4 or np.linalg.det(rotation) < 0.0 or np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise ShapeError(f"{where}: no rigid transform: {matrix.tolist()}")
    return matrix


def check_box(low_m: ArrayLike, high_m: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both corners (3,), low at most high. Raises ShapeError."""
    low, high = np.asarray(low_m, dtype=np.float32), np.asarray(high_m, dtype=np.float32)
    if low.shape != (3,) or high.shape != (3,) or not (low <= high).all():
        raise ShapeError(f"box from {low.tolist()} to {high.tolist()}: expected three numbers each, low at most high")
    return low, high


def check_positive(value: float, where: str, unit: str = "m") -> float:
    """A finite number above zero. Raises ShapeError."""
    if not 0.0 < value < np.inf:
        raise ShapeError(f"{where}: {value} {unit}; must be above zero and finite")
    return float(value)


def check_count(count: int, least: int, most: int, where: str, of: str) -> int:
    """A whole number from ``least`` to ``most``. Raises ShapeError."""
    if count != int(count) or not least <= count <= most:
        raise ShapeError(f"{where}: {count} asked for; {of}: allowed are {least} to {most}")
    return int(count)
