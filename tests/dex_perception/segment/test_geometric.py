# SPDX-License-Identifier: Apache-2.0
"""The segmenter without a model: one region for one thing, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clouds import Cloud
from dex_core.errors import DexError
from dex_perception.segment.base import Clicks, Segmenter
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.growing import regions
from dex_perception.segment.table import off_table


def click(view: Any, labels: Any, middle: Callable, number: int, *against: int) -> Clicks:
    places = [view.cloud.points_m[view.near_pixel(*middle(labels, n), 3)] for n in (number, *against)]
    return Clicks(np.array(places), np.array([True] + [False] * len(against)))


@pytest.mark.parametrize("noise_m", [0.0, 0.0015])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_click_gives_the_thing_it_is_on(scene: Callable, middle: Callable, iou: Callable, number: int, noise_m: float) -> None:
    view, labels = scene(noise_m=noise_m).view()
    segmenter = GeometricSegmenter()
    assert isinstance(segmenter, Segmenter) and segmenter.name == "geometric"
    mask = segmenter.decode(segmenter.encode(view.cloud, view.pose_camera_in_world), click(view, labels, middle, number))
    # what lies within 8 mm of the table goes with it, so the lowest rim is lost
    assert iou(view.cloud.picture(mask.inside, view.size_hw, fill=False), labels == number) > 0.75
    assert not view.cloud.picture(mask.inside, view.size_hw, fill=False)[(labels != number) & (labels > 0)].any()
    assert mask.confidence == pytest.approx(0.9)


def test_a_click_on_the_table_gives_nothing(scene: Callable) -> None:
    view, _ = scene().view()
    segmenter = GeometricSegmenter()
    on_table = view.cloud.points_m[np.abs(view.cloud.points_m - (0.0, -0.3, 0.0)).sum(axis=1).argmin()]
    mask = segmenter.decode(segmenter.encode(view.cloud, view.pose_camera_in_world), Clicks(on_table[None], np.array([True])))
    assert not mask.inside.any() and mask.confidence == 0.0


def test_things_that_touch_are_told_apart_by_a_negative_click(scene: Callable, box: Callable, middle: Callable, iou: Callable) -> None:
    view, labels = scene(box((-0.08, 0.0, 0.0), (0.0, 0.08, 0.08), (200, 30, 30)), box((0.0, 0.0, 0.0), (0.08, 0.08, 0.08), (30, 60, 190))).view()
    segmenter = GeometricSegmenter()
    encoded = segmenter.encode(view.cloud, view.pose_camera_in_world)
    both = segmenter.decode(encoded, click(view, labels, middle, 1))
    assert iou(view.cloud.picture(both.inside, view.size_hw, fill=False), labels > 0) > 0.75
    one = segmenter.decode(encoded, click(view, labels, middle, 1, 2))
    assert iou(view.cloud.picture(one.inside, view.size_hw, fill=False), labels == 1) > 0.7 and one.confidence < both.confidence


def test_too_few_points_are_refused() -> None:
    with pytest.raises(DexError, match="31 points; at least 32") as caught:
        GeometricSegmenter().encode(Cloud(np.zeros((31, 3), dtype=np.float32)), np.eye(4))
    assert caught.value.code == "depth_empty"


def test_without_a_table_everything_stands(scene: Callable) -> None:
    view, _ = scene(table=False).view()
    standing = off_table(view.cloud)
    assert not standing.found and standing.off.all() and standing.height_m.min() == 0.0


def test_the_tables_height_is_zero_whatever_side_the_worlds_origin_is_on(scene: Callable) -> None:
    view, labels = scene().view()
    for shift in (-1.0, 0.0, 1.0):
        moved = view.cloud.points_m + np.array([0.0, 0.0, shift], dtype=np.float32)
        standing = off_table(Cloud(moved))
        assert standing.found
        np.testing.assert_allclose(standing.height_m, view.cloud.points_m[:, 2], atol=2e-3)


@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.01, 0.05, 0.2]))
def test_regions_are_those_of_a_search_one_by_one(seed: int, n: int, cube_m: float) -> None:
    points = np.random.default_rng(seed).uniform(0.0, 0.5, (n, 3)).astype(np.float32)
    found = regions(points, cube_m)
    cells = np.floor(points / cube_m).astype(int)
    touch = (np.abs(cells[:, None] - cells[None]) <= 1).all(axis=2)
    expected, number = np.full(n, -1), 0
    for start in range(n):
        if expected[start] < 0:
            front = {start}
            while front:
                expected[list(front)] = number
                front = {j for i in front for j in np.flatnonzero(touch[i]) if expected[j] < 0}
            number += 1
    assert ((found[:, None] == found[None]) == (expected[:, None] == expected[None])).all()
    sizes = np.bincount(found)
    assert (sizes[:-1] >= sizes[1:]).all() and sizes.min() >= 1


def test_no_points_have_no_regions() -> None:
    assert regions(np.zeros((0, 3), dtype=np.float32), 0.01).shape == (0,)


@pytest.mark.parametrize(
    ("points", "positive", "text"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=bool), "Q at least 1"), (np.zeros((1, 2)), [True], "expected"), (np.zeros((2, 3)), [True], "expected"),
        (np.zeros((1, 3)), [False], "first one must lie on the object"), (np.full((1, 3), np.nan), [True], "not finite"),
    ],
)
def test_wrong_clicks_are_refused(points: Any, positive: Any, text: str) -> None:
    with pytest.raises(DexError, match=text):
        Clicks(points, np.asarray(positive))
