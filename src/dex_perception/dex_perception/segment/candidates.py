# SPDX-License-Identifier: Apache-2.0
"""The separate things in view and what can be told of each without a model: colours, sizes, shape, and how it lies among the others."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import nearest
from dex_perception.segment.found import view_normals
from dex_perception.segment.growing import picture_regions
from dex_perception.segment.view import View

VERSION = "things_v1"
"""Changes with any change of the numbers below: a picker trained with others refuses these."""
LEAST_POINTS, MOST_THINGS = 40, 24
STEP_PIXELS, STEP_M = 1.5, 0.004
"""How far neighbouring pixels of one thing lie apart: a surface seen at an angle, and noise."""
HUES, GREYS, LAYERS, RINGS, TILTS = 12, 4, 6, 6, 4
COLOURFUL = 0.22
"""Saturation times value from which a pixel counts as coloured."""
RELATIONS = 6
FEATURES = 2 * (HUES + GREYS) + 3 + 6 + LAYERS + RINGS + TILTS + 4 + RELATIONS


@dataclass(frozen=True)
class Things:
    """Candidates of one view, largest first.

    Attributes:
        members: indices into the view's cloud, one array per thing.
        features: (T, FEATURES) float32.
        clicks_m: (T, 3) a point on each, near its visible middle, world frame [m].
    """

    members: tuple[NDArray[np.intp], ...]
    features: NDArray[np.float32]
    clicks_m: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.members)


def things_in(view: View) -> Things:
    """What stands off the table, thing by thing: those that touch are one."""
    off = np.flatnonzero(view.standing.off)
    number = picture_regions(view.cloud.points_m[off], view.cloud.pixels[off], view.size_hw, STEP_PIXELS * view.pixel_size_m + STEP_M)
    sizes = np.bincount(number[number >= 0], minlength=1)[:MOST_THINGS]
    order = np.argsort(number, kind="stable")[np.count_nonzero(number < 0) :]
    members = tuple(off[part] for part in np.split(order, np.cumsum(sizes))[: len(sizes)] if len(part) >= LEAST_POINTS)
    if not members:
        return Things((), np.zeros((0, FEATURES), np.float32), np.zeros((0, 3), np.float32))
    normals = view_normals(view)
    own = np.array([_of_one(view, part, normals) for part in members], dtype=np.float32)
    clicks = np.array([_click(view.cloud.points_m[part]) for part in members], dtype=np.float32)
    return Things(members, np.concatenate([own, _relations(view, members)], axis=1).astype(np.float32), clicks)


def _click(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The point nearest to the middle of a thing; of an open one it lies on the wall."""
    return points[nearest(np.median(points, axis=0)[None], points, 1).indices[0, 0]]


def _of_one(view: View, part: NDArray[np.intp], normals: NDArray[np.float32]) -> NDArray[np.float64]:
    points, height = view.cloud.points_m[part].astype(np.float64), view.standing.height_m[part].astype(np.float64)
    rgb = view.cloud.rgb[part]
    top = height >= np.quantile(height, 0.7)
    shape = (_sizes(points, height), _profile(points, height), _tilts(normals[view.cloud.pixels[part]]), _outline(view, part))
    return np.concatenate([_colours(rgb), _colours(rgb[top]), rgb.mean(axis=0) / 255.0, *shape])


def _colours(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(HUES + GREYS,) shares: coloured pixels by hue, the others by brightness."""
    value = rgb.max(axis=1).astype(np.float64)
    spread = value - rgb.min(axis=1)
    hsv = cv2.cvtColor(np.ascontiguousarray(rgb)[None], cv2.COLOR_RGB2HSV_FULL)[0]
    coloured = spread / 255.0 > COLOURFUL * np.maximum(value / 255.0, 0.3)
    hue = (hsv[:, 0].astype(np.float64) / 256.0 * HUES + 0.5).astype(int) % HUES
    grey = np.minimum((value / 256.0 * GREYS).astype(int), GREYS - 1)
    counts = np.bincount(np.where(coloured, hue, HUES + grey), minlength=HUES + GREYS)
    return counts / len(rgb)


def _sizes(points: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length and width on the table, height of top and of underside, their ratios; lengths in decimetres."""
    flat = points[:, :2] - points[:, :2].mean(axis=0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    width, length = np.sort(np.ptp(flat @ axes, axis=0))
    top, low = float(np.quantile(height, 0.99)), float(np.quantile(height, 0.01))
    return np.array([10.0 * length, 10.0 * width, 10.0 * top, 10.0 * low, width / max(length, 1e-3), min(top / max(length, 1e-3), 4.0)])


def _profile(points: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of its points by height, and mean height by distance from the middle: what is hollow is low inside."""
    top = max(float(height.max()), 1e-3)
    layer = np.clip((height / top * LAYERS).astype(int), 0, LAYERS - 1)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    away = np.linalg.norm(points[:, :2] - 0.5 * (low + high), axis=1)
    ring = np.clip((away / max(float(away.max()), 1e-3) * RINGS).astype(int), 0, RINGS - 1)
    count = np.bincount(ring, minlength=RINGS)
    rise = np.bincount(ring, weights=height / top, minlength=RINGS) / np.maximum(count, 1)
    return np.concatenate([np.bincount(layer, minlength=LAYERS) / len(points), rise])


def _tilts(normals: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shares of the surface by how much it faces up."""
    up = normals[np.isfinite(normals).all(axis=1), 2]
    bins = np.clip(((up + 0.34) / 1.35 * TILTS).astype(int), 0, TILTS - 1)
    return np.bincount(bins, minlength=TILTS) / max(len(up), 1)


def _outline(view: View, part: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of its silhouette: how much of its hull it fills, how round the hull is, its aspect, and how colourful its surface varies."""
    rows, columns = np.divmod(view.cloud.pixels[part], view.size_hw[1])
    places = np.stack([columns, rows], axis=1).astype(np.float32)
    hull = cv2.convexHull(places)
    area, length = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, True) + 1.0, cv2.arcLength(hull, True)
    (_, (a, b), _) = cv2.minAreaRect(places)
    varied = float(view.cloud.rgb[part].std(axis=0).mean()) / 64.0
    return np.array([min(len(part) / area, 1.5), 4.0 * np.pi * area / max(length, 4.0) ** 2, (min(a, b) + 1.0) / (max(a, b) + 1.0), varied])


def _relations(view: View, members: tuple[NDArray[np.intp], ...]) -> NDArray[np.float64]:
    """(T, 6) ranks from 0 to 1 among the things: to the left (world y), away (x), tall, large; how many there are, and whether it is alone."""
    count = len(members)
    middles = np.array([np.median(view.cloud.points_m[part], axis=0) for part in members], dtype=np.float64)
    tall = np.array([np.quantile(view.standing.height_m[part], 0.99) for part in members])
    large = np.array([np.prod(np.maximum(np.ptp(view.cloud.points_m[part], axis=0), 1e-3)) for part in members])
    ranks = [np.argsort(np.argsort(v)) / max(count - 1, 1) for v in (middles[:, 1], middles[:, 0], tall, large)]
    return np.stack([*ranks, np.full(count, count / 8.0), np.full(count, float(count == 1))], axis=1)
