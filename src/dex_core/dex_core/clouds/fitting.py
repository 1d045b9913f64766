# SPDX-License-Identifier: Apache-2.0
"""Normals in NumPy: planes of least squares in 1 / depth, which is linear in the rays; halves of the window where the whole is no plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import Rays
from dex_core.clouds.window import BETTER, CREASE, HALVES, OFFSETS, OPPOSITE, SPARSE, Fit

Floats = NDArray[np.float32]
_U, _V = (axis.ravel() for axis in np.meshgrid(OFFSETS, OFFSETS))
PLACES = np.stack([np.ones_like(_U), _U, _V, _U * _U, _U * _V, _V * _V]).astype(np.float32)
"""(6, 25): what each sample's place adds to the sums of the fit."""


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
        whole = _fitted(rises, on, fit.least)
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


def _fitted(rises: Floats, on: NDArray[np.bool_], least: int) -> Planes:
    """Least squares over those of the (25, ...) samples that count."""
    n, i, j, ii, ij, jj = np.tensordot(PLACES, on.astype(np.float32), axes=1)
    risen = np.where(on, rises, np.float32(0.0)).reshape(5, 5, *rises.shape[1:])  # row, column
    rows = [_sum(row) for row in risen]
    r, ir, jr, rr = _sum(rows), _sum([_moment(row) for row in risen]), _moment(rows), _sum([_sum(row * row) for row in risen])
    a, b, c = n * ii - i * i, n * ij - i * j, n * jj - j * j  # whole numbers, exact
    p, q = n * ir - i * r, n * jr - j * r
    determinant = a * c - b * b
    inverse = np.float32(1.0) / determinant
    along, down = (p * c - q * b) * inverse, (q * a - p * b) * inverse
    level = (r - along * i - down * j) * (np.float32(1.0) / n)
    rest = rr - along * ir - down * jr - level * r
    variance = np.where(rest > 0.0, rest, np.float32(0.0)) * (np.float32(1.0) / (n - np.float32(3.0)))
    return Planes(along, down, level, variance, (n >= least) & (determinant > 0.0))


def _sum(five: Sequence[Floats]) -> Floats:
    a, b, c, d, e = five
    return ((a + e) + (b + d)) + c


def _moment(five: Sequence[Floats]) -> Floats:
    a, b, _, d, e = five
    return np.float32(2.0) * (e - a) + (d - b)


def _crease_level(variance: Floats, fit: Fit) -> np.float32:
    """The variance above which a window may hold a crease: twice the lower median of a sixteenth of the picture."""
    some = variance[::SPARSE, ::SPARSE]
    some = some[np.isfinite(some)]
    middle = (len(some) - 1) // 2
    level = CREASE * np.partition(some, middle)[middle] if len(some) else np.float32(0.0)
    return max(level, fit.level_floor)


def _halves(rises: Floats, on: NDArray[np.bool_], variance: Floats, least: int) -> Planes:
    """For (25, P) samples of folded windows: the half that is most of a plane; good where it is far more of one than the whole and its opposite."""
    best = variance * BETTER
    chosen = Planes(*(np.zeros_like(variance) for _ in range(4)), np.zeros(variance.shape, dtype=bool))
    halves = [_fitted(rises, on & _within(part)[:, None], least) for part in HALVES]
    for place, found in enumerate(halves):
        other = halves[place ^ 1]
        take = found.good & (found.variance < best) & (~other.good | (found.variance < OPPOSITE * other.variance))
        best = np.where(take, found.variance, best)
        chosen = Planes(*(np.where(take, new, old) for new, old in zip(found[:4], chosen[:4], strict=True)), chosen.good | take)
    return chosen


def _within(part: Sequence[int]) -> NDArray[np.bool_]:
    """(25,) which samples lie in one part of the window: first and last column, first and last row."""
    return np.array([part[0] <= column <= part[1] and part[2] <= row <= part[3] for row in OFFSETS for column in OFFSETS])


def _directions(plane: Planes, near: Floats, rays: Rays, fit: Fit, where: object) -> Floats:
    """Unit normals (..., 3) of the planes of the pixels ``where``; NaN where there is none."""
    x, y, level = rays.x[where], rays.y[where], near + plane.level
    per_step = np.float32(1.0 / fit.step)
    along, down = plane.along * per_step, plane.down * per_step
    if rays.bend is None:
        slope_x, slope_y = along * np.float32(fit.fx), down * np.float32(fit.fy)
    else:
        bend = [m[where] for m in rays.bend]
        slope_x, slope_y = bend[0] * along + bend[1] * down, bend[2] * along + bend[3] * down
    slope_z = level - slope_x * x - slope_y * y
    square = slope_x * slope_x + slope_y * slope_y + slope_z * slope_z
    good = plane.good & (level > 0.0) & (square > 0.0) & (square < np.inf)
    shrink = np.float32(-1.0) / np.sqrt(square)
    return np.stack([np.where(good, slope * shrink, np.float32(np.nan)) for slope in (slope_x, slope_y, slope_z)], axis=-1)
