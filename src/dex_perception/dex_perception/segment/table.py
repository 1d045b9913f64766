# SPDX-License-Identifier: Apache-2.0
"""The table under the things: its height at every point of a cloud, and what stands on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import Cloud, find_plane

TOLERANCE_M = 0.008
"""Half the thickness of what counts as the table: a depth camera's noise at 1 m."""
LEAST_SHARE = 0.15
LEAST_EDGE_M = 0.2
"""A level plane narrower than this is the top of a thing."""
TILT_RAD = math.radians(8.0)
"""What calibration may be wrong by; steeper is no table."""


@dataclass(frozen=True)
class Standing:
    """A cloud beside its table.

    Attributes:
        height_m: (N,) float32 above the table [m]; above the lowest point where there is no table.
        off: (N,) True where a point stands off the table.
        found: whether there is a table.
    """

    height_m: NDArray[np.float32]
    off: NDArray[np.bool_]
    found: bool


def off_table(cloud: Cloud, tolerance_m: float = TOLERANCE_M) -> Standing:
    """Finds the level plane that most points lie on, if it is as wide as a table.

    Args:
        cloud: finite points in a frame whose z points up.
        tolerance_m: half the thickness of what is taken for the table [m].
    """
    points = cloud.points_m
    plane = find_plane(points, tolerance_m, least_share=LEAST_SHARE, up=(0.0, 0.0, 1.0), tilt_rad=TILT_RAD)
    if plane is None or np.ptp(points[np.abs(plane.height_m(points)) <= tolerance_m, :2], axis=0).min() < LEAST_EDGE_M:
        lowest = points[:, 2].min() if len(points) else np.float32(0.0)
        return Standing(points[:, 2] - lowest, np.ones(len(points), dtype=bool), False)
    height = plane.height_m(points) * np.float32(math.copysign(1.0, plane.normal[2]))  # the world's origin, not the camera, decided its sign
    return Standing(height, height > tolerance_m, True)
