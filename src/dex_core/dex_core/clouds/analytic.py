# SPDX-License-Identifier: Apache-2.0
"""Depth pictures of planes, spheres and boxes with their exact normals: what the benchmark and the tests measure against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clouds.rays import rays_of
from dex_core.devices.camera import Intrinsics


class View(NamedTuple):
    """What a camera sees of a surface.

    Attributes:
        depth_m: (H, W) float64, distance along z [m]; NaN beside the surface. normals: (H, W, 3) float64 in the optical frame, outward.
    """

    depth_m: NDArray[np.float64]
    normals: NDArray[np.float64]


def rays(camera: Intrinsics) -> NDArray[np.float64]:
    """(H, W, 3) points of the pixels' rays at depth 1."""
    known = rays_of(camera)
    return np.stack([known.x, known.y, np.ones_like(known.x)], axis=-1).astype(np.float64)


def plane(camera: Intrinsics, normal: ArrayLike, through_m: ArrayLike) -> View:
    """An endless plane; the normal is to point to the camera."""
    n = np.asarray(normal, dtype=np.float64)
    n, direction = n / np.linalg.norm(n), rays(camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (np.asarray(through_m, dtype=np.float64) @ n) / (direction @ n)
    return View(np.where(depth > 0.0, depth, np.nan), np.broadcast_to(n, direction.shape))


def sphere(camera: Intrinsics, centre_m: ArrayLike, radius_m: float) -> View:
    """A sphere in front of the camera."""
    centre, direction = np.asarray(centre_m, dtype=np.float64), rays(camera)
    along, square = direction @ centre, (direction * direction).sum(axis=-1)
    inside = along**2 - square * (centre @ centre - radius_m**2)
    depth = np.where(inside > 0.0, (along - np.sqrt(np.maximum(inside, 0.0))) / square, np.nan)
    return View(depth, (direction * depth[..., None] - centre) / radius_m)


def box(camera: Intrinsics, centre_m: ArrayLike, half_m: ArrayLike, axes: ArrayLike) -> View:
    """A box of half sizes ``half_m`` (3,) along the rows of ``axes`` (3, 3); the camera is outside."""
    turn, half = np.asarray(axes, dtype=np.float64), np.asarray(half_m, dtype=np.float64)
    origin, direction = -turn @ np.asarray(centre_m, dtype=np.float64), rays(camera) @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        faces = np.stack([(-half - origin) / direction, (half - origin) / direction])
    enter, leave = faces.min(axis=0), faces.max(axis=0)
    first, axis = enter.max(axis=-1), enter.argmax(axis=-1)
    side = np.sign(np.take_along_axis(direction, axis[..., None], axis=-1))
    return View(np.where((first < leave.min(axis=-1)) & (first > 0.0), first, np.nan), -side * turn[axis])


def nearest_of(*views: View) -> View:
    """All surfaces in one picture; the nearer hides the farther."""
    depth, normals = views[0]
    for other in views[1:]:
        ahead = np.isfinite(other.depth_m) & ~(depth <= other.depth_m)
        depth, normals = np.where(ahead, other.depth_m, depth), np.where(ahead[..., None], other.normals, normals)
    return View(depth, normals)


def angles_rad(found: NDArray, true: NDArray) -> NDArray[np.float64]:
    """Angles between two pictures of unit normals (..., 3) [rad]; NaN where one is unknown."""
    apart = np.linalg.norm(np.asarray(found, dtype=np.float64) - true, axis=-1)  # exact where an arc cosine is not: at small angles
    return 2.0 * np.arcsin(np.minimum(0.5 * apart, 1.0))
