# SPDX-License-Identifier: Apache-2.0
"""Depth from two raw pictures through known lenses, held against the geometry they were made from."""
from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dex_core.errors import ConfigError, ShapeError
from dex_perception.cameras.stereo_depth import DepthSettings, StereoDepth
from dex_perception.cameras.stereo_rectify import Rectifier
from dex_perception.cameras.stereo_synthetic import StereoPair, render, tabletop, zed_like

Image = NDArray[np.uint8]
CALIBRATION = zed_like("VGA")


@pytest.fixture(scope="module")
def pair() -> Iterator[StereoPair]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield render(CALIBRATION, tabletop())
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def rectifier() -> Rectifier:
    return Rectifier(CALIBRATION)


@pytest.fixture(scope="module")
def rectified(pair: StereoPair, rectifier: Rectifier) -> tuple[Image, Image]:
    return rectifier(pair.left, pair.right)


def error_m(depth_m: NDArray[np.float32], pair: StereoPair) -> NDArray[np.float32]:
    """Absolute error where both are known."""
    known = np.isfinite(depth_m) & np.isfinite(pair.depth_m)
    return np.abs(depth_m - pair.depth_m)[known]


def test_rectified_rows_lie_on_rows(rectified: tuple[Image, Image], rectifier: Rectifier, pair: StereoPair) -> None:
    """Where the true depth says that a pixel of the left picture is in the right one, it is there, to a fraction of the contrast."""
    left, right = (cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float32) for picture in rectified)
    rows, columns = np.indices(pair.depth_m.shape).astype(np.float32)
    disparity = np.float32(rectifier.intrinsics.fx * rectifier.baseline_m) / pair.depth_m
    errors = {}
    for shift in (-1.0, 0.0, 1.0):
        there = cv2.remap(right, columns - disparity, rows + np.float32(shift), cv2.INTER_LINEAR)
        inside = columns - disparity > 2.0
        errors[shift] = float(np.median(np.abs(there - left)[inside]))
    assert errors[0.0] < 2.0 < min(errors[-1.0], errors[1.0]), "one row up or down is visibly worse"


def test_rectified_intrinsics(rectifier: Rectifier) -> None:
    inner = rectifier.intrinsics
    assert not inner.distortion and (inner.width, inner.height) == (672, 376)
    assert rectifier.baseline_m == pytest.approx(CALIBRATION.baseline_m, rel=1e-6)
    assert rectifier.rotation @ rectifier.rotation.T == pytest.approx(np.eye(3), abs=1e-9)


@pytest.mark.parametrize("shrink, median_m, share", [(1, 0.006, 0.90), (2, 0.010, 0.90)])
def test_depth_is_that_of_the_scene(
    pair: StereoPair, rectified: tuple[Image, Image], rectifier: Rectifier, shrink: int, median_m: float, share: float
) -> None:
    depth = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, DepthSettings(shrink=shrink))(*rectified)
    assert depth.dtype == np.float32 and depth.shape == pair.depth_m.shape
    assert float(np.isfinite(depth).mean()) >= share, "share of pixels with depth; occluded ones must stay without"
    error = error_m(depth, pair)
    assert float(np.median(error)) <= median_m
    assert float((error > 0.05 * 1.8).mean()) <= 0.03, "hardly anything is grossly wrong"
    known = depth[np.isfinite(depth)]
    assert known.min() >= 0.35 and known.max() <= 5.0


def test_where_the_right_eye_is_blind_there_is_no_depth(pair: StereoPair, rectified: tuple[Image, Image], rectifier: Rectifier) -> None:
    """The strip beside a near box that only the left eye sees: the check of left against right takes most of it out."""
    scale = rectifier.intrinsics.fx * rectifier.baseline_m
    columns = np.arange(pair.depth_m.shape[1], dtype=np.float32) - scale / pair.depth_m  # where each pixel lies in the right picture
    nearest_to_its_right = np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1]
    occluded = columns > nearest_to_its_right + 2.0
    assert occluded.sum() > 1000
    depth = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, DepthSettings())(*rectified)
    assert np.isfinite(depth[~occluded]).mean() > 0.93
    assert np.isfinite(depth[occluded]).mean() < 0.15


def test_a_picture_without_texture_has_no_depth(rectifier: Rectifier) -> None:
    grey = np.full((376, 672, 3), 128, dtype=np.uint8)
    depth = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, DepthSettings())(grey, grey)
    assert np.isfinite(depth).mean() < 0.01


def test_pictures_of_another_size_are_refused(rectifier: Rectifier) -> None:
    matcher = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, DepthSettings())
    picture = np.zeros((376, 672), dtype=np.uint8)
    for left, right in ((picture[:-1], picture[:-1]), (picture, picture[:, 1:])):
        with pytest.raises(ShapeError, match="expected two of"):
            matcher(left, right)


@pytest.mark.parametrize("settings, message", [
    ({"nearest_m": 2.0, "farthest_m": 1.0}, "nearest_m 2.0 must be less"),
    ({"block_px": 6}, "must be odd"),
])
def test_settings_that_contradict_each_other_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DepthSettings(**settings)


def test_a_range_that_the_picture_cannot_show_is_refused(rectifier: Rectifier) -> None:
    with pytest.raises(ConfigError, match="disparities in a picture 168 px wide"):
        StereoDepth(rectifier.intrinsics, 1.5, DepthSettings(nearest_m=0.1, shrink=4))
