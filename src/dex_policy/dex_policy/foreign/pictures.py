# SPDX-License-Identifier: Apache-2.0
"""The picture a server is sent, made as its training made it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dex_core.images import check_rgb
from dex_core.policy.observation import check_picture
from dex_core.transforms import Resize
from dex_policy.foreign.manifest import Picture


def resize_with_pad(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The whole picture scaled into (height, width), its sides in proportion, in the middle of black; to the pixel as openpi's clients do it.

    Args:
        image: (H, W, 3) uint8 RGB.
        height, width: of the result [px].
    """
    check_rgb(image, "picture")
    source_height, source_width = image.shape[:2]
    if (source_height, source_width) == (height, width):
        return image
    ratio = max(source_width / width, source_height / height)
    scaled_height, scaled_width = int(source_height / ratio), int(source_width / ratio)
    scaled = Image.fromarray(image).resize((scaled_width, scaled_height), resample=Image.Resampling.BILINEAR)
    out = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = int((height - scaled_height) / 2), int((width - scaled_width) / 2)
    out[top : top + scaled_height, left : left + scaled_width] = np.asarray(scaled)
    return out


def prepared(image: NDArray[np.uint8], picture: Picture) -> NDArray[np.uint8]:
    """(height, width, 3) or (3, height, width) uint8 of a camera's picture. Raises ObservationRefused ``image_shape``, ``image_blank``."""
    check_picture(image, (picture.source_height, picture.source_width), picture.camera)
    if picture.resize == "pad":
        sized = resize_with_pad(image, picture.height, picture.width)
    else:
        sized = Resize(picture.width, picture.height)(image)  # the picture itself where nothing is to be resized
    return np.ascontiguousarray(sized if picture.layout == "HWC" else np.moveaxis(sized, 2, 0))
