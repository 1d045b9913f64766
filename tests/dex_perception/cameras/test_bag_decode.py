# SPDX-License-Identifier: Apache-2.0
"""Recorded pictures and lenses in the encodings that cameras record them in."""
from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dex_core.errors import ShapeError
from dex_perception.cameras import bag_decode
from dex_perception.cameras.bag_reader import BagMessage

spec = importlib.util.spec_from_file_location("make_bag", Path(__file__).with_name("make_bag.py"))
make_bag = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_bag)  # type: ignore[union-attr]
RGB = make_bag.rgb_of(200)
MM = make_bag.depth_mm_of(234)


def recorded(value: Any, type_name: str) -> BagMessage:
    return BagMessage("/a", type_name, bytes(make_bag.TYPES.serialize_cdr(value, type_name)), 1)


def image(pixels: np.ndarray, encoding: str, **layout: Any) -> BagMessage:
    return recorded(make_bag.image(1, pixels, encoding, **layout), make_bag.IMAGE)


def compressed(data: bytes, form: str) -> BagMessage:
    return recorded(make_bag.compressed(1, data, form), make_bag.COMPRESSED)


@pytest.mark.parametrize("pixels, encoding", [
    (RGB, "rgb8"), (RGB[..., ::-1], "bgr8"), (np.dstack((RGB, RGB[..., 0])), "rgba8"), (np.dstack((RGB[..., ::-1], RGB[..., 0])), "bgra8"),
])
@pytest.mark.parametrize("pad", [0, 5])
def test_colours_of_either_order_with_alpha_and_padding(pixels: np.ndarray, encoding: str, pad: int) -> None:
    rgb = bag_decode.picture(image(np.ascontiguousarray(pixels), encoding, pad=pad))
    assert np.array_equal(rgb, RGB) and rgb.flags.c_contiguous and not rgb.flags.writeable


def test_colours_compressed() -> None:
    lossless = cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()
    assert np.array_equal(bag_decode.picture(compressed(lossless, "rgb8; png compressed bgr8")), RGB)
    smooth = cv2.GaussianBlur(np.tile(RGB, (4, 4, 1)), (0, 0), 4)
    lossy = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert np.abs(bag_decode.picture(compressed(lossy, "rgb8; jpeg compressed bgr8")).astype(int) - smooth).mean() < 2.0


@pytest.mark.parametrize("message", [
    image(MM, "16UC1"), image(MM, "mono16"), image(MM, "16UC1", big=True, pad=6),
    image(np.where(MM > 0, MM * np.float32(1e-3), np.inf).astype(np.float32), "32FC1"),
    compressed(bytes(12) + cv2.imencode(".png", MM)[1].tobytes(), "16UC1; compressedDepth png"),
    compressed(bytes(12) + cv2.imencode(".png", MM)[1].tobytes(), "16UC1; compressedDepth"),
])
def test_depth_in_metres_with_nan_where_there_is_none(message: BagMessage) -> None:
    depth = bag_decode.depth(message)
    assert depth.dtype == np.float32 and not depth.flags.writeable
    assert np.isnan(depth[0, :5]).all() and depth[1:] == pytest.approx(1.234, abs=1e-6)


def test_float_depth_is_compressed_as_its_inverse() -> None:
    """compressed_depth_image_transport: q = a / z + b, with a and b in front of the picture, and 0 where there is none."""
    a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0
    quantized = np.full((4, 6), int(a / 1.25 + b), dtype=np.uint16)
    quantized[0, 0] = 0
    data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", quantized)[1].tobytes()
    depth = bag_decode.depth(compressed(data, "32FC1; compressedDepth png"))
    assert np.isnan(depth[0, 0]) and depth[1:] == pytest.approx(1.25, abs=2e-4)


@pytest.mark.parametrize("call, message, words", [
    (bag_decode.picture, compressed(b"", "jpeg"), r"cannot be decoded \(0 bytes\)"),
    (bag_decode.picture, compressed(b"no picture", "jpeg"), r"cannot be decoded \(10 bytes\)"),
    (bag_decode.picture, image(MM, "nonsense"), "encoding 'nonsense' is unknown"),
    (bag_decode.depth, compressed(bytes(40), "16UC1; compressedDepth rvl"), "compressed as '16UC1; compressedDepth rvl'"),
    (bag_decode.depth, compressed(bytes(40), "rgb8; jpeg compressed bgr8"), "allowed: 16UC1 or 32FC1; compressedDepth png"),
    (bag_decode.depth, image(RGB, "rgb8"), "depth picture with encoding 'rgb8'"),
    (bag_decode.picture, recorded(make_bag.message(make_bag.TEXT, data="x"), make_bag.TEXT), "'/a' is std_msgs/msg/String; expected"),
    (bag_decode.picture, BagMessage("/a", make_bag.IMAGE, b"\x00\x01\x00\x00" + bytes(10), 1), "is malformed"),
    (bag_decode.picture, BagMessage("/a", make_bag.IMAGE, b"", 1), "is malformed"),
])
def test_what_is_no_such_picture_is_refused(call: Any, message: BagMessage, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call(message)


def test_every_cut_of_a_message_is_refused() -> None:
    whole = image(RGB, "rgb8").data
    for length in (*range(0, 90, 3), len(whole) - 1):
        with pytest.raises(ShapeError):
            bag_decode.picture(BagMessage("/a", make_bag.IMAGE, whole[:length], 1))


def lens(rectified: bool = False, **values: Any) -> Any:
    return bag_decode.intrinsics(recorded(make_bag.info(1, **values), make_bag.INFO), rectified)


def test_lens_of_raw_and_of_rectified_pictures() -> None:
    d = (0.1, -0.2, 0.001, 0.002, 0.03)
    raw = lens(d=d, p_fx=35.0)
    assert (raw.fx, raw.cx, raw.cy, raw.distortion) == (40.0, 15.5, 11.5, d)
    flat = lens(True, d=d, p_fx=35.0)
    assert (flat.fx, flat.fy, flat.cx, flat.distortion) == (35.0, 35.0, 15.5, ()), "P, and the distortion is gone from the picture"
    assert lens(True, p_fx=0.0).fx == 40.0, "a driver that leaves P empty"
    assert lens().distortion == (), "five zeros are no distortion"
    assert lens(d=(0.1,) * 8, model="rational_polynomial").distortion == (0.1,) * 8


@pytest.mark.parametrize("values, words", [
    ({"fx": 0.0}, "was not calibrated: focal lengths 0.0 and 0.0"),
    ({"d": (0.1,) * 4, "model": "equidistant"}, "distortion_model 'equidistant'; allowed: plumb_bob, rational_polynomial"),
    ({"d": (0.1,) * 7}, "7 distortion coefficients"),
])
def test_lenses_that_cannot_be_used(values: dict, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        lens(**values)
