# SPDX-License-Identifier: Apache-2.0
"""A ZED through Stereolabs' SDK: nothing but its calls; what can be decided without them is in zed_settings.

The SDK needs an NVIDIA graphics card. The first start of a neural depth mode optimises its network for that card, which takes minutes.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from itertools import count
from types import ModuleType
from typing import Any

from dex_core.config import CameraConfig
from dex_core.devices.camera import CameraReport, Frame, Intrinsics
from dex_core.errors import ConfigError, ConnectionLostError
from dex_perception.cameras.uvc_device import exposure_time
from dex_perception.cameras.uvc_reader import NewestReader
from dex_perception.cameras.zed_settings import (
    CORRUPTED,
    END,
    FILE,
    REBOOTING,
    ZedOptions,
    failure,
    known_depth,
    resolution,
    rgb_of_bgra,
    sdk_rate_hz,
    serial_number,
    words,
)

OPEN_TIMEOUT_S = 5.0


def sdk() -> ModuleType | None:
    """``pyzed.sl``, or None where it or the SDK's libraries are not installed."""
    try:
        return importlib.import_module("pyzed.sl")
    except (ImportError, OSError):
        return None


class SdkBackend:
    """Frames of the left eye, rectified by the SDK, with its depth aligned to it.

    Args:
        config: address (``serial:<n>``, ``file:<svo>``, or empty for the only camera), size of one eye, rate, and whether there is depth.
        options: depth mode and range.
        sl: the module ``pyzed.sl``.
    """

    def __init__(self, config: CameraConfig, options: ZedOptions, sl: Any) -> None:
        self._config, self._options, self._sl = config, options, sl
        self._svo = config.address.removeprefix(FILE) if config.address.startswith(FILE) else ""
        self._reader: NewestReader[Frame] | None = None
        self._who = f"ZED {config.address or 'at this computer'}"
        self._about: dict[str, str] = {}
        self._opened_with, self._warning, self._stamps, self._damaged = "", "", "", 0

    def open(self) -> Intrinsics:
        """Opens the camera or recording; returns the lens of the rectified left eye. Raises ConfigError, DeviceError with the code in words."""
        self.close()
        sl, camera = self._sl, self._sl.Camera()
        self._opened_with, self._warning = self._checked(camera.open(self._parameters())), ""
        info = camera.get_camera_information()
        left = info.camera_configuration.calibration_parameters.left_cam  # of the rectified pictures
        size = info.camera_configuration.resolution
        self._about = {"serial": str(info.serial_number), "model": str(info.camera_model), "sdk": str(sl.Camera.get_sdk_version())}
        numbers = count(1)
        runtime = sl.RuntimeParameters(confidence_threshold=self._options.confidence)
        image, measure = sl.Mat(), sl.Mat()
        self._reader = NewestReader(self._who, lambda: self._read(camera, runtime, image, measure, numbers), camera.close)
        self._reader.start()
        return Intrinsics(size.width, size.height, left.fx, left.fy, left.cx, left.cy)

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame not handed out yet. Raises DeviceError: not open, or the camera is gone."""
        if self._reader is None:
            raise ConnectionLostError("the ZED is not open")
        return self._reader.take(timeout_s)

    def close(self) -> None:
        """Any number of times."""
        if self._reader is not None:
            self._reader.stop()
        self._reader = None

    def report(self) -> CameraReport:
        """Serial number, model, how depth is made, where stamps come from, damaged pictures."""
        depth = f"{self._options.depth_mode} of the SDK" if self._config.depth else "off"
        values = {"depth": depth, "stamps": self._stamps or "none yet", "damaged": str(self._damaged), **self._about}
        return CameraReport(values, "; ".join(filter(None, (self._opened_with, self._warning))))

    def _parameters(self) -> Any:
        sl, config = self._sl, self._config
        p = sl.InitParameters()
        p.camera_resolution = getattr(sl.RESOLUTION, resolution(config.native_wh).sdk_name)
        p.camera_fps = sdk_rate_hz(config.native_wh, config.rate_hz)
        p.depth_mode = getattr(sl.DEPTH_MODE, self._options.depth_mode) if config.depth else sl.DEPTH_MODE.NONE
        p.coordinate_units = sl.UNIT.METER
        p.coordinate_system = sl.COORDINATE_SYSTEM.IMAGE
        p.depth_minimum_distance, p.depth_maximum_distance = self._options.nearest_m, self._options.farthest_m
        p.open_timeout_sec = OPEN_TIMEOUT_S
        if self._svo:
            p.set_from_svo_file(self._svo)
            p.svo_real_time_mode = True
        else:
            p.set_from_serial_number(serial_number(config.address) or self._only_serial())
        return p

    def _only_serial(self) -> int:
        """Serial number of the one camera that is plugged in. Raises ConnectionLostError, ConfigError: none or several; lists them."""
        serials = [device.serial_number for device in self._sl.Camera.get_device_list()]
        if not serials:
            raise ConnectionLostError("no ZED is plugged in")
        if len(serials) > 1:
            raise ConfigError(f"address is empty and {len(serials)} ZEDs are plugged in; give serial:<number>, one of {serials}")
        return int(serials[0])

    def _checked(self, code: Any) -> str:
        """Codes below SUCCESS are warnings, returned in words; codes above it are failures and raised."""
        if code > self._sl.ERROR_CODE.SUCCESS:
            raise failure(code.name, self._who, code.value)
        return words(code.name) if code < self._sl.ERROR_CODE.SUCCESS else ""

    def _read(self, camera: Any, runtime: Any, image: Any, measure: Any, numbers: Iterator[int]) -> Frame | None:
        sl = self._sl
        code = camera.grab(runtime)
        if code.name == END and self._options.loop:
            camera.set_svo_position(0)
            return None
        self._warning = self._checked(code)
        if code.name in (CORRUPTED, REBOOTING):
            self._damaged += 1
            return None
        self._checked(camera.retrieve_image(image, sl.VIEW.LEFT))
        depth = None
        if self._config.depth:
            self._checked(camera.retrieve_measure(measure, sl.MEASURE.DEPTH))
            depth = known_depth(measure.get_data(), self._options.nearest_m, self._options.farthest_m)
            depth.setflags(write=False)
        rgb = rgb_of_bgra(image.get_data())
        rgb.setflags(write=False)
        return Frame(rgb, depth, self._stamp_ns(camera), next(numbers))

    def _stamp_ns(self, camera: Any) -> int:
        """The SDK stamps with this computer's clock; a recording is played as if it were taken now."""
        monotonic_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        image_ns = 0 if self._svo else camera.get_timestamp(self._sl.TIME_REFERENCE.IMAGE).get_nanoseconds()
        exposure = exposure_time(image_ns * 1e-6, monotonic_ns, wall_ns)
        self._stamps = "as if taken now" if self._svo else exposure.source
        return exposure.stamp_ns
