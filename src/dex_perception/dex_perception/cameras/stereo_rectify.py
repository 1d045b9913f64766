# SPDX-License-Identifier: Apache-2.0
"""Rectification of a stereo pair: both pictures as two parallel pinhole cameras would see them, rows on rows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_perception.cameras.stereo_calibration import StereoCalibration

Image = NDArray[np.uint8]


class Rectifier:
    """Maps of one calibration, made once (fixed point: remapping is half of what rectification costs).

    Attributes:
        intrinsics: of both rectified pictures, without distortion.
        baseline_m: distance of the cameras, along x of the rectified pictures [m].
        rotation: (3, 3), left optical frame into rectified optical frame, in which depth is measured.
    """

    def __init__(self, calibration: StereoCalibration) -> None:
        left, right = calibration.left, calibration.right
        size = (left.width, left.height)
        lenses = [(camera.matrix, np.array(camera.distortion)) for camera in (left, right)]
        turns = cv2.stereoRectify(
            *lenses[0], *lenses[1], size, calibration.rotation, calibration.translation_m.reshape(3, 1),
            flags=cv2.CALIB_ZERO_DISPARITY, alpha=0.0,  # no pixel of the rectified picture without one of the raw picture
        )
        self.rotation = turns[0]
        projections = turns[2], turns[3]
        p = projections[0]
        self.intrinsics = Intrinsics(*size, float(p[0, 0]), float(p[1, 1]), float(p[0, 2]), float(p[1, 2]))
        self.baseline_m = float(abs(projections[1][0, 3]) / p[0, 0])
        self._maps = [
            cv2.initUndistortRectifyMap(matrix, distortion, turn, projection[:, :3], size, cv2.CV_16SC2)
            for (matrix, distortion), turn, projection in zip(lenses, turns[:2], projections, strict=True)
        ]

    def __call__(self, left: Image, right: Image) -> tuple[Image, Image]:
        """Rectified (left, right) of the raw pictures, (H, W) or (H, W, 3) uint8."""
        first, second = (cv2.remap(picture, *maps, cv2.INTER_LINEAR) for picture, maps in zip((left, right), self._maps, strict=True))
        return first, second
