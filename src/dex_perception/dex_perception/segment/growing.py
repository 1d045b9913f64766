# SPDX-License-Identifier: Apache-2.0
"""Regions grown over a cloud: points whose cubes touch belong together."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_AHEAD = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)], dtype=np.int64)
"""Half of the 26 neighbours of a cube; the other half is found from the other side."""
_SPAN = 1 << 20
THICK = 5
"""Of the 3 x 3 pixels around a point that must have points for it to join others."""


def regions(points_m: NDArray[np.float32], cube_m: float) -> NDArray[np.int32]:
    """(N,) number of each point's region, 0 upwards, largest region first.

    Two points are of one region when cubes of edge ``cube_m`` lead from one to the other, each touching the next by a face, an edge or a corner. So
    a gap along one axis is bridged below one cube, and never above two.

    Args:
        points_m: (N, 3) finite [m].
        cube_m: edge of a cube [m].
    """
    if not len(points_m):
        return np.zeros(0, dtype=np.int32)
    cells = np.floor(points_m / cube_m).astype(np.int64)
    cells -= cells.min(axis=0) - 1
    keys, of_point = np.unique(_key(cells), return_inverse=True)
    root = _joined(len(keys), _touching(keys))
    return _ranked(root[of_point.ravel()])


def picture_regions(points_m: NDArray[np.float32], pixels: NDArray[np.int32], size_hw: tuple[int, int], step_m: float) -> NDArray[np.int32]:
    """(N,) number of each point's region, 0 upwards, largest first; -1 for points that stand alone.

    Finer than ``regions``: points are joined when they are neighbours in the picture and near in space, and only where most of the 3 x 3 pixels
    around them have points too; noise makes bridges that are thinner. The others go with a neighbour that is joined.

    Args:
        points_m: (N, 3) [m]. pixels: (N,) row by row, of a picture of ``size_hw``.
        step_m: largest distance of neighbours [m]; twice that for the next but one.
    """
    height, width = size_hw
    at = np.full(height * width, -1, dtype=np.int64)
    at[pixels] = np.arange(len(points_m))
    there = (at >= 0).astype(np.float32).reshape(size_hw)
    thick = cv2.boxFilter(there, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT).reshape(-1)[pixels] >= THICK
    pairs = _neighbours(points_m, at.reshape(size_hw), step_m)
    root = _joined(len(points_m), pairs[thick[pairs].all(axis=1)])
    for a, b in ((0, 1), (1, 0)):
        edge = pairs[thick[pairs[:, a]] & ~thick[pairs[:, b]]]
        root[edge[:, b]] = root[edge[:, a]]
    kept = np.isin(root, root[thick]) if thick.any() else np.zeros(len(root), dtype=bool)
    number = np.full(len(root), -1, dtype=np.int32)
    number[kept] = _ranked(root[kept])
    return number


def _neighbours(points_m: NDArray[np.float32], at: NDArray[np.int64], step_m: float) -> NDArray[np.int64]:
    """(E, 2) pairs of points that are neighbours in the picture and in space."""
    height, width = at.shape
    pairs = []
    for down, along in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)):
        first = at[: height - down, max(0, -along) : width - max(0, along)].ravel()
        second = at[down:, max(0, along) : width + min(0, along)].ravel()
        both = (first >= 0) & (second >= 0)
        first, second = first[both], second[both]
        near = np.linalg.norm(points_m[first] - points_m[second], axis=1) <= step_m * max(down, abs(along))
        pairs.append(np.stack([first[near], second[near]], axis=1))
    return np.concatenate(pairs)


def _ranked(root: NDArray[np.int64]) -> NDArray[np.int32]:
    """Sets numbered by size, the largest 0."""
    _, of_root, size = np.unique(root, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), dtype=np.int32)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size), dtype=np.int32)
    return rank[of_root.ravel()]


def _key(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return (cells[..., 0] * _SPAN + cells[..., 1]) * _SPAN + cells[..., 2]


def _touching(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(E, 2) pairs of sorted cubes that touch."""
    pairs = []
    for step in _key(_AHEAD):
        wanted = keys + step
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        here = np.flatnonzero(keys[at] == wanted)
        pairs.append(np.stack([here, at[here]], axis=1))
    return np.concatenate(pairs)


def _joined(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(count,) smallest member of everyone's connected set: hooks to the smaller root, then shortens the paths, until nothing moves."""
    root = np.arange(count)
    while True:
        a, b = root[pairs[:, 0]], root[pairs[:, 1]]
        apart = a != b
        if not apart.any():
            return root
        pairs, a, b = pairs[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(shorter := root[root], root):
            root = shorter
