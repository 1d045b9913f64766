# SPDX-License-Identifier: Apache-2.0
"""The window that normals are fitted over, and what counts as the same surface in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

OFFSETS = (-2, -1, 0, 1, 2)
"""Rows and columns of the window, in steps."""
FLOOR = 1.0 / 16.0
"""Root of the floor of the variance, of what noise may change 1 / depth by."""
SPARSE = 4
"""Every fourth row and column tells what noise the picture has."""
CREASE = np.float32(2.0)
"""Times the picture's median variance: looks no more like one plane."""
BETTER = np.float32(0.3)
"""Of the whole window's variance: what the fit of a half must fall below to replace it."""
OPPOSITE = np.float32(0.5)
"""Of the opposite half's variance: the same. Halves that both look like planes are a curved surface, whose normal the whole window tells best."""
HALVES = ((-2, 0, -2, 2), (0, 2, -2, 2), (-2, 2, -2, 0), (-2, 2, 0, 2))
"""Left and right, upper and lower half of the window: first and last column, first and last row. Opposite ones stand side by side."""


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

    @property
    def level_floor(self) -> np.float32:
        """Variance of a fit below which it is a plane, whatever the rest of the picture is like [1/m^2]."""
        return np.float32((self.noise_per_m * FLOOR) ** 2)

    def slope_at(self, i: int, j: int) -> np.float32:
        """Largest relative difference of 1 / depth over ``i`` samples along the row and ``j`` down the column."""
        return np.float32(self.slope * self.step * math.hypot(i / self.fx, j / self.fy))
