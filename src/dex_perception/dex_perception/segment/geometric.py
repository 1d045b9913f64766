# SPDX-License-Identifier: Apache-2.0
"""A segmenter without a model: the table is taken away, and the region that holds the click is the object.

It is the baseline that a trained one has to beat, and what serves a cell without a bundle. Things that touch are one thing to it, and its confidence
knows whether the region could be a thing for a hand, not whether it is one thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import Cloud, nearest
from dex_core.errors import DexError
from dex_perception.segment.base import Clicks, Mask
from dex_perception.segment.growing import regions
from dex_perception.segment.table import off_table

NAME = "geometric"
LEAST_POINTS = 32
REACH_M, AGAINST_M = 0.02, 0.003
"""How far from the clicked point its object may begin: clicks land on the table's side of an edge. A negative click means the very place."""
CUBE_SPACINGS, LEAST_CUBE_M, MOST_CUBE_M = 2.0, 0.006, 0.02
LOGIT = 4.0
LARGEST_M, SMALLEST_POINTS = 0.5, 20
"""What is larger than a thing for one hand, or smaller than a few pixels, is doubted."""
DOUBT = 0.4


@dataclass(frozen=True)
class Regions:
    """An encoded cloud: ``region`` (N,) of every point, -1 on the table."""

    points_m: NDArray[np.float32]
    region: NDArray[np.int32]
    table: bool


class GeometricSegmenter:
    """Implements dex_perception.segment.base.Segmenter; ``previous`` masks are not used."""

    name = NAME

    def encode(self, cloud: Cloud, pose_camera_in_world: NDArray[np.float64]) -> Regions:
        """Table and regions, wherever they are seen from. Raises DexError ``depth_empty`` for less than 32 points."""
        points = cloud.points_m
        if len(points) < LEAST_POINTS:
            raise DexError(f"{len(points)} points; at least {LEAST_POINTS} are needed", code="depth_empty")
        standing = off_table(cloud)
        region = np.full(len(points), -1, dtype=np.int32)
        region[standing.off] = regions(points[standing.off], cube_of(points[standing.off]))
        return Regions(points, region, standing.found)

    def decode(self, encoded: Regions, clicks: Clicks, previous: Mask | None = None) -> Mask:
        """The regions of the positive clicks; where a negative click shares one, the nearer click wins each point."""
        chosen = {number for number in _clicked(encoded, clicks.points_m[clicks.positive], REACH_M) if number >= 0}
        inside = np.isin(encoded.region, list(chosen)) if chosen else np.zeros(len(encoded.region), dtype=bool)
        against = clicks.points_m[~clicks.positive]
        shared = chosen & set(_clicked(encoded, against, AGAINST_M))
        if shared:
            of = np.flatnonzero(np.isin(encoded.region, list(shared)))
            owner = nearest(encoded.points_m[of], clicks.points_m, 1).indices[:, 0]
            inside[of] = clicks.positive[owner]
        logits = np.where(inside, np.float32(LOGIT), np.float32(-LOGIT))
        return Mask(logits, _confidence(encoded.points_m[inside], split=bool(shared), table=encoded.table))


def cube_of(points_m: NDArray[np.float32]) -> float:
    """Edge of the cubes that regions grow by [m]: twice the usual spacing of the points, within limits."""
    if len(points_m) < 2:
        return LEAST_CUBE_M
    some = points_m[:: max(1, len(points_m) // 256)]
    spacing = float(np.median(nearest(some, points_m, 2).distances_m[:, 1]))
    return float(np.clip(CUBE_SPACINGS * spacing, LEAST_CUBE_M, MOST_CUBE_M))


def _clicked(encoded: Regions, clicks_m: NDArray[np.float32], reach_m: float) -> list[int]:
    """Region of each click: that of the nearest point off the table within reach, else -1."""
    off = np.flatnonzero(encoded.region >= 0)
    if not len(off) or not len(clicks_m):
        return [-1] * len(clicks_m)
    found = nearest(clicks_m, encoded.points_m[off], 1)
    numbers = encoded.region[off[found.indices[:, 0]]]
    return [int(n) if d <= reach_m else -1 for n, d in zip(numbers, found.distances_m[:, 0], strict=True)]


def _confidence(points_m: NDArray[np.float32], *, split: bool, table: bool) -> float:
    if not len(points_m):
        return 0.0
    size = float(np.ptp(points_m, axis=0).max())
    doubts = (size > LARGEST_M) + (len(points_m) < SMALLEST_POINTS) + split + (not table)
    return 0.9 * DOUBT ** int(doubts)
