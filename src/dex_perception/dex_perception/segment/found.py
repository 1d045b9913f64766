# SPDX-License-Identifier: Apache-2.0
"""One object as it was found: its points in the world with normals, its place and its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import Cloud, nearest, normals, remove_isolated
from dex_perception.segment.view import View

LONELY_PIXELS, LONELY_NEIGHBOURS = 4.0, 3
"""A point with fewer neighbours within so many pixels' width is speckle."""
NORMAL_REACH_M, MOST_STEP = 0.008, 8
"""Half the width of the patch a normal is fitted to: fingertips are so wide, and a larger one would round off a lemon."""


@dataclass(frozen=True)
class Found:
    """An object in one picture.

    Attributes:
        mask: (H, W) uint8, 255 on the object.
        cloud: its points in the world frame with colour, normals towards the camera, and pixels.
        centre_m, size_m: (3,) mean, and edges of its box along the world's axes [m].
        confidence: 0 to 1.
        stamp_ns: of the picture.
        camera_m: (3,) where it was seen from, in the world [m].
        support_m: height of the table under it, in the world [m]; None: no table was found.
    """

    mask: NDArray[np.uint8]
    cloud: Cloud
    centre_m: NDArray[np.float32]
    size_m: NDArray[np.float32]
    confidence: float
    stamp_ns: int
    camera_m: NDArray[np.float64]
    support_m: float | None


def found_in(view: View, inside: NDArray[np.bool_], confidence: float) -> Found | None:
    """The object that a mask over the view's cloud cuts out, freed from speckle; None when nothing is left."""
    whole = view.cloud.select(inside)
    cloud = remove_isolated(whole, LONELY_PIXELS * view.pixel_size_m, LONELY_NEIGHBOURS) if len(whole) else whole
    if not len(cloud):
        return None
    cloud = Cloud(cloud.points_m, cloud.rgb, _normals(view, cloud), cloud.pixels)
    return Found(
        mask=cloud.picture(np.full(len(cloud), 255, dtype=np.uint8), view.size_hw, fill=0), cloud=cloud,
        centre_m=cloud.points_m.mean(axis=0, dtype=np.float64).astype(np.float32), size_m=np.ptp(cloud.points_m, axis=0),
        confidence=confidence, stamp_ns=view.picture.stamp_ns, camera_m=view.pose_camera_in_world[:3, 3],
        support_m=float(np.median((view.cloud.points_m[:, 2] - view.standing.height_m)[inside])) if view.standing.found else None,
    )


def view_normals(view: View) -> NDArray[np.float32]:
    """(H * W, 3) normals of every pixel in the world, NaN where the picture gives none."""
    step = int(np.clip(round(NORMAL_REACH_M / (2.0 * view.pixel_size_m)), 1, MOST_STEP))
    flat = normals(view.picture.depth_m, view.picture.intrinsics, step=step).reshape(-1, 3)
    return flat @ view.pose_camera_in_world[:3, :3].T.astype(np.float32)


def _normals(view: View, cloud: Cloud) -> NDArray[np.float32]:
    """(K, 3) in the world; where the picture gives none, at edges, that of the nearest point that has one, else the way to the camera."""
    turned = view_normals(view)[cloud.pixels]
    known = np.isfinite(turned).all(axis=1)
    if not known.any():
        towards = view.pose_camera_in_world[:3, 3].astype(np.float32) - cloud.points_m
        return towards / np.linalg.norm(towards, axis=1, keepdims=True)
    if not known.all():
        turned[~known] = turned[known][nearest(cloud.points_m[~known], cloud.points_m[known], 1).indices[:, 0]]
    return np.ascontiguousarray(turned, dtype=np.float32)
