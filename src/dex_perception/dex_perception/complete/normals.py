# SPDX-License-Identifier: Apache-2.0
"""Normals of a cloud that has none: planes through neighbours, turned outwards from what was seen on."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clouds import nearest

NEIGHBOURS = 16
PATHS = 8
"""Neighbours that the direction is handed on to."""
GRAZING = 0.3


def estimate(points_m: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> NDArray[np.float32]:
    """(N, 3) unit normals of either sign: the direction in which the ``neighbours`` nearest points spread least."""
    index = nearest(points_m, points_m, min(neighbours, len(points_m))).indices
    around = points_m[index].astype(float)
    around -= around.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    return vectors[:, :, 0].astype(np.float32)


def orient(points_m: NDArray[np.float32], normals: NDArray[np.float32], camera_m: ArrayLike, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(N, 3) the same normals, each or its reverse: seen points face the camera, the others go on from their neighbours.

    From point to neighbouring point the direction is handed on mirrored at the middle between them, as on a circle through both (Xie et al. 2003),
    which holds across sharp edges too, and where it fits best first (a spanning tree, Hoppe et al. 1992). What no path leads to faces away from
    the cloud's middle.

    Args:
        points_m: (N, 3). normals: (N, 3) of either sign. camera_m: (3,). seen: (N,) points that the camera saw.
    """
    given = normals.astype(float)
    index = nearest(points_m, points_m, min(PATHS + 1, len(points_m))).indices[:, 1:]
    fits = _fits(points_m.astype(float), given, index)
    sign = np.where(np.einsum("ni,ni->n", given, np.asarray(camera_m, dtype=float) - points_m) < 0.0, -1.0, 1.0)
    known = seen & _clear(points_m, given, camera_m)
    waiting = [(1.0 - abs(f), int(i), int(j), float(f)) for i in np.flatnonzero(known) for j, f in zip(index[i], fits[i], strict=True)]
    heapq.heapify(waiting)
    while waiting:
        _, i, j, fit = heapq.heappop(waiting)
        if known[j]:
            continue
        known[j], sign[j] = True, sign[i] if fit >= 0.0 else -sign[i]
        for k, f in zip(index[j], fits[j], strict=True):
            if not known[k]:
                heapq.heappush(waiting, (1.0 - abs(f), int(j), int(k), float(f)))
    away = np.einsum("ni,ni->n", given, points_m - points_m.mean(axis=0))
    return (given * np.where(known, sign, np.where(away < 0.0, -1.0, 1.0))[:, None]).astype(np.float32)


def _fits(points: NDArray[np.float64], normals: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, k) cosine between each neighbour's normal and the point's own, mirrored at the middle between them."""
    across = points[index] - points[:, None]
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-12)
    mirrored = normals[:, None] - 2.0 * np.einsum("nki,ni->nk", across, normals)[..., None] * across
    return np.einsum("nki,nki->nk", mirrored, normals[index])


def _clear(points_m: NDArray[np.float32], normals: NDArray[np.float64], camera_m: ArrayLike) -> NDArray[np.bool_]:
    """(N,) points whose plane does not contain the line of sight: of the others the sign that faces the camera is chance."""
    towards = np.asarray(camera_m, dtype=float) - points_m
    return np.abs(np.einsum("ni,ni->n", normals, towards)) > GRAZING * np.linalg.norm(towards, axis=1)
