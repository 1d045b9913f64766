# SPDX-License-Identifier: Apache-2.0
"""The geometry in NumPy: what the compiled kernel must give too, and its stand-in where there is no compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import Rays
from dex_core.clouds.window import OFFSETS, Fit

NAME = "numpy"
CHUNK = 256
"""Queries answered together by ``nearest``."""
Floats = NDArray[np.float32]


def unproject(depth_m: Floats, rays: Rays, rgb: NDArray[np.uint8] | None) -> tuple[Floats, NDArray[np.uint8] | None, NDArray[np.int32]]:
    """(H, W) depth -> (N, 3) points [m], their colours and pixels, row by row; a pixel without positive finite depth or ray is left out."""
    depth, x, y = depth_m.ravel(), rays.x.ravel(), rays.y.ravel()
    pixels = np.flatnonzero((depth > 0.0) & (depth < np.inf) & (x == x)).astype(np.int32)
    z = depth[pixels]
    points = np.stack([x[pixels] * z, y[pixels] * z, z], axis=1)
    return points, None if rgb is None else rgb.reshape(-1, 3)[pixels], pixels


def normals(depth_m: Floats, rays: Rays, fit: Fit) -> Floats:
    """(H, W) depth -> (H, W, 3) unit normals towards the camera, NaN where there is none. See ``dex_core.clouds.normals``."""
    height, width = depth_m.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.where((depth_m > 0.0) & (depth_m < np.inf), np.float32(1.0) / depth_m, np.float32(np.nan))  # 1 / depth [1/m]
        reach = OFFSETS[-1] * fit.step
        padded = np.pad(near, reach, constant_values=np.nan)
        total = np.zeros((9, height, width), dtype=np.float32)
        for j in OFFSETS:
            for i in OFFSETS:
                rise = padded[reach + j * fit.step:, reach + i * fit.step:][:height, :width] - near
                seen = np.abs(rise) <= near * fit.slope_at(i, j) + np.float32(fit.noise_per_m)
                rise = np.where(seen, rise, np.float32(0.0))
                for sum_, term in zip(total, (1, i, j, i * i, i * j, j * j), strict=False):
                    sum_ += np.float32(term) * seen
                for sum_, term in zip(total[6:], (1, i, j), strict=True):
                    sum_ += np.float32(term) * rise
        return _normals_of(total, near, rays, fit)


def _normals_of(total: Floats, near: Floats, rays: Rays, fit: Fit) -> Floats:
    """(9, H, W) sums over the window -> normals: the plane of least squares in 1 / depth, which is linear in the rays."""
    n, i, j, ii, ij, jj, r, ir, jr = total
    a, b, c = n * ii - i * i, n * ij - i * j, n * jj - j * j  # whole numbers, exact
    p, q = n * ir - i * r, n * jr - j * r
    determinant = a * c - b * b
    along, down = (p * c - q * b) / determinant, (q * a - p * b) / determinant
    level = near + (r - along * i - down * j) / n  # 1 / depth of the plane at the pixel
    along, down = along / np.float32(fit.step), down / np.float32(fit.step)
    if rays.bend is None:
        slope_x, slope_y = along * np.float32(fit.fx), down * np.float32(fit.fy)
    else:
        slope_x, slope_y = rays.bend[0] * along + rays.bend[1] * down, rays.bend[2] * along + rays.bend[3] * down
    out = -np.stack([slope_x, slope_y, level - slope_x * rays.x - slope_y * rays.y], axis=-1)
    out /= np.sqrt((out * out).sum(axis=-1, keepdims=True))
    out[~((n >= fit.least) & (determinant > 0.0) & (level > 0.0)) | ~np.isfinite(out).all(axis=-1)] = np.nan
    return out


def group(points_m: Floats, size_m: float) -> tuple[NDArray[np.int32], int]:
    """(N, 3) finite points -> the voxel of each, numbered in the order of their first points, and how many there are."""
    cells = np.floor(points_m.astype(np.float64) * (1.0 / size_m)).astype(np.int64)
    cells -= cells.min(axis=0, initial=0)
    keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    _, first, of_point = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[of_point.reshape(-1)], len(first)


def voxels(
    points_m: Floats, rgb: NDArray[np.uint8] | None, normals_: Floats | None, size_m: float,
) -> tuple[Floats, NDArray[np.uint8] | None, Floats | None]:
    """(N, 3) finite points -> (M, 3) centroids, mean colours (halves up), mean normals of length 1."""
    of_point, count = group(points_m, size_m)
    many = np.bincount(of_point, minlength=count)
    centre = (_sums(of_point, points_m, count) / many[:, None]).astype(np.float32)
    colour = None if rgb is None else ((2.0 * _sums(of_point, rgb, count) + many[:, None]) // (2 * many[:, None])).astype(np.uint8)
    if normals_ is None:
        return centre, colour, None
    mean = _sums(of_point, np.where(np.isfinite(normals_).all(axis=1, keepdims=True), normals_, np.float32(0.0)), count)
    length = np.sqrt((mean * mean).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return centre, colour, np.where(length > 0.0, mean / length, np.nan).astype(np.float32)


def _sums(of_point: NDArray[np.int32], values: NDArray, count: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(of_point, weights=values[:, axis], minlength=count) for axis in range(3)], axis=1)


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
