# SPDX-License-Identifier: Apache-2.0
"""Which samples of a thing's surface lie outside: parts are sampled whole, also where they stick in each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 48
CELL_M = 0.0035
FLATTEST = 0.3
"""A sample is looked at from where its normal leans to by at least this cosine."""
CLEAR_M, REACH_M = 0.003, 0.006
"""Hidden: something within ``REACH_M`` beside the line of sight is nearer by more than ``CLEAR_M`` and what the slope explains."""


def outside(points_m: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(M,) whether a sample can be seen from any of ``DIRECTIONS`` far points around the thing.

    Args:
        points_m: (M, 3) samples, some millimetres apart. normals: (M, 3) outward, of the part.
    """
    seen = np.zeros(len(points_m), bool)
    for direction in _sphere(DIRECTIONS):
        across = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
        across /= np.linalg.norm(across)
        flat = points_m @ np.stack([across, np.cross(direction, across)], axis=1)
        cell = np.floor((flat - flat.min(axis=0)) / CELL_M).astype(int) + 1
        height, nearest = points_m @ direction, np.full(cell.max(axis=0) + 2, -np.inf)
        np.maximum.at(nearest, (cell[:, 0], cell[:, 1]), height)
        around = _largest_around(nearest)[cell[:, 0], cell[:, 1]]
        lean = normals @ direction
        slope = np.sqrt(np.maximum(1.0 - lean**2, 0.0)) / np.maximum(lean, FLATTEST)
        seen |= (lean > FLATTEST) & (around - height < CLEAR_M + REACH_M * slope)
    return seen


def _largest_around(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each cell and its eight neighbours; the border is empty."""
    rows = grid.copy()
    rows[1:] = np.maximum(rows[1:], grid[:-1])
    rows[:-1] = np.maximum(rows[:-1], grid[1:])
    out = rows.copy()
    out[:, 1:] = np.maximum(out[:, 1:], rows[:, :-1])
    out[:, :-1] = np.maximum(out[:, :-1], rows[:, 1:])
    return out


def _sphere(count: int) -> NDArray[np.float64]:
    """(count, 3) directions spread evenly (a spiral of golden angles)."""
    z = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    turn = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(count)
    return np.stack([np.sqrt(1.0 - z**2) * np.cos(turn), np.sqrt(1.0 - z**2) * np.sin(turn), z], axis=1)
