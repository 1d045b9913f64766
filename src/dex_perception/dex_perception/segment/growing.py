# SPDX-License-Identifier: Apache-2.0
"""Regions grown over a cloud: points whose cubes touch belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AHEAD = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)], dtype=np.int64)
"""Half of the 26 neighbours of a cube; the other half is found from the other side."""
_SPAN = 1 << 20


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
    _, of_root, size = np.unique(root[of_point.ravel()], return_inverse=True, return_counts=True)
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
