# SPDX-License-Identifier: Apache-2.0
"""Points before a camera into its picture, lens distortion included, and which of them it can see at all."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics

Array = NDArray[np.float64]
NEAREST_M = 0.01
"""Nearer to the camera's plane, or behind it, a point has no place in the picture."""
FOLD = 1e-3
"""A point whose pixel leads back to another ray (by this much at depth 1) lies where the lens model folds over: it is not in view."""
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)


class Projection(NamedTuple):
    """Where n points are in a picture.

    Attributes:
        uv: (n, 2) pixels, centres at integers; NaN where the camera cannot see the point whatever the size of its picture.
        inside: (n,) whether it lies in the picture.
    """

    uv: Array
    inside: NDArray[np.bool_]


def project(points_m: Array, intrinsics: Intrinsics) -> Projection:
    """(n, 3) points in the optical frame (z ahead, x right, y down) [m] -> their pixels."""
    points = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
    uv = np.full((len(points), 2), np.nan)
    ahead = points[:, 2] > NEAREST_M
    straight = points[ahead, :2] / points[ahead, 2:]
    i = intrinsics
    uv[ahead] = _distorted(straight, i) if i.distorted else straight * (i.fx, i.fy) + (i.cx, i.cy)
    with np.errstate(invalid="ignore"):
        inside = ((uv >= -0.5) & (uv < np.array((i.width, i.height)) - 0.5)).all(axis=1)
    return Projection(uv, inside)


def _distorted(straight: Array, intrinsics: Intrinsics) -> Array:
    """(n, 2) points at depth 1 -> pixels; NaN where the lens model folds over."""
    if not len(straight):
        return straight
    matrix, lens = intrinsics.matrix, np.asarray(intrinsics.distortion)
    at_depth_1 = np.concatenate([straight, np.ones((len(straight), 1))], axis=1)
    uv = cv2.projectPoints(at_depth_1, np.zeros(3), np.zeros(3), matrix, lens)[0].reshape(-1, 2)
    back = cv2.undistortPoints(uv.reshape(-1, 1, 2), matrix, lens, None, np.eye(3), np.eye(3), _STOP).reshape(-1, 2)
    uv[~(np.abs(back - straight).max(axis=1) <= FOLD)] = np.nan
    return uv
