# SPDX-License-Identifier: Apache-2.0
"""Pictures as ROS encodes them: to arrays without a copy where none is needed, and from one encoding to another.

Results are those of cv_bridge, for every encoding it knows (vision_opencv, ``cv_bridge.cpp``: ``getCvType``, ``getConversionCode``,
``toCvCopyImpl``; 16 bits become 8 by rounding, unlike in other converters).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError

Pixels = NDArray[Any]
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")
_DEPTHS = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
_MOST_CHANNELS = 512
"""OpenCV's CV_CN_MAX."""
_COLOURS = {"mono": ("GRAY", 1), "rgb": ("RGB", 3), "bgr": ("BGR", 3), "rgba": ("RGBA", 4), "bgra": ("BGRA", 4)}
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
"""OpenCV names a pattern by its second row."""
_YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUY2", "yuyv": "YUY2"}


@dataclass(frozen=True)
class Encoding:
    """What one name means.

    Attributes:
        name: as in sensor_msgs/Image.
        dtype: of one channel, in this machine's byte order. channels: of one pixel.
        colour: OpenCV's word for the colour space (``RGB``, ``BayerBG``, ``UYVY``), empty for a generic one, whose channels have no meaning.
    """

    name: str
    dtype: np.dtype[Any]
    channels: int
    colour: str

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel."""
        return self.channels * self.dtype.itemsize


@lru_cache(maxsize=256)
def encoding(name: str) -> Encoding:
    """The encoding called ``name``. Raises ShapeError (``encoding_unknown``) with those there are."""
    word = name.rstrip("0123456789")
    bits = name[len(word) :]
    if word in _COLOURS and bits in ("8", "16"):
        return Encoding(name, np.dtype(f"u{int(bits) // 8}"), _COLOURS[word][1], _COLOURS[word][0])
    if word.startswith("bayer_") and word[6:] in _BAYER and bits in ("8", "16"):
        return Encoding(name, np.dtype(f"u{int(bits) // 8}"), 1, _BAYER[word[6:]])
    if name in _YUV:
        return Encoding(name, np.dtype("u1"), 2, _YUV[name])
    found = _GENERIC.fullmatch(name)
    if found and 1 <= int(found[2] or 1) <= _MOST_CHANNELS:
        return Encoding(name, np.dtype(_DEPTHS[found[1]]), int(found[2] or 1), "")
    raise ShapeError(
        f"image encoding {name!r} is unknown; known: mono, rgb, bgr, rgba, bgra and bayer_(rggb|bggr|gbrg|grbg), each with 8 or 16, "
        f"{', '.join(_YUV)}, and (8U|8S|16U|16S|32S|32F|64F)C<channels>", code="encoding_unknown",
    )


def image_to_array(name: str, height: int, width: int, step: int, data: Any, is_bigendian: bool = False) -> Pixels:
    """The pixels of an image message: (H, W), or (H, W, C) with more than one channel.

    A view of ``data`` when its byte order is this machine's; padding at the end of rows is skipped, not copied.

    Args:
        name: encoding. height, width: [px]. step: bytes of a row, padding included.
        data: bytes, or anything with the buffer protocol.
        is_bigendian: byte order of ``data``.

    Raises:
        ShapeError: ``encoding_unknown``, or ``image_malformed``: no pixels, a step too short, too few or too many bytes.
    """
    kind = encoding(name)
    raw = np.frombuffer(data, dtype=np.uint8)
    if height < 1 or width < 1:
        raise ShapeError(f"image of {width} x {height} pixels ({name}); at least one is needed", code="image_malformed")
    if step < width * kind.pixel_bytes or raw.size != height * step:
        raise ShapeError(
            f"image {width} x {height} {name} with step {step} has {raw.size} bytes; expected a step of at least {width * kind.pixel_bytes} and "
            f"height x step = {height * step} bytes", code="image_malformed",
        )
    swapped = kind.dtype.itemsize > 1 and bool(is_bigendian) != (sys.byteorder == "big")
    stored = kind.dtype.newbyteorder("S") if swapped else kind.dtype
    shape: tuple[int, ...] = (height, width) if kind.channels == 1 else (height, width, kind.channels)
    strides = (step, kind.pixel_bytes, kind.dtype.itemsize)[: len(shape)]
    pixels: Pixels = np.ndarray(shape, dtype=stored, buffer=raw, strides=strides)
    return pixels.astype(kind.dtype) if swapped else pixels


def converted(pixels: Pixels, source: str, target: str) -> Pixels:
    """Pixels of one encoding in another: the array itself when nothing changes.

    Colours become colours of any depth, and whatever is not generic something generic with as many channels. Between 8 and 16 bits values are
    scaled, so that full stays full; all others keep their value, rounded and kept in the range of the target.

    Raises:
        ShapeError: ``encoding_unknown``; ``encoding_conversion``: cv_bridge does not convert this pair either.
    """
    if source == target:
        return pixels
    have, want = encoding(source), encoding(target)
    if have.colour and want.colour:
        return _deepened(_recoloured(pixels, have, want), want.dtype)
    if have.channels != want.channels or (want.colour and not have.colour):
        raise ShapeError(
            f"{source} cannot become {target}: " + ("the first says nothing of colours" if want.colour else "they differ in channels"),
            code="encoding_conversion",
        )
    return _deepened(pixels, want.dtype)


def to_rgb(pixels: Pixels, source: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of any colour encoding; a generic one such as ``8UC3`` says nothing of colours. Raises ShapeError."""
    return converted(pixels, source, "rgb8")


def to_metres(pixels: Pixels, source: str) -> NDArray[np.float32]:
    """Depth picture -> (H, W) float32 [m], NaN where it is unknown: 0 and less, and what is not finite.

    ``16UC1`` and ``mono16`` are millimetres, ``32FC1`` metres (REP 118).

    Raises:
        ShapeError: ``encoding_conversion``: another encoding.
    """
    if source in ("16UC1", "mono16"):
        depth = pixels.astype(np.float32)
        depth *= np.float32(1e-3)
    elif source == "32FC1":
        depth = np.array(pixels, dtype=np.float32)
    else:
        raise ShapeError(f"depth picture with encoding {source!r}; allowed: 16UC1 and mono16 [mm], 32FC1 [m]", code="encoding_conversion")
    depth[~((depth > 0.0) & (depth < np.inf))] = np.nan
    return depth


def to_millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """(H, W) [m] -> uint16 [mm], rounded; 0 where it is unknown or above 65.535 m."""
    known = (depth_m > 0.0) & (depth_m < 65.5355)
    return np.where(known, np.rint(np.where(known, depth_m, 0.0) * np.float32(1e3)), 0.0).astype(np.uint16)


def _recoloured(pixels: Pixels, have: Encoding, want: Encoding) -> Pixels:
    """Another colour space at the same depth."""
    if have.colour == want.colour:
        return pixels
    name = f"COLOR_YUV2{want.colour}_{have.colour}" if have.name in _YUV else f"COLOR_{have.colour}2{want.colour}"
    code = getattr(cv2, name, None)
    if code is None or want.name in _YUV or (have.colour.startswith("Bayer") and want.colour in ("RGBA", "BGRA")):
        raise ShapeError(f"{have.name} cannot become {want.name}: there is no such conversion of colours", code="encoding_conversion")
    return cv2.cvtColor(np.ascontiguousarray(pixels), code)


def _deepened(pixels: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """Another type for each channel; not a number becomes 0 where there is none."""
    if pixels.dtype == dtype:
        return pixels
    scale = {(1, 2): 65535.0 / 255.0, (2, 1): 255.0 / 65535.0}.get((pixels.dtype.itemsize, dtype.itemsize), 1.0)
    if dtype.kind == "f":
        return pixels.astype(dtype)
    bounds = np.iinfo(dtype)
    values = pixels * np.float64(scale) if scale != 1.0 or pixels.dtype.kind == "f" else pixels
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values, nan=0.0, posinf=bounds.max, neginf=bounds.min))
    return np.clip(values, bounds.min, bounds.max).astype(dtype)
