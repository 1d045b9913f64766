# SPDX-License-Identifier: Apache-2.0
"""The contract of every camera: three kinds of reading, told apart by what they promise."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.errors import DeadlineError, NonFiniteError, ShapeError, StaleError

DISTORTION_SIZES = (0, 4, 5, 8, 12, 14)
"""How many coefficients OpenCV's model may have; none: the picture is undistorted."""
MOST_QUEUED = 32
"""More exposures than any device keeps back; bounds how many are skipped to reach the newest."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera: ``fx, fy, cx, cy`` [px] of a picture of ``width`` x ``height`` [px], pixel centres at integers.

    Attributes:
        distortion: OpenCV's coefficients in OpenCV's order (k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]); empty: none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.distortion) not in DISTORTION_SIZES:
            raise ShapeError(f"{len(self.distortion)} distortion coefficients; OpenCV's model has one of {list(DISTORTION_SIZES)}")
        if not all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy, *self.distortion))):
            raise NonFiniteError(f"intrinsics are not finite: {self}")

    @classmethod
    def of_view(cls, size_wh: tuple[int, int], fovy_rad: float, distortion: tuple[float, ...] = ()) -> Intrinsics:
        """Square pixels, the axis in the middle, ``fovy_rad`` the vertical field of view [rad]."""
        width, height = size_wh
        focal = 0.5 * height / math.tan(0.5 * fovy_rad)
        return cls(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), distortion)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) camera matrix [px]."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def distorted(self) -> bool:
        """Whether any coefficient differs from zero."""
        return any(self.distortion)

    def cropped_and_resized(self, crop_xywh: tuple[int, int, int, int], size_wh: tuple[int, int]) -> Intrinsics:
        """Intrinsics after dex_core.images.crop_and_resize; distortion acts on rays, so it stays as it is."""
        x, y, w, h = crop_xywh
        sx, sy = size_wh[0] / w, size_wh[1] / h
        return replace(
            self, width=size_wh[0], height=size_wh[1], fx=self.fx * sx, fy=self.fy * sy,
            cx=(self.cx + 0.5 - x) * sx - 0.5, cy=(self.cy + 0.5 - y) * sy - 0.5,
        )


@dataclass(frozen=True)
class Frame:
    """One exposure.

    Attributes:
        rgb: (H, W, 3) uint8, read-only.
        depth_m: (H, W) float32 [m] along the optical axis, aligned to rgb, NaN where unknown; None when the camera gives none.
        stamp_ns: wall-clock time of the exposure [ns].
        sequence: grows with every exposure of one connection.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    stamp_ns: int
    sequence: int


@runtime_checkable
class Camera(Protocol):
    """A colour (and depth) camera. Used from one thread."""

    def connect(self) -> None:
        """Opens the device. Raises DeviceError or, for a setting the device does not have, ConfigError."""
        ...

    def intrinsics(self) -> Intrinsics:
        """Of the pictures that ``Frame.rgb`` holds, once connected."""
        ...

    def next_frame(self, timeout_s: float) -> Frame:
        """Waits for an exposure that no earlier call returned. Raises DeadlineError or DeviceError."""
        ...

    def newest_frame(self, max_age_s: float) -> Frame:
        """The newest exposure at once, also when it was returned before. Raises StaleError when it is older, DeviceError."""
        ...

    def frame_after(self, stamp_ns: int, timeout_s: float) -> Frame:
        """Waits for an exposure not older than ``stamp_ns``. Raises DeadlineError or DeviceError."""
        ...

    def disconnect(self) -> None:
        """Closes the device; any number of times."""
        ...


@dataclass(frozen=True)
class CameraReport:
    """What a user should know of a camera beyond its pictures.

    Attributes:
        values: for /diagnostics, e.g. ``serial``, ``usb``, ``depth`` (how depth is made).
        warning: one sentence when something limits the camera, e.g. a USB 2 port; empty: nothing does.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""


@runtime_checkable
class ReportingCamera(Protocol):
    """A camera that has more to say. Optional: the camera node asks those that have it."""

    def report(self) -> CameraReport:
        """What is known now; cheap, and from any thread."""
        ...


class PulledCamera(ABC):
    """The three kinds of reading over one, for devices that hand out their exposures in order, each once.

    A subclass adds ``connect``, ``intrinsics`` and ``disconnect`` (which also calls :meth:`forget`) and says who it is in ``name``.
    """

    name = "camera"
    _last: Frame | None = None

    @abstractmethod
    def pull(self, timeout_s: float) -> Frame | None:
        """The next exposure; None when none came in time. A timeout of 0 does not wait.

        Raises:
            DeviceError: not connected, or the device is gone.
        """

    def forget(self) -> None:
        """Drops the newest exposure, which belongs to a connection that has ended."""
        self._last = None

    def next_frame(self, timeout_s: float) -> Frame:
        """Waits for an exposure that no earlier call returned. Raises DeadlineError or DeviceError."""
        frame = self.pull(timeout_s)
        if frame is None:
            raise DeadlineError(self.name, timeout_s)
        self._last = frame
        return frame

    def newest_frame(self, max_age_s: float) -> Frame:
        """The newest exposure at once. Raises StaleError when it is older or there was none, DeviceError."""
        for _ in range(MOST_QUEUED):
            frame = self.pull(0.0)
            if frame is None:
                break
            self._last = frame
        age_s = math.inf if self._last is None else (time.time_ns() - self._last.stamp_ns) / NS
        if self._last is None or age_s > max_age_s:
            raise StaleError(f"newest picture of {self.name}", age_s, max_age_s)
        return self._last

    def frame_after(self, stamp_ns: int, timeout_s: float) -> Frame:
        """Waits for an exposure not older than ``stamp_ns``. Raises DeadlineError or DeviceError."""
        deadline_ns = time.monotonic_ns() + round(timeout_s * NS)
        while self._last is None or self._last.stamp_ns < stamp_ns:
            left_s = (deadline_ns - time.monotonic_ns()) / NS
            if left_s <= 0.0:
                raise DeadlineError(self.name, timeout_s, "no exposure of the time asked for came")
            frame = self.pull(left_s)
            self._last = frame or self._last
        return self._last
