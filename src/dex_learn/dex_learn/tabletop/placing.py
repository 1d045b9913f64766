# SPDX-License-Identifier: Apache-2.0
"""Where things stand: footprints (convex hulls from above) that do not overlap, so that nothing sticks in anything else."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_learn.tabletop.objects import Thing

Array = NDArray[np.float64]
TRIES = 40
HALVINGS = 7
SNUG_GAP_M = 0.0015
SNUG_SHARE = 0.3
"""Of the things that are pushed towards another one until they nearly touch."""


class Placed(NamedTuple):
    """A thing on the table: ``pose_in_world`` (4, 4), ``hull`` (K, 2) its footprint [m] around its own place, ``top_m`` its highest point."""

    thing: Thing
    pose_in_world: Array
    hull: Array
    top_m: float


def hull_of(points_xy: Array) -> Array:
    """(K, 2) corners of the convex hull."""
    return cv2.convexHull(points_xy.astype(np.float32))[:, 0].astype(np.float64)


def gap_m(first: Array, second: Array) -> float:
    """Largest gap between two convex outlines along the normal of any of their sides; negative: they overlap by so much."""
    best = -np.inf
    for a, b in ((first, second), (second, first)):
        side = np.roll(a, -1, axis=0) - a
        normals = np.stack([side[:, 1], -side[:, 0]], axis=1) / (np.linalg.norm(side, axis=1, keepdims=True) + 1e-12)
        reach_a, reach_b = a @ normals.T, b @ normals.T  # (K, S)
        gaps = np.maximum(reach_b.min(axis=0) - reach_a.max(axis=0), reach_a.min(axis=0) - reach_b.max(axis=0))
        best = max(best, float(gaps.max()))
    return best


def place_all(rng: np.random.Generator, things: list[Thing], middle_xy: Array, spread_m: float, low_xy: Array, high_xy: Array) -> list[Placed]:
    """Things about a middle, one after the other; what finds no free place after some tries is left out.

    Args:
        rng: of places and yaws.
        things: to place.
        middle_xy, spread_m: of the normal distribution of places [m].
        low_xy, high_xy: corners of the table's top [m].
    """
    placed: list[Placed] = []
    for thing in things:
        for attempt in range(TRIES):
            spot = np.clip(rng.normal(middle_xy, spread_m * (1.0 + 0.05 * attempt)), low_xy + 0.08, high_xy - 0.08)
            candidate = _stand(thing, rng.uniform(-np.pi, np.pi))
            if _free(candidate.hull + spot, placed):
                if placed and rng.random() < SNUG_SHARE:
                    spot = _push(candidate.hull, spot, placed, placed[rng.integers(len(placed))])
                candidate.pose_in_world[:2, 3] += spot
                placed.append(candidate._replace(hull=candidate.hull + spot))
                break
    return placed


def _stand(thing: Thing, yaw: float) -> Placed:
    """At rest at the world's origin."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ thing.turn
    vertices = thing.vertices @ turn.T
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = turn, -vertices[:, 2].min()
    return Placed(thing, pose, hull_of(vertices[:, :2]), float(np.ptp(vertices[:, 2])))


def _free(hull: Array, placed: list[Placed]) -> bool:
    return all(gap_m(hull, other.hull) >= SNUG_GAP_M for other in placed)


def _push(hull: Array, spot: Array, placed: list[Placed], towards: Placed) -> Array:
    """As near to another thing as there is room on the straight line."""
    near, far = spot, towards.pose_in_world[:2, 3]
    for _ in range(HALVINGS):
        half = 0.5 * (near + far)
        near, far = (half, far) if _free(hull + half, placed) else (near, half)
    return near
