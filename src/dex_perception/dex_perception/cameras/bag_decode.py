# SPDX-License-Identifier: Apache-2.0
"""Serialized pictures and lenses to arrays, without ROS: sensor_msgs Image, CompressedImage and CameraInfo."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from dex_core import encodings
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError
from dex_perception.cameras.bag_reader import BagMessage
from dex_perception.cameras.bag_topics import COMPRESSED, IMAGE, INFO

DEPTH_HEADER = struct.Struct("<iff")
"""In front of a compressedDepth picture (compressed_depth_image_transport): format, and the two numbers of inverse depth."""
INVERSE_DEPTH = 0


def picture(message: BagMessage) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, read-only, of an Image or CompressedImage. Raises ShapeError."""
    decoded = _decoded(message)
    if message.type_name == COMPRESSED:
        pixels = _uncompressed(decoded.data, cv2.IMREAD_COLOR, message)
        rgb = encodings.to_rgb(pixels, "bgr8")
    else:
        rgb = np.ascontiguousarray(encodings.to_rgb(_pixels(decoded), decoded.encoding))
    rgb.setflags(write=False)
    return rgb


def depth(message: BagMessage) -> NDArray[np.float32]:
    """(H, W) float32 [m], NaN where it is unknown, read-only, of an Image or a compressedDepth CompressedImage. Raises ShapeError."""
    decoded = _decoded(message)
    if message.type_name == COMPRESSED:
        metres = _uncompressed_depth(decoded, message)
    else:
        metres = encodings.to_metres(_pixels(decoded), decoded.encoding)
    metres.setflags(write=False)
    return metres


def intrinsics(message: BagMessage, rectified: bool) -> Intrinsics:
    """Lens of a CameraInfo: K and D, or P alone where the pictures are ``rectified``. Raises ShapeError, NonFiniteError."""
    info = _decoded(message)
    if rectified and info.p[0] > 0.0:
        fx, fy, cx, cy, distortion = info.p[0], info.p[5], info.p[2], info.p[6], ()
    else:
        fx, fy, cx, cy = info.k[0], info.k[4], info.k[2], info.k[5]
        distortion = tuple(float(value) for value in info.d) if np.any(info.d) else ()
    if not (fx > 0.0 and fy > 0.0):
        raise ShapeError(f"CameraInfo on {message.topic!r} is of a camera that was not calibrated: focal lengths {fx} and {fy}", code="camera_info")
    if distortion and info.distortion_model not in ("plumb_bob", "rational_polynomial"):
        raise ShapeError(f"CameraInfo on {message.topic!r} has distortion_model {info.distortion_model!r}; allowed: plumb_bob, rational_polynomial",
                         code="camera_info")
    return Intrinsics(int(info.width), int(info.height), float(fx), float(fy), float(cx), float(cy), distortion)


@lru_cache(maxsize=1)
def _types() -> Any:
    return get_typestore(Stores.ROS2_JAZZY)  # these three types are the same in every distribution since Foxy


def _decoded(message: BagMessage) -> Any:
    if message.type_name not in (IMAGE, COMPRESSED, INFO):
        raise ShapeError(f"{message.topic!r} is {message.type_name}; expected {IMAGE}, {COMPRESSED} or {INFO}")
    try:
        return _types().deserialize_cdr(message.data, message.type_name)
    except (SerdeError, ValueError, IndexError, struct.error) as error:
        raise ShapeError(f"a {message.type_name} on {message.topic!r} is malformed: {error}", code="image_malformed") from error


def _pixels(image: Any) -> NDArray[Any]:
    return encodings.image_to_array(image.encoding, image.height, image.width, image.step, image.data, bool(image.is_bigendian))


def _uncompressed(data: NDArray[np.uint8], flags: int, message: BagMessage) -> NDArray[Any]:
    pixels = cv2.imdecode(np.asarray(data), flags) if len(data) else None
    if pixels is None:
        raise ShapeError(f"a compressed picture on {message.topic!r} cannot be decoded ({len(data)} bytes)", code="image_malformed")
    return pixels


def _uncompressed_depth(compressed: Any, message: BagMessage) -> NDArray[np.float32]:
    name, _, how = (part.strip() for part in compressed.format.partition(";"))
    if how not in ("", "compressedDepth", "compressedDepth png") or len(compressed.data) <= DEPTH_HEADER.size:
        raise ShapeError(f"depth on {message.topic!r} is compressed as {compressed.format!r}; allowed: 16UC1 or 32FC1; compressedDepth png",
                         code="encoding_conversion")
    kind, numerator, offset = DEPTH_HEADER.unpack(bytes(compressed.data[: DEPTH_HEADER.size]))
    pixels = _uncompressed(compressed.data[DEPTH_HEADER.size :], cv2.IMREAD_UNCHANGED, message)
    if name != "32FC1":
        return encodings.to_metres(pixels, name)
    if kind != INVERSE_DEPTH:
        raise ShapeError(f"depth on {message.topic!r} is compressed in the unknown way {kind}", code="encoding_conversion")
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = np.float32(numerator) / (pixels.astype(np.float32) - np.float32(offset))
    metres[pixels == 0] = np.nan
    return encodings.to_metres(metres, "32FC1")
