# SPDX-License-Identifier: Apache-2.0
"""A ZED: through Stereolabs' SDK where it is installed, else as the stereo camera that it is."""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

from dex_core.clock import NS
from dex_core.config import CameraConfig, CellConfig
from dex_core.config.strict import build
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConnectionLostError, ShapeError, StaleError
from dex_perception.cameras.uvc_source import PictureSource
from dex_perception.cameras.zed_sdk import SdkBackend, sdk
from dex_perception.cameras.zed_settings import ZedOptions, choose_backend
from dex_perception.cameras.zed_stereo import StereoBackend


class Backend(Protocol):
    """One way to the camera."""

    def open(self) -> Intrinsics:
        """Opens it; the lens of the pictures it gives. Raises DeviceError, ConfigError."""
        ...

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame not handed out yet; None when none came in time. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Any number of times."""
        ...

    def report(self) -> CameraReport:
        """What a user should know; from any thread."""
        ...


class ZedCamera(PulledCamera):
    """Implements dex_core.devices.camera.Camera: the rectified left eye, and depth aligned to it.

    Args:
        config: ``address`` is ``serial:<n>``, ``file:<recording>.svo2`` or empty (the only camera) with the SDK, and a path under /dev/v4l/by-id
            or ``file:<side-by-side video>`` without; ``native_wh`` is one eye's size; ``options`` are :class:`ZedOptions`.
        sl: takes the place of ``pyzed.sl``. source: takes the place of the V4L2 device.

    Raises:
        ConfigError: the address needs an SDK that is not installed, no calibration without it, or a size or rate that a ZED does not have.
    """

    def __init__(self, config: CameraConfig, cell: CellConfig | None = None, *, sl: Any = None, source: PictureSource | None = None) -> None:
        options: ZedOptions = build(ZedOptions, dict(config.options), "options of the zed camera")
        module = sl or sdk()
        self._config = config
        self._backend: Backend
        if choose_backend(config.address, options.backend, module is not None) == "sdk":
            self._backend = SdkBackend(config, options, module)
        else:
            self._backend = StereoBackend(config, options, source)
        self._lens: Intrinsics | None = None
        self.name = f"ZED {config.address}".rstrip()

    def connect(self) -> None:
        """Opens the camera. Raises DeviceError, or ConfigError for a setting it does not have; ShapeError for a recording of another size."""
        self.disconnect()
        lens = self._backend.open()
        if (lens.width, lens.height) != tuple(self._config.native_wh):
            self._backend.close()
            raise ShapeError(f"{self.name} gives {lens.width} x {lens.height} pixels; the cell says "
                             f"{self._config.native_wh[0]} x {self._config.native_wh[1]}")
        self._lens = lens

    def intrinsics(self) -> Intrinsics:
        """Of the rectified left eye: no distortion. Raises ConnectionLostError."""
        if self._lens is None:
            raise ConnectionLostError(f"{self.name} is not open")
        return self._lens

    def pull(self, timeout_s: float) -> Frame | None:
        """The newest exposure not handed out yet. Raises DeviceError: not connected or gone."""
        if self._lens is None:
            raise ConnectionLostError(f"{self.name} is not open")
        return self._backend.take(timeout_s)

    def newest_frame(self, max_age_s: float) -> Frame:
        """The newest exposure at once. Raises StaleError when it is older or there was none, DeviceError.

        One look is enough, since neither backend keeps a queue; and matching one may take longer than the next one needs to come.
        """
        self._last = self.pull(0.0) or self._last
        age_s = math.inf if self._last is None else (time.time_ns() - self._last.stamp_ns) / NS
        if self._last is None or age_s > max_age_s:
            raise StaleError(f"newest picture of {self.name}", age_s, max_age_s)
        return self._last

    def disconnect(self) -> None:
        """Closes the camera; any number of times."""
        self.forget()
        self._backend.close()
        self._lens = None

    def report(self) -> CameraReport:
        """What the backend says: how depth is made, above all."""
        return self._backend.report()
