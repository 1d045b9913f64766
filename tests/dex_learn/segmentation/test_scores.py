# SPDX-License-Identifier: Apache-2.0
"""Scores without torch: what is right scores 1, what is wrong what it should, and the next click falls into the middle of what is wrong."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dex_core.errors import DexError
from dex_learn.segmentation import pictures
from dex_learn.segmentation.clouds import cloud_of, things_in
from dex_learn.segmentation.scores import Answer, Ask, score_scenes, summary, worst_point
from dex_learn.tabletop.testing import CAMERA_M, TOPS, two_boxes


def test_points_stand_where_they_are_seen_from_the_lens_with_z_up() -> None:
    scenes = two_boxes()
    cloud = cloud_of(scenes, 0)
    assert len(cloud.points_m) == 240 * 320 - 2 * 320
    for label, (_, _, height) in TOPS.items():
        assert cloud.points_m[cloud.labels == label, 2] == pytest.approx(height - CAMERA_M[2], abs=3e-4)
    below = int(np.flatnonzero(cloud.pixels == 119 * 320 + 159)[0])
    assert cloud.points_m[below, :2] == pytest.approx([0.0, 0.0], abs=0.003)


def test_a_window_is_the_same_points() -> None:
    scenes = two_boxes()
    whole, part = cloud_of(scenes, 0), cloud_of(scenes, 0, (slice(50, 90), slice(40, 120)))
    inside = np.isin(whole.pixels, part.pixels)
    assert len(part.pixels) == 38 * 80 and np.array_equal(whole.pixels[inside], part.pixels)
    assert np.allclose(whole.points_m[inside], part.points_m) and np.array_equal(whole.labels[inside], part.labels)


def test_small_and_hidden_things_are_not_clicked_on() -> None:
    scenes = two_boxes()
    assert list(things_in(scenes, 0)) == [1, 2]
    scenes.labels[0][scenes.labels[0] == 1] = 0
    assert list(things_in(scenes, 0)) == [2]


def _right(cloud, _) -> Ask:  # noqa: ANN001
    """Knows the truth, and wrongly adds a stripe of the table until it is clicked on."""
    def ask(clicks: np.ndarray, on: np.ndarray, logits: np.ndarray | None) -> Answer:
        label = cloud.labels[np.argmin(np.linalg.norm(cloud.points_m - clicks[0], axis=1))]
        inside = cloud.labels == label
        if len(clicks) == 1:
            inside = inside | (cloud.pixels // 320 >= 220)
        else:
            assert not on[1] and logits is not None  # the second click says: not this
        return Answer(np.where(inside, 5.0, -5.0).astype(np.float32), 0.9)

    return ask


def test_overlaps_before_and_after_the_second_click() -> None:
    scores = score_scenes(_right, two_boxes())
    areas = {1: 38 * 50, 2: 60 * 60}
    assert [s.family for s in scores] == ["box", "cone"] and [s.trained for s in scores] == [True, False]
    for label, s in enumerate(scores, 1):
        assert s.iou == pytest.approx((areas[label] / (areas[label] + 20 * 320), 1.0, 1.0)) and s.believed == 0.9
    found = summary(scores)
    assert found["things"] == 2 and found["miou_2"] == 1.0 and found["above_75_1"] == 0.0
    assert found["trained_families"] == found["family_box"] == pytest.approx(scores[0].iou[0])
    assert found["other_families"] == found["family_cone"] == pytest.approx(scores[1].iou[0])


def test_an_empty_mask_scores_nothing_and_no_scores_are_refused() -> None:
    def nothing(cloud, _) -> Ask:  # noqa: ANN001
        return lambda clicks, on, logits: Answer(np.full(len(cloud.points_m), -1.0, np.float32), 0.0)

    assert summary(score_scenes(nothing, two_boxes(), clicks=1))["miou_1"] == 0.0
    with pytest.raises(DexError, match="no thing"):
        summary([])


def test_the_next_click_falls_into_the_middle_of_the_largest_wrong_region() -> None:
    cloud = cloud_of(two_boxes(), 0)
    wrong = (cloud.labels == 2) | ((cloud.labels == 1) & (cloud.pixels // 320 < 65))
    row, column = divmod(int(cloud.pixels[worst_point(cloud, wrong, (240, 320))]), 320)
    assert abs(row - 160) <= 2 and abs(column - 210) <= 2
    with pytest.raises(DexError):
        worst_point(cloud, np.zeros(len(cloud.pixels), bool), (240, 320))


def test_the_picture_shows_what_was_found_and_added(tmp_path: Path) -> None:
    pictures.draw_masks(tmp_path / "x.png", _right, two_boxes(), count=1)
    sheet = cv2.imread(str(tmp_path / "x.png"))
    assert sheet.shape == (240, 3 * 320, 3)
    green, blue, plain = sheet[170, 200], sheet[230, 10], sheet[20, 20]
    assert green.argmax() == 1 and blue.argmax() == 0 and plain.argmax() == 2
    with pytest.raises(DexError):
        (tmp_path / "y.png").mkdir()
        pictures.draw_masks(tmp_path / "y.png", _right, two_boxes(), count=1)
