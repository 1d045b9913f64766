# SPDX-License-Identifier: Apache-2.0
"""The contract of every camera: three kinds of reading, told apart by what they promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera without distortion: ``fx, fy, cx, cy`` [px] of a picture of ``width`` x ``height`` [px]."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def cropped_and_resized(self, crop_xywh: tuple[int, int, int, int], size_wh: tuple[int, int]) -> Intrinsics:
        """Intrinsics after dex_core.images.crop_and_resize (pixel centres at integer + 0.5)."""
        x, y, w, h = crop_xywh
        sx, sy = size_wh[0] / w, size_wh[1] / h
        return Intrinsics(
            size_wh[0], size_wh[1], self.fx * sx, self.fy * sy,
            (self.cx + 0.5 - x) * sx - 0.5, (self.cy + 0.5 - y) * sy - 0.5,
        )


@dataclass(frozen=True)
class Frame:
    """One exposure.

    Attributes:
        rgb: (H, W, 3) uint8, read-only.
        depth_m: (H, W) float32 [m] aligned to rgb, NaN where unknown; None when the camera gives none.
        stamp_ns: wall-clock time of the exposure [ns].
        sequence: grows with every exposure of one connection.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    stamp_ns: int
    sequence: int


@runtime_checkable
class Camera(Protocol):
    """A colour (and depth) camera."""

    def connect(self) -> None:
        """Opens the device. Raises DeviceError."""
        ...

    def intrinsics(self) -> Intrinsics:
        """Of the pictures that ``Frame.rgb`` holds."""
        ...

    def next_frame(self, timeout_s: float) -> Frame:
        """Waits for an exposure that no earlier call returned. Raises DeadlineError or DeviceError."""
        ...

    def newest_frame(self, max_age_s: float) -> Frame:
        """The newest exposure at once. Raises StaleError when it is older."""
        ...

    def frame_after(self, stamp_ns: int, timeout_s: float) -> Frame:
        """Waits for an exposure not older than ``stamp_ns``. Raises DeadlineError or DeviceError."""
        ...

    def disconnect(self) -> None:
        """Closes the device; any number of times."""
        ...
