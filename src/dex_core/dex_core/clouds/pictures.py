# SPDX-License-Identifier: Apache-2.0
"""Depth pictures: their points and normals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import engine
from dex_core.clouds.checks import check_count, check_depth, check_picture, check_positive
from dex_core.clouds.cloud import Cloud
from dex_core.clouds.rays import rays_of
from dex_core.clouds.window import Fit
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError

STEEPEST_RAD = math.radians(75.0)
NOISE_PER_M = 0.008
LEAST = 8
STEP = 3
LARGEST_STEP = 8


def from_depth(depth_m: NDArray, intrinsics: Intrinsics, rgb: NDArray[np.uint8] | None = None, *, with_normals: bool = False) -> Cloud:
    """The points of a depth picture in the camera's optical frame (x right, y down, z ahead), row by row.

    Args:
        depth_m: (H, W) float, distance along z [m]. NaN, infinite, zero and negative depth is no point.
        intrinsics: of this picture; a lens with distortion is undone.
        rgb: (H, W, 3) uint8 aligned to the depth.
        with_normals: also those of ``normals``, with its defaults.

    Raises:
        ShapeError: a picture of another size or type than the intrinsics say.
    """
    depth = check_depth(depth_m, intrinsics)
    colour = None if rgb is None else check_picture(rgb, intrinsics)
    directions = normals(depth, intrinsics) if with_normals else None
    return Cloud(*engine.current().unproject(depth, rays_of(intrinsics), colour, directions))


def normals(
    depth_m: NDArray, intrinsics: Intrinsics, *, step: int = STEP, steepest_rad: float = STEEPEST_RAD, noise_per_m: float = NOISE_PER_M,
) -> NDArray[np.float32]:
    """Surface normals from the neighbourhood of every pixel, pointing to the camera's side.

    A plane is linear in 1 / depth over the rays, and a stereo camera's noise is even in 1 / depth; so a plane of least squares is fitted to 1 / depth
    over 5 x 5 samples. Only samples that can belong to the pixel's own surface count, so an edge is not bridged: those whose depth differs by no more
    than a surface of the steepest slope, and noise, explain. Where a window looks less like a plane than the picture's windows do, one half of it is
    taken if it looks far more like one, and more than the opposite half: so the faces of a box keep their normals up to their common edge.

    Args:
        depth_m, intrinsics: as for ``from_depth``.
        step: pixels between samples [1 to 8]; the window reaches two steps to each side.
        steepest_rad: largest angle between a surface's normal and the ray through it.
        noise_per_m: what noise alone may change 1 / depth by [1/m]; 0.008 is 2 mm at 0.5 m, 8 mm at 1 m.

    Returns:
        (H, W, 3) float32 of length 1 in the optical frame; NaN without depth, or with fewer than 8 samples of one surface around.

    Raises:
        ShapeError: a picture of another size than the intrinsics say, or a setting out of range.
    """
    depth = check_depth(depth_m, intrinsics)
    check_count(step, 1, LARGEST_STEP, "step of normals", "pixels")
    if not 0.0 < steepest_rad < 0.5 * math.pi:
        raise ShapeError(f"steepest_rad: {steepest_rad}; must lie between 0 and pi / 2")
    fit = Fit(intrinsics.fx, intrinsics.fy, int(step), LEAST, math.tan(steepest_rad), check_positive(noise_per_m, "noise_per_m", "1/m"))
    return engine.current().normals(depth, rays_of(intrinsics), fit)
