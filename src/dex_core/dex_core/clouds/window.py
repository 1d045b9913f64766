# SPDX-License-Identifier: Apache-2.0
"""The window that normals are fitted over, and what counts as the same surface in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

OFFSETS = (-2, -1, 0, 1, 2)
"""Rows and columns of the window, in steps."""


@dataclass(frozen=True)
class Fit:
    """Settings of one fit.

    Attributes:
        fx, fy: focal lengths [px]. step: pixels between the window's samples. least: samples a fit needs.
        slope: largest tangent between a surface's normal and the ray that still counts as one surface.
        noise_per_m: what 1 / depth may differ by on top of that [1/m].
    """

    fx: float
    fy: float
    step: int
    least: int
    slope: float
    noise_per_m: float

    def slope_at(self, i: int, j: int) -> np.float32:
        """Largest relative difference of 1 / depth over ``i`` samples along the row and ``j`` down the column."""
        return np.float32(self.slope * self.step * math.hypot(i / self.fx, j / self.fy))
