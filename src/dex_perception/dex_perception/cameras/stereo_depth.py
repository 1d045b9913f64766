# SPDX-License-Identifier: Apache-2.0
"""Depth of a rectified stereo pair by OpenCV's semi-global block matching: left-right check, uniqueness, no speckles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.config.strict import bounded
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError, ShapeError

METHOD = "OpenCV SGBM, not neural"
STEPS_PER_PX = 16
"""OpenCV gives disparity in sixteenths of a pixel."""
SPECKLE_PX, SPECKLE_RANGE_PX = 120, 1
LEFT_RIGHT_PX = 1
UNIQUENESS_PERCENT = 8


@dataclass(frozen=True)
class DepthSettings:
    """What the matcher looks for.

    Attributes:
        nearest_m, farthest_m: depth outside is unknown. The nearest sets how many disparities are tried, and with them the time.
        shrink: 2 matches at half the size: a quarter of the pixels and half the disparities, and twice the error of depth.
        block_px: side of the compared blocks, odd.
    """

    nearest_m: float = bounded(0.1, 10.0, default=0.35)
    farthest_m: float = bounded(0.2, 50.0, default=5.0)
    shrink: int = bounded(1, 4, default=1)
    block_px: int = bounded(3, 15, default=5)

    def __post_init__(self) -> None:
        if self.nearest_m >= self.farthest_m:
            raise ConfigError(f"nearest_m {self.nearest_m} must be less than farthest_m {self.farthest_m}")
        if self.block_px % 2 == 0:
            raise ConfigError(f"block_px is {self.block_px}; it must be odd")


class StereoDepth:
    """Matches pairs of one rectified camera. Use it from one thread.

    Args:
        intrinsics: of the rectified pictures. baseline_m: distance of the two cameras [m].
        settings: range, size and block.
    """

    def __init__(self, intrinsics: Intrinsics, baseline_m: float, settings: DepthSettings) -> None:
        self._size_wh = (intrinsics.width, intrinsics.height)
        self._settings = settings
        self._small_wh = (intrinsics.width // settings.shrink, intrinsics.height // settings.shrink)
        self._scale_px_m = intrinsics.fx * baseline_m * self._small_wh[0] / intrinsics.width  # depth = scale / disparity
        lowest = max(0, math.floor(self._scale_px_m / settings.farthest_m) - 1)
        count = math.ceil((self._scale_px_m / settings.nearest_m - lowest) / 16) * 16  # OpenCV tries multiples of 16
        if lowest + count >= self._small_wh[0]:
            raise ConfigError(f"nearest_m {settings.nearest_m} m asks for {lowest + count} disparities in a picture {self._small_wh[0]} px wide; "
                              "choose a larger nearest_m or shrink")
        self._border = lowest + count
        area = settings.block_px**2
        self._matcher = cv2.StereoSGBM_create(
            minDisparity=lowest, numDisparities=count, blockSize=settings.block_px, P1=8 * area, P2=32 * area,  # OpenCV's own advice
            disp12MaxDiff=LEFT_RIGHT_PX, preFilterCap=31, uniquenessRatio=UNIQUENESS_PERCENT,
            speckleWindowSize=SPECKLE_PX, speckleRange=SPECKLE_RANGE_PX, mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )

    def __call__(self, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W) float32 [m] along the optical axis, aligned to the left picture, NaN where it is unknown.

        Args:
            left, right: rectified, (H, W, 3) or (H, W) uint8.

        Raises:
            ShapeError: not of the size of the calibration.
        """
        expected = self._size_wh[::-1]
        if left.shape[:2] != expected or right.shape != left.shape:
            raise ShapeError(f"stereo pair {left.shape} and {right.shape}; expected two of {expected}")
        pair = [self._prepared(picture) for picture in (left, right)]
        # A left border as wide as the largest disparity lets the matcher look beyond the picture's edge instead of leaving that strip out.
        pair = [cv2.copyMakeBorder(picture, 0, 0, self._border, 0, cv2.BORDER_REPLICATE) for picture in pair]
        disparity = self._matcher.compute(*pair)[:, self._border :].astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.float32(self._scale_px_m * STEPS_PER_PX) / disparity  # unmatched pixels are negative
            depth[~((depth >= self._settings.nearest_m) & (depth <= self._settings.farthest_m))] = np.nan
        if self._settings.shrink > 1:
            depth = cv2.resize(depth, self._size_wh, interpolation=cv2.INTER_NEAREST)  # no depth between an edge and what is behind it
        return depth

    def _prepared(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return grey if self._settings.shrink == 1 else cv2.resize(grey, self._small_wh, interpolation=cv2.INTER_AREA)
