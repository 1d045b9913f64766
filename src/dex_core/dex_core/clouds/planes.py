# SPDX-License-Identifier: Apache-2.0
"""The largest plane of a cloud - the table - and the points that stand off it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clouds.checks import check_count, check_positive, checked
from dex_core.clouds.cloud import Cloud
from dex_core.errors import ShapeError

SCORED = 2048
"""Points, evenly spaced in their order, that hypotheses are scored on."""
FITTED = 16384
"""Points, evenly spaced in their order, that the plane is fitted to and judged by."""
REFINEMENTS = 4
SIDES = ("above", "off", "below")


@dataclass(frozen=True)
class Plane:
    """``normal . p + offset_m = 0``; the normal points to the side the origin, the camera, is on, or along ``up`` where that was given.

    Attributes:
        normal: (3,) float64 of length 1. offset_m: height of the origin above the plane [m].
        share: of the points within the tolerance. rms_m: root mean square of their distances [m].
    """

    normal: NDArray[np.float64]
    offset_m: float
    share: float
    rms_m: float

    def height_m(self, points_m: ArrayLike) -> NDArray[np.float32]:
        """(N,) signed distance of (N, 3) points [m], positive on the normal's side."""
        return np.asarray(points_m, dtype=np.float32) @ self.normal.astype(np.float32) + np.float32(self.offset_m)


@dataclass(frozen=True)
class WithoutPlane:
    """What ``remove_plane`` found.

    Attributes:
        cloud: the points that stay. plane: None where no plane holds enough of the points; then every point stays.
    """

    cloud: Cloud
    plane: Plane | None


def find_plane(
    points_m: ArrayLike, tolerance_m: float = 0.008, *, least_share: float = 0.2, up: ArrayLike | None = None, tilt_rad: float = math.radians(15.0),
    hypotheses: int = 128, seed: int = 0,
) -> Plane | None:
    """The plane that most points lie on, to within ``tolerance_m``: random triples, then least squares over the points it holds.

    Args:
        points_m: (N, 3) [m]; those that are not finite do not count.
        least_share: of the points that must lie on it, else there is none.
        up: (3,) direction the normal must keep to within ``tilt_rad``, in the cloud's frame; None: any, and then the origin is where the camera is.
        hypotheses, seed: how many triples are tried, and which; the same seed finds the same plane.

    Raises:
        ShapeError: a setting out of range.
    """
    check_positive(tolerance_m, "tolerance_m")
    check_count(hypotheses, 1, 1 << 16, "hypotheses", "triples of points")
    if not 0.0 < least_share <= 1.0:
        raise ShapeError(f"least_share: {least_share}; must lie above 0 and at most at 1")
    upright = _direction(up)
    points = checked(points_m, "points")
    points = points[:: -(-len(points) // FITTED) or 1]
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return None
    normals, offsets = _guesses(points, hypotheses, np.random.default_rng(seed))
    if upright is not None:
        good = np.abs(normals @ upright) >= math.cos(tilt_rad)
        normals, offsets = normals[good], offsets[good]
    if not len(normals):
        return None
    some = points[:: -(-len(points) // SCORED)]
    held = (np.abs(some @ normals.T + offsets) <= tolerance_m).sum(axis=0)
    best = int(held.argmax())
    plane = _refined(points, normals[best], float(offsets[best]), tolerance_m, upright)
    tilted = plane is not None and upright is not None and float(plane.normal @ upright) < math.cos(tilt_rad)
    return None if plane is None or tilted or plane.share < least_share else plane


def remove_plane(cloud: Cloud, tolerance_m: float = 0.008, *, keep: str = "above", plane: Plane | None = None, **search: object) -> WithoutPlane:
    """Takes away the largest plane, and the side of it that is not wanted.

    Args:
        cloud: seen from its origin, or in a frame whose ``up`` is given.
        tolerance_m: half the thickness of what is taken away [m].
        keep: ``above``: what stands off on the normal's side; ``off``: both sides; ``below``: the far side.
        plane: a known one, say of the frame before; None searches, with the further arguments of ``find_plane``.

    Raises:
        ShapeError: a setting out of range.
    """
    if keep not in SIDES:
        raise ShapeError(f"keep: {keep!r}; allowed are {list(SIDES)}")
    check_positive(tolerance_m, "tolerance_m")
    plane = plane if plane is not None else find_plane(cloud.points_m, tolerance_m, **search)  # type: ignore[arg-type]
    if plane is None:
        return WithoutPlane(cloud, None)
    height = plane.height_m(cloud.points_m)
    wanted = {"above": height > tolerance_m, "below": height < -tolerance_m, "off": np.abs(height) > tolerance_m}[keep]
    return WithoutPlane(cloud.select(wanted), plane)


def _direction(up: ArrayLike | None) -> NDArray[np.float64] | None:
    if up is None:
        return None
    direction = np.asarray(up, dtype=np.float64)
    if direction.shape != (3,) or not 0.0 < np.linalg.norm(direction) < np.inf:
        raise ShapeError(f"up: {direction.tolist()}; expected three numbers, not all zero")
    return direction / np.linalg.norm(direction)


def _guesses(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Planes through random triples: (G, 3) normals, (G,) offsets; triples on a line give none."""
    a, b, c = points[rng.integers(len(points), size=(3, count))].astype(np.float64)
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    good = length > 1e-12
    normal = normal[good] / length[good, None]
    return normal.astype(np.float32), -np.einsum("gc,gc->g", normal, a[good]).astype(np.float32)


def _refined(
    points: NDArray[np.float32], normal: NDArray, offset: float, tolerance_m: float, upright: NDArray[np.float64] | None,
) -> Plane | None:
    """Least squares over the points a plane holds, again until they stay the same."""
    normal, held = normal.astype(np.float64), None
    for _ in range(REFINEMENTS):
        before, held = held, np.abs(points @ normal.astype(np.float32) + np.float32(offset)) <= tolerance_m
        inside = points[held]
        if len(inside) < 3 or (before is not None and np.array_equal(before, held)):
            break
        centre = inside.mean(axis=0, dtype=np.float64)
        apart = inside - centre.astype(np.float32)
        spread, axes = np.linalg.eigh((apart.T @ apart).astype(np.float64))
        if spread[1] <= 1e-9 * max(spread[2], 1e-30):  # all on one line: no plane
            return None
        normal, offset = axes[:, 0], -float(axes[:, 0] @ centre)
    if (offset if upright is None else float(normal @ upright)) < 0.0:
        normal, offset = -normal, -offset
    distance = points @ normal.astype(np.float32) + np.float32(offset)
    held = np.abs(distance) <= tolerance_m
    if held.sum() < 3:
        return None
    return Plane(normal, offset, float(held.mean()), float(np.sqrt(np.mean(distance[held].astype(np.float64) ** 2))))
