# SPDX-License-Identifier: Apache-2.0
"""What a camera publishes of its native picture, for training, node and off-line replay; ``dex_core.transforms`` takes it from there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError

Image = NDArray[np.uint8]


def check_rgb(image: Image, where: str) -> None:
    """Raises ShapeError unless ``image`` is (H, W, 3) uint8 with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ShapeError(f"{where}: got {image.dtype} {image.shape}, expected uint8 (height, width, 3)")


def crop_and_resize(image: Image, crop_xywh: tuple[int, int, int, int], size_wh: tuple[int, int]) -> Image:
    """Cuts the rectangle ``(x, y, width, height)`` [px] and shrinks it to ``(width, height)`` by area averaging.

    Raises:
        ShapeError: no RGB picture, or the rectangle leaves it.
    """
    check_rgb(image, "crop_and_resize")
    x, y, w, h = crop_xywh
    height, width = image.shape[:2]
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise ShapeError(f"crop {crop_xywh} leaves the picture of {width} x {height}")
    cut = image[y : y + h, x : x + w]
    return cv2.resize(cut, size_wh, interpolation=cv2.INTER_AREA) if (w, h) != tuple(size_wh) else np.ascontiguousarray(cut)


def is_blank(image: Image, min_std: float = 2.0) -> bool:
    """True for a black, white or otherwise constant picture: nothing may be inferred from it."""
    return bool(image[::4, ::4].std() < min_std)
