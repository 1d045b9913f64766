# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError
from dex_core.images import check_rgb, crop_and_resize, is_blank


def test_crop_and_resize_is_area_averaging_of_the_rectangle() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (540, 960, 3), dtype=np.uint8)
    out = crop_and_resize(image, (120, 0, 720, 540), (240, 180))  # exactly 3 x 3 blocks
    want = image[:, 120:840].reshape(180, 3, 240, 3, 3).astype(float).mean(axis=(1, 3))
    assert out.shape == (180, 240, 3)
    assert np.abs(out - want).max() <= 1.0


def test_intrinsics_follow_the_pixels() -> None:
    """A point's pixel in the native picture lands where the cropped intrinsics say."""
    native = Intrinsics(960, 540, 700.0, 700.0, 479.5, 269.5)
    small = native.cropped_and_resized((120, 0, 720, 540), (320, 240))
    for x, y, z in ((0.1, -0.05, 1.0), (-0.3, 0.2, 1.4), (0.0, 0.0, 0.7)):
        u, v = native.fx * x / z + native.cx, native.fy * y / z + native.cy
        expected = ((u + 0.5 - 120) * 320 / 720 - 0.5, (v + 0.5) * 240 / 540 - 0.5)
        assert (small.fx * x / z + small.cx, small.fy * y / z + small.cy) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("crop", [(-1, 0, 10, 10), (0, 0, 961, 540), (0, 0, 0, 10), (900, 0, 100, 540)])
def test_crop_that_leaves_the_picture_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ShapeError, match="crop"):
        crop_and_resize(np.zeros((540, 960, 3), np.uint8), crop, (320, 240))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_no_rgb_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        check_rgb(image, "picture")


def test_blank_pictures_are_told_from_scenes() -> None:
    assert is_blank(np.zeros((240, 320, 3), np.uint8))
    assert is_blank(np.full((240, 320, 3), 255, np.uint8))
    assert not is_blank(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
