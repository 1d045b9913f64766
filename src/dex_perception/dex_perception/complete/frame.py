# SPDX-License-Identifier: Apache-2.0
"""The frame a partial cloud is completed in: what makes one mug like another wherever it stands and whoever looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.bundle.completion import CompletionSpec
from dex_core.errors import ShapeError
from dex_core.types import Array

Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Turns the world (z up) into a frame with y up."""
LEVEL = 1e-6


@dataclass(frozen=True)
class Frame:
    """A point of the graph is ``turn @ (point_in_world - origin_m) / unit_m``.

    Attributes:
        turn: (3, 3) rotation from the world. origin_m: (3,) in the world. unit_m: metres of one unit.
    """

    turn: Array
    origin_m: Array
    unit_m: float

    def enter(self, points_m: ArrayLike) -> NDArray[np.float32]:
        """(N, 3) in the world [m] -> in the graph's units."""
        return ((np.asarray(points_m, dtype=float) - self.origin_m) @ self.turn.T / self.unit_m).astype(np.float32)

    def leave(self, points: ArrayLike) -> NDArray[np.float32]:
        """The reverse of ``enter``."""
        return (np.asarray(points, dtype=float) * self.unit_m @ self.turn + self.origin_m).astype(np.float32)

    def turn_back(self, directions: ArrayLike) -> NDArray[np.float32]:
        """(N, 3) directions of the graph in the world."""
        return (np.asarray(directions, dtype=float) @ self.turn).astype(np.float32)


def frame_of(spec: CompletionSpec, points_m: ArrayLike, camera_m: ArrayLike, support_m: float | None = None) -> Frame:
    """The frame of a partial cloud.

    Args:
        spec: which frame.
        points_m: (N, 3) seen points in a world whose z points up.
        camera_m: (3,) where they were seen from.
        support_m: height of what the object stands on; None: the lowest seen point, which is less exact.

    Raises:
        ShapeError: no point.
    """
    points = np.asarray(points_m, dtype=float)
    if points.ndim != 2 or points.shape[1:] != (3,) or not len(points):
        raise ShapeError(f"partial cloud of shape {points.shape}; expected (N, 3) with at least one point")
    if spec.frame == "centred":
        middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
        furthest = float(np.linalg.norm(points - middle, axis=1).max())
        return Frame(Y_UP if spec.up == "y" else np.eye(3), middle, max(furthest, LEVEL) / spec.radius)
    middle = points.mean(axis=0)
    away = np.asarray(camera_m, dtype=float)[:2] - middle[:2]
    length = float(np.linalg.norm(away))
    x, y = away / length if length > LEVEL else (1.0, 0.0)  # seen from straight above there is no side towards the camera
    turn = np.array([[x, y, 0.0], [-y, x, 0.0], [0.0, 0.0, 1.0]])
    floor = float(points[:, 2].min()) if support_m is None else support_m
    return Frame(turn, np.array([middle[0], middle[1], floor]), spec.unit_m)
