# SPDX-License-Identifier: Apache-2.0
"""The ray of every pixel, computed once per camera."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics

KEPT = 4
"""Cameras whose rays are remembered; 640 x 480 with distortion takes 7 MB each."""
MISS_PX = 0.1
"""Farthest that a ray may land from its pixel when it is projected back; farther, the lens model has no inverse there."""
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Rays:
    """Rays through the pixel centres, as points at depth 1.

    Attributes:
        x, y: (H, W) float32; NaN where the lens model has no inverse.
        bend: (4, H, W) float32, the 2 x 2 matrix, row by row, that takes a gradient per pixel (along the row, down the column) to one over (x, y);
            None for a lens without distortion, where it is diag(fx, fy) everywhere.
    """

    x: Plane
    y: Plane
    bend: Plane | None


@functools.lru_cache(maxsize=KEPT)
def rays_of(intrinsics: Intrinsics) -> Rays:
    """Rays of every pixel of a picture with these intrinsics."""
    height, width = intrinsics.height, intrinsics.width
    column, row = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    if not any(intrinsics.distortion):
        x = np.broadcast_to((column - intrinsics.cx) / intrinsics.fx, (height, width))
        y = np.broadcast_to(((row - intrinsics.cy) / intrinsics.fy)[:, None], (height, width))
        return Rays(_kept(x), _kept(y), None)
    pixels = np.stack(np.meshgrid(column, row), axis=-1).reshape(-1, 1, 2)
    straight = _undistorted(pixels, intrinsics).reshape(height, width, 2)
    return Rays(_kept(straight[..., 0]), _kept(straight[..., 1]), _bend(straight))


def _undistorted(pixels: NDArray[np.float64], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(n, 1, 2) pixels -> (n, 2) points at depth 1, NaN where projecting them back misses the pixel."""
    matrix, lens = intrinsics.matrix, np.asarray(intrinsics.distortion, dtype=np.float64)
    points = cv2.undistortPoints(pixels, matrix, lens, None, np.eye(3), np.eye(3), _STOP).reshape(-1, 2)
    ahead = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    back = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), matrix, lens)[0].reshape(-1, 2)
    points[~(np.abs(back - pixels[:, 0]).max(axis=1) <= MISS_PX)] = np.nan
    return points


def _bend(straight: NDArray[np.float64]) -> Plane | None:
    """Inverse transposed Jacobian of (H, W, 2) points at depth 1 over (column, row); None for a picture too small to have one."""
    if min(straight.shape[:2]) < 2:
        return None
    down, along = np.gradient(straight, axis=(0, 1))
    (a, c), (b, d) = np.moveaxis(along, -1, 0), np.moveaxis(down, -1, 0)  # J = [[a, b], [c, d]]: rows x, y; columns u, v
    with np.errstate(invalid="ignore", divide="ignore"):
        return _kept(np.stack([d, -c, -b, a]) / (a * d - b * c))


def _kept(plane: NDArray[np.float64]) -> Plane:
    out = np.ascontiguousarray(plane, dtype=np.float32)
    out.setflags(write=False)
    return out
