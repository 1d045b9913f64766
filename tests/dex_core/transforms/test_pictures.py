# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dex_core.errors import ConfigError, ShapeError
from dex_core.images import crop_and_resize
from dex_core.transforms import KINDS, Chain, ChannelsFirst, Crop, NotInvertible, Pad, PixelValues, Resize, SwapChannels, from_plain, to_plain

PICTURES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
NATIVE = np.random.default_rng(0).integers(0, 255, (54, 96, 3), dtype=np.uint8)
SIZE_WH = (96, 54)


@given(PICTURES)
def test_what_can_be_undone_comes_back_to_the_bit(image: np.ndarray) -> None:
    imagenet = PixelValues(1.0 / 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for transform in (SwapChannels(), ChannelsFirst(), PixelValues(), imagenet, Chain((SwapChannels(), imagenet, ChannelsFirst()))):
        before = image.copy()
        np.testing.assert_array_equal(transform.inverse(transform(image)), image)
        np.testing.assert_array_equal(image, before)


@given(PICTURES)
def test_values_equal_plain_numpy(image: np.ndarray) -> None:
    np.testing.assert_array_equal(SwapChannels()(image), image[:, :, [2, 1, 0]])
    np.testing.assert_array_equal(ChannelsFirst()(image), image.transpose(2, 0, 1))
    scaled = PixelValues(1.0 / 255.0, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))(image)
    np.testing.assert_allclose(scaled, (image / 255.0 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4], atol=1e-5)
    assert scaled.dtype == np.float32 == PixelValues()(image).dtype


def test_crop_and_resize_are_those_of_the_cameras() -> None:
    chain = Chain((Crop(12, 0, 72, 54), Resize(32, 24)))
    np.testing.assert_array_equal(chain(NATIVE), crop_and_resize(NATIVE, (12, 0, 72, 54), (32, 24)))
    assert Resize(96, 54)(NATIVE) is NATIVE, "nothing to do"
    np.testing.assert_array_equal(Resize(24, 18)(Crop(12, 0, 72, 54)(NATIVE)), np.rint(
        NATIVE[:, 12:84].reshape(18, 3, 24, 3, 3).mean(axis=(1, 3)) - 1e-9).astype(np.uint8))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(8, 64), st.integers(8, 64))
def test_padding_keeps_the_proportions_and_the_whole_picture(width: int, height: int, to_width: int, to_height: int) -> None:
    image, pad = np.full((height, width, 3), 200, np.uint8), Pad(to_width, to_height, value=7)
    out = pad(image)
    inside = (out == 200).all(axis=2)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert out.shape == (to_height, to_width, 3) and (out[~inside] == 7).all() and inside.sum() == len(rows) * len(columns)
    assert len(columns) == to_width or len(rows) == to_height, "as large as fits"
    assert abs(len(columns) / len(rows) - width / height) <= max(1.0 / len(rows), 1.0 / len(columns)) * max(width / height, 1.0) + 1e-9 or min(
        len(rows), len(columns)) == 1
    assert abs(rows[0] - (to_height - 1 - rows[-1])) <= 1 and abs(columns[0] - (to_width - 1 - columns[-1])) <= 1, "in the middle"


@pytest.mark.parametrize("transform", [Crop(10, 5, 40, 30), Resize(24, 18), Resize(200, 10), Pad(64, 64), Pad(20, 60)])
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_place_of_a_point_comes_back(transform: Crop | Resize | Pad, x: float, y: float) -> None:
    placing, point = transform.placing(SIZE_WH), np.array([x * 96, y * 54])
    np.testing.assert_allclose(placing.inverse(placing(point)), point, atol=1e-9)


@pytest.mark.parametrize("transform", [Crop(8, 8, 64, 40), Resize(48, 27), Resize(192, 108, "linear"), Pad(64, 64, "area"), Pad(120, 60)])
def test_a_bright_spot_is_where_its_place_says(transform: Crop | Resize | Pad) -> None:
    image = np.zeros((54, 96, 3), np.uint8)
    cv2.rectangle(image, (30, 20), (37, 27), (255, 255, 255), -1)  # its middle: (34, 24)
    out = transform(image)[:, :, 0].astype(float)
    x, y = (np.arange(length) + 0.5 for length in out.shape[::-1])
    found = np.array([(out.sum(axis=0) * x).sum(), (out.sum(axis=1) * y).sum()]) / out.sum()
    np.testing.assert_allclose(found, transform.placing(SIZE_WH)(np.array([34.0, 24.0])), atol=0.3)


def test_what_is_lost_is_said_to_be_lost() -> None:
    for transform in (Crop(0, 0, 2, 2), Resize(2, 2), Pad(2, 2), Chain((ChannelsFirst(), Resize(2, 2)))):
        with pytest.raises(NotInvertible):
            transform.inverse(NATIVE)


@pytest.mark.parametrize("crop", [Crop(0, 0, 97, 54), Crop(30, 0, 72, 54), Crop(0, 30, 20, 40), Crop(-1, 0, 5, 5)])
def test_a_crop_stays_in_its_picture(crop: Crop) -> None:
    with pytest.raises(ShapeError, match="leaves the picture"):
        crop(NATIVE)


def test_no_picture_and_no_spread() -> None:
    for transform in (Crop(0, 0, 1, 1), Resize(2, 2), Pad(2, 2)):
        with pytest.raises(ShapeError):
            transform(NATIVE[:, :, 0])
        with pytest.raises(ShapeError):
            transform(NATIVE[:0])
    for mean, std in (((0.5,), ()), ((0.5,), (0.0,)), ((float("nan"),), (1.0,))):
        with pytest.raises(ConfigError):
            PixelValues(1.0, mean, std)


def test_a_manifest_holds_a_picture_pipeline() -> None:
    chain = Chain((Crop(1, 2, 30, 20), Pad(24, 24), SwapChannels(), PixelValues(1.0 / 255.0, (0.5,) * 3, (0.2,) * 3), ChannelsFirst()))
    back = from_plain(to_plain(chain, KINDS), KINDS, "image")
    assert back == chain
    np.testing.assert_array_equal(back(NATIVE), chain(NATIVE))
