# SPDX-License-Identifier: Apache-2.0
"""A ZED without its SDK: a USB camera that gives both eyes side by side, rectified from its calibration file, depth by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.config import CameraConfig
from dex_core.devices.camera import CameraReport, Frame, Intrinsics
from dex_core.errors import ConfigError, ConnectionLostError, ShapeError
from dex_perception.cameras.stereo_calibration import load_calibration
from dex_perception.cameras.stereo_depth import METHOD, DepthSettings, StereoDepth
from dex_perception.cameras.stereo_rectify import Rectifier
from dex_perception.cameras.uvc import open_source
from dex_perception.cameras.uvc_source import Mode, Picture, PictureSource
from dex_perception.cameras.zed_settings import ZedOptions, usb_rate_hz

PIXEL_FORMAT = "YUYV"
"""The only one of a ZED on USB."""


class StereoBackend:
    """Frames of the left eye, rectified, with depth aligned to it.

    Args:
        config: size of one eye, rate, and whether there is depth.
        options: calibration file, range of depth, matcher.
        source: takes the place of what ``config.address`` names.

    Raises:
        ConfigError: no calibration is given, or the camera has no such size or rate.
    """

    def __init__(self, config: CameraConfig, options: ZedOptions, source: PictureSource | None = None) -> None:
        if not options.calibration:
            raise ConfigError("calibration is empty; without the SDK a ZED needs its SN<serial>.conf, by the number on its case from "
                              "https://calib.stereolabs.com or another computer's /usr/local/zed/settings")
        self._config, self._options = config, options
        width, height = config.native_wh
        self._mode = Mode(2 * width, height, usb_rate_hz(config.native_wh, config.rate_hz), PIXEL_FORMAT)
        self._given, self._source = source, None
        self._rectifier: Rectifier | None = None
        self._depth: StereoDepth | None = None

    def open(self) -> Intrinsics:
        """Opens the camera; returns the lens of the rectified left eye. Raises ConfigError, DeviceError."""
        self.close()
        options = self._options
        rectifier = Rectifier(load_calibration(Path(options.calibration).expanduser(), self._config.native_wh))
        settings = DepthSettings(options.nearest_m, options.farthest_m, options.shrink, options.block_px)
        depth = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, settings) if self._config.depth else None
        source = self._given or open_source(self._config.address, self._mode, rate=options.rate, loop=options.loop)
        source.open()
        self._source, self._rectifier, self._depth = source, rectifier, depth
        return rectifier.intrinsics

    def take(self, timeout_s: float) -> Frame | None:
        """The newest exposure, made into a frame in the caller's thread. Raises DeviceError: the camera is gone; ShapeError: not side by side."""
        if self._source is None or self._rectifier is None:
            raise ConnectionLostError("the ZED is not open")
        picture = self._source.take(timeout_s)
        if picture is None:
            return None
        left, right = self._rectifier(*_eyes(picture, self._config.native_wh))
        depth = None if self._depth is None else self._depth(left, right)
        for array in (left, depth):
            if array is not None:
                array.setflags(write=False)
        return Frame(left, depth, picture.stamp_ns, picture.sequence)

    def close(self) -> None:
        """Any number of times."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def report(self) -> CameraReport:
        """How depth is made, from which lenses, and what the source says."""
        values = {"depth": METHOD if self._config.depth else "off", "calibration": self._options.calibration,
                  **({"baseline_mm": f"{self._rectifier.baseline_m * 1e3:.1f}"} if self._rectifier else {}),
                  **(self._source.details() if self._source else {})}
        return CameraReport(values, f"depth: {METHOD}" if self._config.depth else "")


def _eyes(picture: Picture, size_wh: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(left, right) RGB of a side-by-side picture. Raises ShapeError."""
    height, width = picture.bgr.shape[:2]
    if (width, height) != (2 * size_wh[0], size_wh[1]):
        raise ShapeError(f"a ZED's picture has {width} x {height} pixels; two eyes of {size_wh[0]} x {size_wh[1]} side by side make "
                         f"{2 * size_wh[0]} x {size_wh[1]}")
    rgb = cv2.cvtColor(picture.bgr, cv2.COLOR_BGR2RGB)
    return rgb[:, : size_wh[0]], rgb[:, size_wh[0] :]
