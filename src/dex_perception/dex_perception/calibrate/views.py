# SPDX-License-Identifier: Apache-2.0
"""One picture of the board and where the flange was: the board found, its pose in the camera, how sharp it is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_perception.calibrate.board import Board, Detection
from dex_perception.calibrate.poses import checked_pose, pose

ENOUGH_CORNERS = 6
EDGE_SHARE = 99.0
"""Percentile of the gradient that counts as the steepest: above it are single pixels of noise."""


@dataclass(frozen=True)
class Sighting:
    """A board seen in one picture.

    Attributes:
        detection: its corners.
        pose_board_in_camera: (4, 4), camera's optical frame (x right, y down, z forward) [m].
        error_px: root mean square distance of the corners from where that pose puts them: what lens and detector leave.
        edge_px: width of a black-white edge [px], see ``edge_width_px``.
        covered: (2, 2) smallest and largest corner as a share of the picture's width and height.
    """

    detection: Detection
    pose_board_in_camera: Array
    error_px: float
    edge_px: float
    covered: Array


@dataclass(frozen=True)
class View:
    """One pair that calibration uses.

    Attributes:
        name: of the picture.
        pose_flange_in_base: (4, 4) [m], read-only; base: whatever the camera's (or the board's) pose is asked in.
        sighting: the board in that picture.
    """

    name: str
    pose_flange_in_base: Array
    sighting: Sighting

    def __post_init__(self) -> None:
        object.__setattr__(self, "pose_flange_in_base", checked_pose(self.pose_flange_in_base, f"flange of view {self.name!r}"))


def sight(gray: NDArray[np.uint8], board: Board, intrinsics: Intrinsics) -> Sighting | None:
    """Looks for the board; None where fewer than ``ENOUGH_CORNERS`` corners, or corners of one line, are seen.

    Args:
        gray: (H, W) uint8, as the lens gives it: not undistorted unless ``intrinsics`` are without distortion.
    """
    found = board.detect(gray)
    points = board.points_m[found.ids]
    if len(found) < ENOUGH_CORNERS or np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-6) < 2:
        return None
    lens = np.asarray(intrinsics.distortion, dtype=float) if intrinsics.distortion else None
    done, turn, shift = cv2.solvePnP(points, found.corners_px, intrinsics.matrix, lens, flags=cv2.SOLVEPNP_IPPE)
    if not done:
        return None
    turn, shift = cv2.solvePnPRefineLM(points, found.corners_px, intrinsics.matrix, lens, turn, shift)
    if not np.isfinite(shift).all() or float(shift[2, 0]) <= 0.0:
        return None
    placed = cv2.projectPoints(points, turn, shift, intrinsics.matrix, lens)[0].reshape(-1, 2)
    error_px = float(np.sqrt(np.mean(np.sum((placed - found.corners_px) ** 2, axis=1))))
    size = np.array([intrinsics.width, intrinsics.height], dtype=float)
    covered = np.stack([found.corners_px.min(axis=0), found.corners_px.max(axis=0)]) / size
    return Sighting(found, pose(turn, shift), error_px, edge_width_px(gray, found.corners_px), covered)


def edge_width_px(gray: NDArray[np.uint8], corners_px: Array) -> float:
    """How wide black-white edges are in the part of the picture that holds the corners [px].

    The step (darkest to brightest twentieth) over the steepest gradient: for an edge blurred by a Gaussian of sigma s it is s sqrt(2 pi),
    so 1 px means a sigma of 0.4 px.
    """
    low, high = np.floor(corners_px.min(axis=0)).astype(int), np.ceil(corners_px.max(axis=0)).astype(int) + 1
    part = gray[max(0, low[1]) : high[1], max(0, low[0]) : high[0]].astype(np.float32)
    if min(part.shape) < 3:
        return float("inf")
    slope = cv2.magnitude(cv2.Sobel(part, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(part, cv2.CV_32F, 0, 1, scale=0.125))
    steepest = float(np.percentile(slope, EDGE_SHARE))
    step = float(np.percentile(part, 95.0) - np.percentile(part, 5.0))
    return step / steepest if steepest > 0.0 else float("inf")
