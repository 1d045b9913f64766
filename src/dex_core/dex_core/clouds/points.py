# SPDX-License-Identifier: Apache-2.0
"""Points without a picture: voxels, neighbours, samples, distances between clouds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clouds import engine
from dex_core.clouds.checks import check_count, check_positive, checked
from dex_core.clouds.cloud import Cloud
from dex_core.errors import ShapeError

MOST_VOXELS = 1 << 21
"""Along one axis: three such numbers fill one key."""
FARTHEST = 1 << 24
"""Voxels from the origin: float32 counts no farther."""
NEAR = 1e-8
"""Added to squared distances before they are inverted, as Point-SAM and PointNet++ do."""


class Neighbours(NamedTuple):
    """Nearest points of every query, nearest first, the lower index among equals.

    Attributes:
        indices: (Q, k) int64 into the points. distances_m: (Q, k) float32 [m].
    """

    indices: NDArray[np.int64]
    distances_m: NDArray[np.float32]


def voxel_grid(cloud: Cloud, size_m: float) -> Cloud:
    """One point per occupied cube of a grid through the origin: centroid, mean colour, mean normal; in the order of the cubes' first points.

    Points that are not finite are left out. The result knows no pixels.

    Raises:
        ShapeError: a size that is not positive, or points over more than 2^21 cubes along an axis, or more than 2^24 from the origin.
    """
    size_m = check_positive(size_m, "size of a voxel")
    finite, low, high = engine.current().bounds(checked(cloud.points_m, "cloud"))
    if not finite:
        cloud = cloud.select(np.isfinite(cloud.points_m).all(axis=1))
        _, low, high = engine.current().bounds(cloud.points_m)
    _check_spread(low, high, size_m)
    parts = [None if part is None else np.ascontiguousarray(part) for part in (cloud.points_m, cloud.rgb, cloud.normals)]
    return Cloud(*engine.current().means(*parts, *engine.current().group(parts[0], size_m, low)))


def voxel_groups(points_m: ArrayLike, size_m: float) -> tuple[NDArray[np.int32], int]:
    """The voxel of every point (N,), numbered as ``voxel_grid`` orders them, and how many there are.

    Raises:
        ShapeError, NonFiniteError: as ``voxel_grid``, and for points that are not finite.
    """
    size_m, points = check_positive(size_m, "size of a voxel"), checked(points_m, "points", finite=True)
    _, low, high = engine.current().bounds(points)
    _check_spread(low, high, size_m)
    return engine.current().group(points, size_m, low)


def farthest_points(points_m: ArrayLike, n: int, start: int = 0) -> NDArray[np.int64]:
    """(n,) indices of points, each the farthest from those before it, ``start`` first; no index twice, the lowest among equals.

    Raises:
        ShapeError: more are asked for than there are, or no such start. NonFiniteError: a point is not finite.
    """
    points = checked(points_m, "points", finite=True)
    n = check_count(n, 0, len(points), "farthest points", f"{len(points)} points")
    if n:
        check_count(start, 0, len(points) - 1, "start", f"{len(points)} points")
    return engine.current().farthest(points, n, int(start))


def nearest(queries_m: ArrayLike, points_m: ArrayLike, k: int = 1) -> Neighbours:
    """The ``k`` nearest points of every query, exactly.

    Raises:
        ShapeError: fewer points than ``k``. NonFiniteError: a coordinate is not finite.
    """
    queries, points = checked(queries_m, "queries", finite=True), checked(points_m, "points", finite=True)
    k = check_count(k, 1, len(points), "neighbours", f"{len(points)} points")
    return Neighbours(*engine.current().nearest(queries, points, k))


def interpolate(queries_m: ArrayLike, points_m: ArrayLike, values: ArrayLike, k: int = 3) -> NDArray[np.float32]:
    """Values of the points carried to the queries: mean of the ``k`` nearest (of all, if there are fewer), weighted by 1 / (distance^2 + 1e-8).

    Args:
        queries_m, points_m: (Q, 3), (N, 3) [m]; the constant counts in the square of their unit.
        values: (N,) or (N, C).

    Returns:
        (Q,) or (Q, C) float32.

    Raises:
        ShapeError: other numbers of values than points, or no points. NonFiniteError: a coordinate is not finite.
    """
    table = np.asarray(values, dtype=np.float32)
    points = checked(points_m, "points")
    if table.ndim not in (1, 2) or len(table) != len(points):
        raise ShapeError(f"values: shape {table.shape}, expected ({len(points)},) or ({len(points)}, channels)")
    found = nearest(queries_m, points, min(k, len(points)) if k > 0 else k)
    weights = 1.0 / (found.distances_m * found.distances_m + np.float32(NEAR))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("qk,qk...->q...", weights, table[found.indices])


def chamfer_m(a_m: ArrayLike, b_m: ArrayLike) -> float:
    """Mean distance to the nearest point of the other cloud, averaged over both directions [m]; the L1 form of the completion literature.

    Raises:
        ShapeError: an empty cloud. NonFiniteError: a coordinate is not finite.
    """
    return 0.5 * float(nearest(a_m, b_m).distances_m.mean(dtype=np.float64) + nearest(b_m, a_m).distances_m.mean(dtype=np.float64))


def f_score(a_m: ArrayLike, b_m: ArrayLike, within_m: float) -> float:
    """Harmonic mean of the shares of each cloud that lie within ``within_m`` of the other; 0 to 1.

    Raises:
        ShapeError: an empty cloud, or a distance that is not positive. NonFiniteError: a coordinate is not finite.
    """
    limit = check_positive(within_m, "within_m")
    precision, recall = (float((nearest(x, y).distances_m <= limit).mean()) for x, y in ((a_m, b_m), (b_m, a_m)))
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def surface_distance_m(queries_m: ArrayLike, surface_m: ArrayLike, normals: ArrayLike) -> NDArray[np.float32]:
    """(Q,) signed distances to a surface given by samples and their outward normals [m]; positive outside.

    Each is measured to the tangent plane of the nearest sample: as exact as the samples are dense, and never farther than the sample itself.

    Raises:
        ShapeError: other numbers of normals than samples, or no samples. NonFiniteError: a number is not finite.
    """
    queries, surface, directions = (checked(v, w, finite=True) for v, w in ((queries_m, "queries"), (surface_m, "surface"), (normals, "normals")))
    if len(directions) != len(surface):
        raise ShapeError(f"normals: {len(directions)} for {len(surface)} samples of the surface")
    index = nearest(queries, surface).indices[:, 0]
    return np.einsum("qc,qc->q", queries - surface[index], directions[index])


def _check_spread(low_m: NDArray[np.float32], high_m: NDArray[np.float32], size_m: float) -> None:
    spread = float((high_m.astype(np.float64) - low_m).max())  # below zero without points
    far = float(np.maximum(-low_m.astype(np.float64), high_m).max())
    if far / size_m > FARTHEST:
        raise ShapeError(f"voxels of {size_m} m at {far:.3g} m: more than {FARTHEST} of them away, where float32 cannot tell one from the next")
    if spread / size_m >= MOST_VOXELS - 2:
        raise ShapeError(f"voxels of {size_m} m over {spread:.3g} m: more than {MOST_VOXELS} along one axis")
