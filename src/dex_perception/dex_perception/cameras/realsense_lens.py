# SPDX-License-Identifier: Apache-2.0
"""librealsense's lens models in OpenCV's coefficients."""

from __future__ import annotations

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import DeviceError

GRID = (17, 13)
"""Pixels across and down at which a model is compared."""
WORST_PX = 0.5
"""A model that OpenCV's coefficients miss by more is refused rather than published wrong."""


def intrinsics_of(given: rs.intrinsics) -> Intrinsics:
    """The library's intrinsics as ours. Raises DeviceError for a lens that OpenCV's model does not describe."""
    return Intrinsics(given.width, given.height, given.fx, given.fy, given.ppx, given.ppy, distortion_of(given))


def distortion_of(given: rs.intrinsics) -> tuple[float, ...]:
    """(k1, k2, p1, p2, k3) as OpenCV means them; empty for a picture without distortion.

    ``brown_conrady`` is OpenCV's own model. ``modified_brown_conrady`` is defined by the library's projection and ``inverse_brown_conrady``,
    which the colour sensors of a D455 name, by its deprojection: of these two the coefficients are fitted.

    Raises:
        DeviceError: another model, or a fit that misses by more than WORST_PX.
    """
    if given.model == rs.distortion.none or not any(given.coeffs):
        return ()
    if given.model == rs.distortion.brown_conrady:
        return tuple(float(c) for c in given.coeffs)
    if given.model == rs.distortion.modified_brown_conrady:
        rays, pixels = _projected(given)
    elif given.model == rs.distortion.inverse_brown_conrady:
        rays, pixels = _deprojected(given)
    else:
        raise DeviceError(f"lens model {given.model} has no equal in OpenCV's coefficients", code="lens_model")
    return _fit(rays, (pixels - (given.ppx, given.ppy)) / (given.fx, given.fy), max(given.fx, given.fy), str(given.model))


def _grid(given: rs.intrinsics) -> NDArray[np.float64]:
    across, down = np.meshgrid(np.linspace(0, given.width - 1, GRID[0]), np.linspace(0, given.height - 1, GRID[1]))
    return np.stack([across.ravel(), down.ravel()], axis=1)


def _projected(given: rs.intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) rays as x/z, y/z all over the picture and the (n, 2) pixels [px] that the library projects them to."""
    rays = (_grid(given) - (given.ppx, given.ppy)) / (given.fx, given.fy)
    return rays, np.array([rs.rs2_project_point_to_pixel(given, [x, y, 1.0]) for x, y in rays])


def _deprojected(given: rs.intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) pixels [px] all over the picture, after the (n, 2) rays that the library deprojects them to."""
    pixels = _grid(given)
    return np.array([rs.rs2_deproject_pixel_to_point(given, list(pixel), 1.0)[:2] for pixel in pixels]), pixels


def _fit(rays: NDArray[np.float64], seen: NDArray[np.float64], focal_px: float, model: str) -> tuple[float, ...]:
    """Coefficients that move each ray to where it is seen, least squares: the model is linear in them."""
    x, y = rays.T
    r2 = x * x + y * y
    columns = [
        np.stack([x * r2, y * r2]), np.stack([x * r2**2, y * r2**2]), np.stack([2 * x * y, r2 + 2 * y * y]), np.stack([r2 + 2 * x * x, 2 * x * y]),
        np.stack([x * r2**3, y * r2**3]),
    ]
    matrix = np.stack([column.ravel() for column in columns], axis=1)
    wanted = (seen - rays).T.ravel()
    solution = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    worst_px = float(np.abs(matrix @ solution - wanted).max()) * focal_px
    if worst_px > WORST_PX:
        raise DeviceError(f"OpenCV's coefficients miss the {model} lens by {worst_px:.2f} px; at most {WORST_PX} px is allowed", code="lens_model")
    return tuple(float(c) for c in solution)
