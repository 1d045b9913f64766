# SPDX-License-Identifier: Apache-2.0
"""A V4L2 camera (most USB cameras: UVC): colour with the kernel's time of exposure, no depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.config import CameraConfig, CellConfig
from dex_core.config.strict import bounded, build, choice
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConfigError, ConnectionLostError, ShapeError
from dex_perception.cameras.uvc_device import stable_path
from dex_perception.cameras.uvc_lens import load_lens
from dex_perception.cameras.uvc_source import Mode, Picture, PictureSource, V4l2Source, VideoFileSource

FILE = "file:"


@dataclass(frozen=True)
class UvcOptions:
    """``options`` of a camera with the driver ``uvc``.

    Attributes:
        pixel_format: of the wire. MJPG is what USB 2 has room for at 640x480 and more; YUYV saves the decoding.
        fps: of the device [Hz]; 0: ``rate_hz`` of the camera.
        calibration: file of camera_calibration (ROS); empty: a pinhole with ``fovy_rad`` of the camera.
        rate, loop: of a video file: rate of time (0: as fast as it is asked for), and whether it begins anew.
    """

    pixel_format: str = choice("MJPG", "YUYV", "UYVY", "NV12", "BGR3", "RGB3", "GREY", default="MJPG")
    fps: float = bounded(0.0, 240.0, default=0.0)
    calibration: str = ""
    rate: float = bounded(0.0, 100.0, default=1.0)
    loop: bool = True


class UvcCamera(PulledCamera):
    """Implements dex_core.devices.camera.Camera on OpenCV's V4L2.

    Args:
        config: ``address`` is a path under /dev/v4l/by-id or by-path, or ``file:<video>``; ``options`` are :class:`UvcOptions`.
        source: takes the place of what ``address`` names.
    """

    def __init__(self, config: CameraConfig, cell: CellConfig | None = None, source: PictureSource | None = None) -> None:
        if config.depth:
            raise ConfigError("depth is true; a V4L2 camera has none")
        self._config = config
        self._options: UvcOptions = build(UvcOptions, dict(config.options), "options of the uvc camera")
        self._given = source
        self._source: PictureSource | None = None
        self._lens: Intrinsics | None = None
        self.name = f"camera {config.address}"

    def connect(self) -> None:
        """Opens the device. Raises DeviceError, or ConfigError for an address, a mode or a calibration that cannot be."""
        self.disconnect()
        config, options = self._config, self._options
        lens = load_lens(Path(options.calibration).expanduser(), config.native_wh) if options.calibration else \
            Intrinsics.of_view(config.native_wh, config.fovy_rad)
        source = self._given or open_source(config.address, Mode(*config.native_wh, options.fps or config.rate_hz, options.pixel_format),
                                            rate=options.rate, loop=options.loop)
        source.open()
        self._source, self._lens = source, lens

    def intrinsics(self) -> Intrinsics:
        """Calibrated, or as wide as configured: ``report`` says which. Raises ConnectionLostError."""
        if self._lens is None:
            raise ConnectionLostError(f"{self.name} is not open")
        return self._lens

    def pull(self, timeout_s: float) -> Frame | None:
        """The newest picture not handed out yet. Raises DeviceError: not connected or gone; ShapeError: of another size than configured."""
        if self._source is None:
            raise ConnectionLostError(f"{self.name} is not open")
        picture = self._source.take(timeout_s)
        return None if picture is None else self._framed(picture)

    def disconnect(self) -> None:
        """Closes the device; any number of times."""
        self.forget()
        if self._source is not None:
            self._source.close()
        self._source = self._lens = None

    def report(self) -> CameraReport:
        """Device, mode, where stamps and lens come from."""
        calibrated = self._options.calibration
        source = self._source
        return CameraReport({"intrinsics": calibrated or "from fovy_rad, not calibrated", **(source.details() if source else {})},
                            "" if calibrated else "the lens is not calibrated: intrinsics follow from fovy_rad alone")

    def _framed(self, picture: Picture) -> Frame:
        height, width = picture.bgr.shape[:2]
        if (width, height) != tuple(self._config.native_wh):
            raise ShapeError(f"{self.name} gives {width} x {height} pixels; the cell says {self._config.native_wh[0]} x {self._config.native_wh[1]}")
        rgb: NDArray[np.uint8] = cv2.cvtColor(picture.bgr, cv2.COLOR_BGR2RGB)
        rgb.setflags(write=False)
        return Frame(rgb, None, picture.stamp_ns, picture.sequence)


def open_source(address: str, mode: Mode, *, rate: float, loop: bool) -> PictureSource:
    """The device or video file that ``address`` names, not opened. Raises ConfigError, ConnectionLostError."""
    if address.startswith(FILE):
        return VideoFileSource(Path(address.removeprefix(FILE)).expanduser(), rate=rate, loop=loop)
    return V4l2Source(stable_path(address), mode)
