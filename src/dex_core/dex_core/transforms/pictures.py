# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way to a network. What was cut off or averaged does not come back, but the place of a point does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError, ShapeError
from dex_core.transforms.base import NotInvertible
from dex_core.types import Array

INTERPOLATIONS = ("area", "linear")
Image = NDArray[np.uint8]


class Placing(NamedTuple):
    """Pixel places: out = in * scale + offset, (x, y) each, of pixel corners (0 is the picture's left or upper edge) [px]."""

    scale: Array
    offset: Array

    def __call__(self, points: NDArray) -> Array:
        """(..., 2) places before -> after."""
        return np.asarray(points, dtype=np.float64) * self.scale + self.offset

    def inverse(self, points: NDArray) -> Array:
        """(..., 2) places after -> before."""
        return (np.asarray(points, dtype=np.float64) - self.offset) / self.scale


@dataclass(frozen=True)
class Crop:
    """Cuts the rectangle with its upper left corner at (x, y) [px] out of (H, W, C)."""

    x: int = bounded(0, 65535)
    y: int = bounded(0, 65535)
    width: int = bounded(1, 65535)
    height: int = bounded(1, 65535)

    def __call__(self, values: Image) -> Image:
        """The rectangle, copied. Raises ShapeError where it leaves the picture."""
        height, width = _size(values)
        if min(self.x, self.y) < 0 or self.x + self.width > width or self.y + self.height > height:
            raise ShapeError(f"crop {(self.x, self.y, self.width, self.height)} leaves the picture of {width} x {height}")
        return np.ascontiguousarray(values[self.y : self.y + self.height, self.x : self.x + self.width])

    def inverse(self, values: Image) -> Image:
        """Raises NotInvertible."""
        raise NotInvertible(f"what a crop to {self.width} x {self.height} cut off does not come back")

    def placing(self, size_wh: tuple[int, int]) -> Placing:
        """Where points of a picture of ``size_wh`` go."""
        del size_wh  # a corner moves alike in every picture
        return Placing(np.ones(2), np.array([-self.x, -self.y], dtype=np.float64))


@dataclass(frozen=True)
class Resize:
    """The whole picture to ``width`` x ``height``, its proportions given up."""

    width: int = bounded(1, 65535)
    height: int = bounded(1, 65535)
    method: str = choice(*INTERPOLATIONS, default="area")

    def __call__(self, values: Image) -> Image:
        """(H, W, C) -> (height, width, C); the same array when the size is right."""
        if _size(values) == (self.height, self.width):
            return values
        import cv2  # here: a server that checks bundles knows manifests, and has no OpenCV

        return cv2.resize(values, (self.width, self.height), interpolation=cv2.INTER_AREA if self.method == "area" else cv2.INTER_LINEAR)

    def inverse(self, values: Image) -> Image:
        """Raises NotInvertible."""
        raise NotInvertible(f"pixels averaged to {self.width} x {self.height} do not come back")

    def placing(self, size_wh: tuple[int, int]) -> Placing:
        """Where points of a picture of ``size_wh`` go."""
        return Placing(np.array([self.width / size_wh[0], self.height / size_wh[1]]), np.zeros(2))


@dataclass(frozen=True)
class Pad:
    """The whole picture, its proportions kept, in the middle of ``width`` x ``height`` between bars of one ``value``."""

    width: int = bounded(1, 65535)
    height: int = bounded(1, 65535)
    method: str = choice(*INTERPOLATIONS, default="linear")
    value: int = bounded(0, 255, default=0)

    def __call__(self, values: Image) -> Image:
        """(H, W, C) -> (height, width, C)."""
        width, height, left, top = self._inner(_size(values)[::-1])
        out = np.full((self.height, self.width, *values.shape[2:]), self.value, dtype=values.dtype)
        out[top : top + height, left : left + width] = Resize(width, height, self.method)(values)
        return out

    def inverse(self, values: Image) -> Image:
        """Raises NotInvertible."""
        raise NotInvertible(f"pixels averaged to fit {self.width} x {self.height} do not come back")

    def placing(self, size_wh: tuple[int, int]) -> Placing:
        """Where points of a picture of ``size_wh`` go."""
        width, height, left, top = self._inner(size_wh)
        return Placing(np.array([width / size_wh[0], height / size_wh[1]]), np.array([left, top], dtype=np.float64))

    def _inner(self, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Size and upper left corner of the picture between its bars."""
        wide, high = size_wh
        if wide * self.height >= high * self.width:  # in whole numbers: 43 pixels scaled to 31 are 31, not 30.999
            width, height = self.width, max(1, high * self.width // wide)
        else:
            width, height = max(1, wide * self.height // high), self.height
        return width, height, (self.width - width) // 2, (self.height - height) // 2


@dataclass(frozen=True)
class SwapChannels:
    """RGB <-> BGR, of (H, W, 3)."""

    def __call__(self, values: NDArray) -> NDArray:
        """The channels in opposite order."""
        return np.ascontiguousarray(values[..., ::-1])

    inverse = __call__


@dataclass(frozen=True)
class ChannelsFirst:
    """(H, W, C) <-> (C, H, W)."""

    def __call__(self, values: NDArray) -> NDArray:
        """HWC -> CHW."""
        return np.ascontiguousarray(np.moveaxis(values, -1, -3))

    def inverse(self, values: NDArray) -> NDArray:
        """CHW -> HWC."""
        return np.ascontiguousarray(np.moveaxis(values, -3, -1))


@dataclass(frozen=True)
class PixelValues:
    """(H, W, C) uint8 -> float32: value * ``scale``, less ``mean``, by ``std``, per channel.

    Attributes:
        scale: e.g. 1/255. mean, std: of the scaled values, e.g. ImageNet's; empty: 0 and 1.
    """

    scale: float = bounded(1e-9, 1e9, default=1.0 / 255.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not np.isfinite([*self.mean, *self.std]).all() or any(std < 1e-6 for std in self.std):
            raise ConfigError(f"mean {list(self.mean)} and std {list(self.std)}: one finite number per channel each, std at least 1e-6")

    def __call__(self, values: NDArray) -> NDArray[np.float32]:
        """uint8 -> float32."""
        scaled = np.asarray(values, dtype=np.float32) * np.float32(self.scale)
        return (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32) if self.mean else scaled

    def inverse(self, values: NDArray) -> Image:
        """float32 -> the nearest of 0 to 255."""
        back = np.asarray(values, dtype=np.float64)
        if self.mean:
            back = back * np.array(self.std) + np.array(self.mean)
        return np.clip(np.rint(back / self.scale), 0, 255).astype(np.uint8)


def _size(values: NDArray) -> tuple[int, int]:
    if values.ndim != 3 or 0 in values.shape:
        raise ShapeError(f"picture of shape {values.shape}; expected (height, width, channels)")
    return int(values.shape[0]), int(values.shape[1])
