# SPDX-License-Identifier: Apache-2.0
"""Normals in NumPy: planes of least squares in 1 / depth, which is linear in the rays; halves of the window where the whole is no plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import Rays
from dex_core.clouds.window import BETTER, CREASE, HALVES, OFFSETS, SPARSE, Fit

Floats = NDArray[np.float32]
WHOLE = (OFFSETS[0], OFFSETS[-1], OFFSETS[0], OFFSETS[-1])


class Planes(NamedTuple):
    """One plane per pixel, over (column, row) in samples and relative to the pixel's 1 / depth [1/m].

    Attributes:
        along, down, level, variance: (...) float32. good: (...) whether there is one.
    """

    along: Floats
    down: Floats
    level: Floats
    variance: Floats
    good: NDArray[np.bool_]


def normals(depth_m: Floats, rays: Rays, fit: Fit) -> Floats:
    """(H, W) depth -> (H, W, 3) unit normals towards the camera, NaN where there is none. See ``dex_core.clouds.normals``."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near = np.where((depth_m > 0.0) & (depth_m < np.inf), np.float32(1.0) / depth_m, np.float32(np.nan))  # 1 / depth [1/m]
        rises, on = _window(near, fit)
        whole = _fitted(rises, on, WHOLE, fit.least)
        variance = np.where(whole.good, whole.variance, np.float32(np.nan))
        out = _directions(whole, near, rays, fit, np.s_[:, :])
        folded = variance > _crease_level(variance, fit)
        chosen = _halves(rises[:, folded], on[:, folded], variance[folded], fit.least)
        found = _directions(chosen, near[folded], rays, fit, folded)
        rows, columns = (a[chosen.good] for a in np.nonzero(folded))
        out[rows, columns] = found[chosen.good]
        return out


def _window(near: Floats, fit: Fit) -> tuple[Floats, NDArray[np.bool_]]:
    """(25, H, W) rise of every sample over its pixel, and whether it can belong to the same surface."""
    height, width = near.shape
    reach = OFFSETS[-1] * fit.step
    padded = np.pad(near, reach, constant_values=np.nan)
    places = [(i, j) for j in OFFSETS for i in OFFSETS]
    rises = np.stack([padded[reach + j * fit.step:, reach + i * fit.step:][:height, :width] for i, j in places]) - near
    limits = np.stack([near * fit.slope_at(i, j) + np.float32(fit.noise_per_m) for i, j in places])
    return rises, np.abs(rises) <= limits


def _fitted(rises: Floats, on: NDArray[np.bool_], part: Sequence[int], least: int) -> Planes:
    """Least squares over the samples of one part of the window: first and last column, first and last row."""
    zero = np.zeros(rises.shape[1:], dtype=np.float32)
    n, i, j, ii, ij, jj, r, ir, jr, rr = (zero.copy() for _ in range(10))
    for row in range(part[2], part[3] + 1):
        counted, placed, spread, risen, moment = (zero.copy() for _ in range(5))
        for column in range(part[0], part[1] + 1):
            k = (row - OFFSETS[0]) * len(OFFSETS) + column - OFFSETS[0]
            seen, rise, at = on[k].astype(np.float32), np.where(on[k], rises[k], np.float32(0.0)), np.float32(column)
            counted += seen
            placed += at * seen
            spread += at * at * seen
            risen += rise
            moment += at * rise
            rr += rise * rise
        at = np.float32(row)
        for total, term in ((n, counted), (i, placed), (ii, spread), (j, at * counted), (ij, at * placed), (jj, at * at * counted)):
            total += term
        for total, term in ((r, risen), (ir, moment), (jr, at * risen)):
            total += term
    a, b, c = n * ii - i * i, n * ij - i * j, n * jj - j * j  # whole numbers, exact
    p, q = n * ir - i * r, n * jr - j * r
    determinant = a * c - b * b
    along, down = (p * c - q * b) / determinant, (q * a - p * b) / determinant
    level = (r - along * i - down * j) / n
    rest = rr - along * ir - down * jr - level * r
    variance = np.where(rest > 0.0, rest, np.float32(0.0)) / (n - np.float32(3.0))
    return Planes(along, down, level, variance, (n >= least) & (determinant > 0.0))


def _crease_level(variance: Floats, fit: Fit) -> np.float32:
    """The variance above which a window may hold a crease: twice the lower median of a sixteenth of the picture."""
    some = variance[::SPARSE, ::SPARSE]
    some = some[np.isfinite(some)]
    middle = (len(some) - 1) // 2
    level = CREASE * np.partition(some, middle)[middle] if len(some) else np.float32(0.0)
    return max(level, fit.level_floor)


def _halves(rises: Floats, on: NDArray[np.bool_], variance: Floats, least: int) -> Planes:
    """For (25, P) samples of folded windows: the half that is most of a plane; good where it is far more of one than the whole."""
    best = variance * BETTER
    chosen = Planes(*(np.zeros_like(variance) for _ in range(4)), np.zeros(variance.shape, dtype=bool))
    for part in HALVES:
        found = _fitted(rises, on, part, least)
        take = found.good & (found.variance < best)
        best = np.where(take, found.variance, best)
        chosen = Planes(*(np.where(take, new, old) for new, old in zip(found[:4], chosen[:4], strict=True)), chosen.good | take)
    return chosen


def _directions(plane: Planes, near: Floats, rays: Rays, fit: Fit, where: object) -> Floats:
    """Unit normals (..., 3) of the planes of the pixels ``where``; NaN where there is none."""
    x, y, level = rays.x[where], rays.y[where], near + plane.level
    along, down = plane.along / np.float32(fit.step), plane.down / np.float32(fit.step)
    if rays.bend is None:
        slope_x, slope_y = along * np.float32(fit.fx), down * np.float32(fit.fy)
    else:
        bend = [m[where] for m in rays.bend]
        slope_x, slope_y = bend[0] * along + bend[1] * down, bend[2] * along + bend[3] * down
    slope_z = level - slope_x * x - slope_y * y
    square = slope_x * slope_x + slope_y * slope_y + slope_z * slope_z
    good = plane.good & (level > 0.0) & (square > 0.0) & (square < np.inf)
    length = np.sqrt(square)
    return np.stack([np.where(good, -slope / length, np.float32(np.nan)) for slope in (slope_x, slope_y, slope_z)], axis=-1)
