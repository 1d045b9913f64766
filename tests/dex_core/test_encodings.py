# SPDX-License-Identifier: Apache-2.0
"""Every encoding of cv_bridge by its definition, beside cv_bridge itself where it is installed; padding, byte order, and pictures that lie."""

from __future__ import annotations

import itertools
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core import encodings
from dex_core.encodings import converted, encoding, image_to_array, to_metres, to_millimetres, to_rgb
from dex_core.errors import ShapeError

COLOURS = [f"{word}{bits}" for word in ("mono", "rgb", "bgr", "rgba", "bgra") for bits in (8, 16)]
BAYER = [f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]
YUV = ["yuv422", "yuv422_yuy2", "uyvy", "yuyv"]
GENERIC = [f"{depth}C{channels}" for depth in ("8U", "8S", "16U", "16S", "32S", "32F", "64F") for channels in (1, 2, 3, 4, 7)] + ["16U", "32F"]
EVERY = COLOURS + BAYER + YUV + GENERIC
HEIGHT, WIDTH = 6, 8
FOREIGN = sys.byteorder == "little"
"""``is_bigendian`` of bytes that are not in this machine's order."""


def pixels_of(name: str, seed: int = 0) -> np.ndarray:
    """A random picture in an encoding, in its whole range."""
    kind = encoding(name)
    shape = (HEIGHT, WIDTH) if kind.channels == 1 else (HEIGHT, WIDTH, kind.channels)
    rng = np.random.default_rng(seed)
    if kind.dtype.kind == "f":
        return rng.uniform(-1e4, 1e4, shape).astype(kind.dtype)
    bounds = np.iinfo(kind.dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype=kind.dtype, endpoint=True)


def packed(pixels: np.ndarray, padding: int = 0) -> tuple[int, bytes]:
    """(step, bytes) with so many bytes of rubbish at the end of each row."""
    rows = [row.tobytes() + b"\xa5" * padding for row in pixels]
    return len(rows[0]), b"".join(rows)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("foreign", [False, True])
def test_every_encoding_is_read_with_padding_and_in_either_byte_order(name: str, padding: int, foreign: bool) -> None:
    pixels = pixels_of(name)
    step, data = packed(pixels.byteswap() if foreign else pixels, padding)
    got = image_to_array(name, HEIGHT, WIDTH, step, data, FOREIGN if foreign else not FOREIGN)
    assert got.dtype == pixels.dtype and got.dtype.isnative
    np.testing.assert_array_equal(got, pixels)
    if not foreign or pixels.dtype.itemsize == 1:
        assert not got.flags.owndata, "a view, not a copy"


def test_channels_have_the_order_that_the_name_says() -> None:
    red = np.zeros((2, 4, 3), np.uint8)
    red[..., 0] = 200
    for name, channel in (("rgb8", 0), ("bgr8", 2), ("rgba8", 0), ("bgra8", 2), ("rgb16", 0), ("bgr16", 2)):
        there = converted(red, "rgb8", name)
        assert there.argmax(axis=2).max() == channel if "a" not in name else (there[..., channel] == 200).all()
        np.testing.assert_array_equal(to_rgb(there, name), red)


@pytest.mark.parametrize(("pattern", "corner"), [("rggb", (0, 0)), ("bggr", (1, 1)), ("gbrg", (1, 0)), ("grbg", (0, 1))])
def test_a_bayer_picture_has_its_red_where_the_pattern_says(pattern: str, corner: tuple[int, int]) -> None:
    mosaic = np.zeros((12, 12), np.uint8)
    mosaic[corner[0] :: 2, corner[1] :: 2] = 240
    inner = to_rgb(mosaic, f"bayer_{pattern}8")[3:-3, 3:-3].reshape(-1, 3).mean(axis=0)
    assert inner[0] > 200 and inner[1] < 10 and inner[2] < 10


@pytest.mark.parametrize(("name", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")])
def test_a_yuv_picture_has_its_brightness_where_the_name_says(name: str, order: str) -> None:
    packed_pixels = np.full((4, 4, 2), 128, np.uint8)
    packed_pixels[..., order.index("y")] = 235  # white in the video range of BT.601
    assert to_rgb(packed_pixels, name).min() >= 254
    assert converted(packed_pixels, name, "mono8").min() == 235


def test_full_stays_full_between_8_and_16_bits_and_rounds() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wide = converted(ramp, "mono8", "mono16")
    assert wide.max() == 65535 and (wide == ramp.astype(int) * 257).all()
    np.testing.assert_array_equal(converted(wide, "mono16", "mono8"), ramp)
    assert converted(np.array([[128, 129]], np.uint16), "mono16", "mono8").tolist() == [[0, 1]], "rounded, not cut off"


def test_generic_encodings_keep_their_value_within_the_range_of_the_target() -> None:
    pixels = np.array([[-1.0, 0.4, 1.5, 2.5, 7e4, np.nan, np.inf, -np.inf]], np.float32)
    assert converted(pixels, "32FC1", "16UC1").tolist() == [[0, 0, 2, 2, 65535, 0, 65535, 0]]
    assert converted(np.array([[-5, 300]], np.int16), "16SC1", "32FC1").tolist() == [[-5.0, 300.0]]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("8UC3", "rgb8"), ("32FC1", "mono8"), ("rgb8", "8UC4"), ("16UC2", "16UC1"), ("rgb8", "bayer_rggb8"), ("rgb8", "yuv422"),
        ("bayer_rggb8", "rgba8"),
    ],
)
def test_what_makes_no_sense_is_refused(source: str, target: str) -> None:
    with pytest.raises(ShapeError, match="cannot become") as error:
        converted(pixels_of(source), source, target)
    assert error.value.code == "encoding_conversion"


@pytest.mark.parametrize("name", ["", "rgb", "rgb32", "RGB8", "nv12", "8UC0", "8UC513", "128FC1", "bayer_rgbg8", "16UC1 "])
def test_unknown_encodings_are_named(name: str) -> None:
    with pytest.raises(ShapeError, match="known: mono") as error:
        encoding(name)
    assert error.value.code == "encoding_unknown"


def test_depth_in_either_unit_is_metres_and_unknown_is_nan() -> None:
    metres = to_metres(np.array([[0, 1500, 65535]], np.uint16), "16UC1")
    assert np.isnan(metres[0, 0]) and metres[0, 1:].tolist() == pytest.approx([1.5, 65.535])
    metres = to_metres(np.array([[0.0, -1.0, np.inf, np.nan, 0.25]], np.float32), "32FC1")
    assert np.isnan(metres[0, :4]).all() and metres[0, 4] == 0.25
    assert to_millimetres(np.array([[np.nan, -1.0, 0.0, 0.0006, 1.2346, 70.0, np.inf]], np.float32)).tolist() == [[0, 0, 0, 1, 1235, 0, 0]]
    with pytest.raises(ShapeError, match="allowed: 16UC1"):
        to_metres(np.zeros((2, 2), np.uint8), "mono8")


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(EVERY) | st.text(max_size=12), height=st.integers(-2, 9), width=st.integers(-2, 9), step=st.integers(-2, 80),
    size=st.integers(0, 400), big=st.booleans(),
)
def test_a_message_that_lies_is_refused_by_name(name: str, height: int, width: int, step: int, size: int, big: bool) -> None:
    try:
        got = image_to_array(name, height, width, step, bytes(size), big)
    except ShapeError as error:
        assert error.code in ("encoding_unknown", "image_malformed")
        return
    assert got.shape[:2] == (height, width) and height * step == size and width * encoding(name).pixel_bytes <= step


def test_it_is_what_cv_bridge_gives() -> None:
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge comes with a ROS install, not from PyPI")
    from sensor_msgs.msg import Image

    bridge = cv_bridge.CvBridge()
    for source in EVERY:
        pixels = pixels_of(source)
        step, data = packed(pixels)
        message = Image(height=HEIGHT, width=WIDTH, encoding=source, step=step, data=data, is_bigendian=int(not FOREIGN))
        ours = image_to_array(source, HEIGHT, WIDTH, step, data, not FOREIGN)
        np.testing.assert_array_equal(ours, bridge.imgmsg_to_cv2(message, "passthrough"))
        for target in COLOURS:
            try:
                theirs = bridge.imgmsg_to_cv2(message, target)
            except cv_bridge.CvBridgeError:
                with pytest.raises(ShapeError):
                    converted(ours, source, target)
                continue
            np.testing.assert_array_equal(converted(ours, source, target), theirs, err_msg=f"{source} to {target}")


@pytest.mark.parametrize(("source", "target"), list(itertools.product(COLOURS, COLOURS)))
def test_colours_and_depths_are_those_of_opencv_one_after_the_other(source: str, target: str) -> None:
    """cv_bridge's order: colours first, then depth; its convertTo is OpenCV's, which convertScaleAbs shares for 8 bits."""
    pixels = pixels_of(source, 1)
    words = [encodings.encoding(name).colour for name in (source, target)]
    want = pixels if words[0] == words[1] else cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{words[0]}2{words[1]}"))
    if pixels.itemsize == 2 and target.endswith("8"):
        want = cv2.convertScaleAbs(want, alpha=255.0 / 65535.0)
    elif pixels.itemsize == 1 and target.endswith("16"):
        want = want.astype(np.uint16) * 257
    np.testing.assert_array_equal(converted(pixels, source, target), want)
