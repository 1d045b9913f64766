# SPDX-License-Identifier: Apache-2.0
"""Whether a keypoint is seen: the robots' own surfaces by ray casting, everything else by the depth picture or a mask.

A ray goes from the camera through the point. What it meets first decides:

- another part, or another robot, before the point: hidden;
- the point's own part (``Point.own``): seen, unless that surface stands more than ``flesh_m`` before the point: a finger hides its own tip
  when it points away, and a palm its wrist;
- nothing, or something behind the point: seen.

Then the camera is asked: where its depth is nearer than anything the robots' model explains, by more than a tolerance, something else stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import rays_of
from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_perception.keypoints.lens import Projection
from dex_perception.keypoints.sample import HIDDEN, MISSING, VISIBLE
from dex_perception.keypoints.shapes import NOTHING, PosedShapes

SKIN_M = 0.001
"""A foreign surface this little before a point touches it and hides nothing."""
_WINDOW = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])


@dataclass(frozen=True)
class DepthTolerance:
    """How much nearer than the model a depth may be: ``floor_m + share_per_m * depth**2``. Noise of stereo grows with the square."""

    floor_m: float
    share_per_m: float = 0.0

    def at(self, depth_m: Array) -> Array:
        """For depths of any shape [m]."""
        return self.floor_m + self.share_per_m * depth_m**2


TOLERANCES = {
    "simulated": DepthTolerance(0.015),
    "realsense": DepthTolerance(0.012, 0.011),
    "zed": DepthTolerance(0.012, 0.009),
}
"""By camera driver. Simulated: the camera of a live simulation stands up to 10 mm from where the cell says (every reset moves it a little), and a
depth picture is made smaller to the next pixel. Others: 12 mm for kinematics, hand-eye calibration and shapes made of primitives (chosen here), and
three standard deviations of stereo noise, z^2 e / (f b): D435 with e 0.08 px, f 447 px (848 wide, 87 degrees), b 50 mm; ZED 2 with e 0.25 px,
f 700 px (1280 wide), b 120 mm."""
OTHER_CAMERA = DepthTolerance(0.015, 0.02)


def tolerance_of(driver: str) -> DepthTolerance:
    """Of a camera driver; a cautious one for a driver that is not in TOLERANCES."""
    return TOLERANCES.get(driver, OTHER_CAMERA)


class Judged(NamedTuple):
    """``visibility`` (k,) int8; ``without_depth`` (k,) points in the picture around which depth was asked for and is not known."""

    visibility: NDArray[np.int8]
    without_depth: NDArray[np.bool_]


class Owners(NamedTuple):
    """Of k points: ``own`` (k, l) whether a link's surface is the point's own; ``flesh_m`` (k,) how far before it that surface may stand."""

    own: NDArray[np.bool_]
    flesh_m: Array


def judge(
    points_m: Array, at: Projection, owners: Owners, shapes: PosedShapes, intrinsics: Intrinsics, depth_m: NDArray[np.float32] | None = None,
    mask: NDArray[np.bool_] | None = None, tolerance: DepthTolerance = OTHER_CAMERA,
) -> Judged:
    """Visibility of (k, 3) points in the optical frame; a row of NaN is a point that the robot does not have.

    Args:
        at: where they are in the picture.
        shapes: everything the model knows, at that moment.
        depth_m, mask: of the camera, (H, W); see ``Sample``.
    """
    visibility = np.full(len(points_m), MISSING, dtype=np.int8)
    without_depth = np.zeros(len(points_m), dtype=bool)
    seen = np.flatnonzero(at.inside)
    if not len(seen):
        return Judged(visibility, without_depth)
    points = points_m[seen]
    rays = points / points[:, 2:]
    hits = shapes.cast(rays)
    hidden = _behind_robots(points, rays, hits.depth_m, hits.link, Owners(owners.own[seen], owners.flesh_m[seen]))
    pixels = _pixels(at.uv[seen], intrinsics)
    if depth_m is not None:
        behind, known = _behind_others(pixels, np.minimum(hits.depth_m, points[:, 2]), shapes, intrinsics, depth_m, tolerance)
        hidden |= behind
        without_depth[seen] = ~known
    if mask is not None:
        column, row = pixels[:, len(_WINDOW) // 2].T
        hidden |= mask[row, column]
    visibility[seen] = np.where(hidden, HIDDEN, VISIBLE)
    return Judged(visibility, without_depth)


def _behind_robots(points: Array, rays: Array, depth: Array, link: NDArray[np.int32], owners: Owners) -> NDArray[np.bool_]:
    before_m = (points[:, 2] - depth) * np.linalg.norm(rays, axis=1)  # -inf where nothing is met
    own = owners.own[np.arange(len(points)), link] & (link != NOTHING)
    return before_m > np.where(own, owners.flesh_m, SKIN_M)


def _pixels(uv: Array, intrinsics: Intrinsics) -> NDArray[np.intp]:
    """(k, 9, 2) column and row of the pixels around each place; at the picture's edge some come twice."""
    around = np.rint(uv).astype(np.intp)[:, None] + _WINDOW
    return np.clip(around, 0, (intrinsics.width - 1, intrinsics.height - 1))


def _behind_others(
    pixels: NDArray[np.intp], explained_m: Array, shapes: PosedShapes, intrinsics: Intrinsics, depth_m: NDArray[np.float32], tolerance: DepthTolerance
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether most of the known depths around a point are nearer than what the model explains there; whether any is known."""
    column, row = pixels[..., 0], pixels[..., 1]
    rays = rays_of(intrinsics)
    around = np.stack([rays.x[row, column], rays.y[row, column], np.ones(row.shape)], axis=-1).reshape(-1, 3)
    model = np.minimum(shapes.cast(around).depth_m.reshape(row.shape), explained_m[:, None])
    measured = depth_m[row, column].astype(np.float64)
    known = np.isfinite(measured) & (measured > 0.0)
    nearer = known & (np.where(known, measured, np.inf) < model - tolerance.at(model))
    return 2 * nearer.sum(axis=1) > known.sum(axis=1), known.any(axis=1)
