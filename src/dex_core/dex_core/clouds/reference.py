# SPDX-License-Identifier: Apache-2.0
"""The geometry in NumPy: what the compiled kernel must give too, and its stand-in where there is no compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.fitting import normals
from dex_core.clouds.rays import Rays

__all__ = ["bounds", "farthest", "group", "inside", "means", "nearest", "normals", "unproject"]

name = "numpy"
CHUNK = 256
"""Queries answered together by ``nearest``."""
Floats = NDArray[np.float32]


def unproject(
    depth_m: Floats, rays: Rays, rgb: NDArray[np.uint8] | None, normals_: Floats | None,
) -> tuple[Floats, NDArray[np.uint8] | None, Floats | None, NDArray[np.int32]]:
    """(H, W) depth -> (N, 3) points [m], their colours, normals and pixels, row by row; a pixel without positive finite depth or ray is left out.

    The picture of normals may be overwritten.
    """
    depth, x, y = depth_m.ravel(), rays.x.ravel(), rays.y.ravel()
    pixels = np.flatnonzero((depth > 0.0) & (depth < np.inf) & (x == x)).astype(np.int32)
    z = depth[pixels]
    points = np.stack([x[pixels] * z, y[pixels] * z, z], axis=1)
    colours, directions = (None if v is None else v.reshape(-1, 3)[pixels] for v in (rgb, normals_))
    return points, colours, directions, pixels


def bounds(points_m: Floats) -> tuple[bool, Floats, Floats]:
    """Whether all (N, 3) points are finite; if so and there are some, their smallest and largest coordinates."""
    least, most = np.finfo(np.float32).min, np.finfo(np.float32).max
    return bool(np.isfinite(points_m).all()), points_m.min(axis=0, initial=most), points_m.max(axis=0, initial=least)


def inside(points_m: Floats, pose: Floats | None, low_m: Floats, high_m: Floats) -> NDArray[np.int64]:
    """Indices of the points inside the box; (3, 4) ``pose`` takes them to its frame."""
    x, y, z = points_m.T
    with np.errstate(invalid="ignore", over="ignore"):
        moved = (x, y, z) if pose is None else [a * x + b * y + c * z + d for a, b, c, d in pose]
    keep = np.ones(len(points_m), dtype=bool)
    for value, low, high in zip(moved, low_m, high_m, strict=True):
        keep &= (value >= low) & (value <= high)
    return np.flatnonzero(keep)


def group(points_m: Floats, size_m: float, low_m: Floats) -> tuple[NDArray[np.int32], int]:
    """(N, 3) finite points -> the voxel of each, numbered in the order of their first points, and how many there are."""
    scale = 1.0 / size_m
    cells = (np.floor(points_m.astype(np.float64) * scale) - np.floor(low_m.astype(np.float64) * scale)).astype(np.int64)
    keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    _, first, of_point = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[of_point.reshape(-1)], len(first)


def means(
    points_m: Floats, rgb: NDArray[np.uint8] | None, normals_: Floats | None, voxel: NDArray[np.int32], count: int,
) -> tuple[Floats, NDArray[np.uint8] | None, Floats | None]:
    """(N, 3) finite points and the voxel of each -> (M, 3) centroids, mean colours (halves up), mean normals of length 1."""
    many = np.bincount(voxel, minlength=count)[:, None]
    centres = (_sums(voxel, points_m, count) / many).astype(np.float32)
    colours = None if rgb is None else ((2 * _sums(voxel, rgb, count).astype(np.int64) + many) // (2 * many)).astype(np.uint8)
    if normals_ is None:
        return centres, colours, None
    x, y, z = turn = _sums(voxel, np.where(np.isfinite(normals_).all(axis=1, keepdims=True), normals_, np.float32(0.0)), count).T
    length = np.sqrt(x * x + y * y + z * z)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centres, colours, np.where(length > 0.0, turn / length, np.nan).T.astype(np.float32)


def _sums(voxel: NDArray[np.int32], values: NDArray, count: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(voxel, weights=values[:, axis], minlength=count) for axis in range(3)], axis=1)


def farthest(points_m: Floats, n: int, start: int) -> NDArray[np.int64]:
    """Indices of n points, each the farthest from those before it; the lowest index among equals."""
    x, y, z = np.ascontiguousarray(points_m.T)
    chosen = np.empty(n, dtype=np.int64)
    nearest_ = np.full(len(points_m), np.inf, dtype=np.float32)  # squared distance to the chosen ones; below zero: chosen
    for place in range(n):
        chosen[place] = start
        dx, dy, dz = x - x[start], y - y[start], z - z[start]
        np.minimum(nearest_, dx * dx + dy * dy + dz * dz, out=nearest_)
        nearest_[start] = -1.0
        start = int(nearest_.argmax())
    return chosen


def nearest(queries_m: Floats, points_m: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    """(Q, k) indices and distances [m], nearest first, the lower index among equals.

    Queries that lie together are answered together: with the k-th point at distance d from their centre, and the farthest of them at r, every
    answer lies within d + 2 r of it.
    """
    index, squared = np.empty((len(queries_m), k), dtype=np.int64), np.empty((len(queries_m), k), dtype=np.float32)
    for rows in _together(queries_m):
        some = queries_m[rows]
        centre = some.mean(axis=0)
        away = np.sqrt(((points_m - centre) ** 2).sum(axis=1))
        reach = float(np.partition(away, k - 1)[k - 1]) + 2.0 * float(np.sqrt(((some - centre) ** 2).sum(axis=1).max()))
        there = np.flatnonzero(away <= reach * (1.0 + 1e-5) + 1e-30)
        offset = some[:, None] - points_m[there]
        offset *= offset
        apart = offset[..., 0] + offset[..., 1] + offset[..., 2]
        order = np.argsort(apart, axis=1, kind="stable")[:, :k]
        index[rows], squared[rows] = there[order], np.take_along_axis(apart, order, axis=1)
    return index, np.sqrt(squared)


def _together(points_m: Floats) -> list[NDArray[np.intp]]:
    """Rows of the points in groups of at most CHUNK that lie together: halves along the longer axis."""
    todo, done = [np.arange(len(points_m))], []
    while todo:
        rows = todo.pop()
        if len(rows) <= CHUNK:
            done += [rows] if len(rows) else []
            continue
        some = points_m[rows]
        half, axis = len(rows) // 2, int(np.ptp(some, axis=0).argmax())
        order = np.argpartition(some[:, axis], half)
        todo += [rows[order[:half]], rows[order[half:]]]
    return done
