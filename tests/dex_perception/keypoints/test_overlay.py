# SPDX-License-Identifier: Apache-2.0
"""Overlays: the picture stays as it was, marks stand on the points, words are below."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.overlay import OBJECT_RGB, caption, draw
from dex_perception.keypoints.sample import VISIBLE
from dex_perception.keypoints.testing import at_rest

CELL = load_cell("xarm_bimanual")


@pytest.mark.parametrize("scale", [1, 3])
def test_marks_stand_on_their_points(scale: int) -> None:
    sample = at_rest(CELL)
    annotation = Annotator(CELL).annotate(sample)
    before = sample.rgb.copy()
    drawn = draw(sample.rgb, annotation, scale=scale, masks=False, boxes=False)
    assert np.array_equal(sample.rgb, before) and drawn.shape == (240 * scale, 320 * scale, 3) and drawn.dtype == np.uint8
    plain = draw(sample.rgb, None, scale=scale)
    changed = (drawn != plain).any(axis=2)
    assert 0.001 < changed.mean() < 0.2
    for robot in annotation.robots:
        for uv in robot.uv[robot.visibility == VISIBLE]:
            column, row = np.clip(np.rint((uv + 0.5) * scale - 0.5).astype(int), 0, (320 * scale - 1, 240 * scale - 1))
            assert changed[row, column]


def test_an_objects_mask_is_outlined() -> None:
    mask = np.zeros((240, 320), dtype=bool)
    mask[100:140, 150:200] = True
    drawn = draw(at_rest(CELL).rgb, None, object_mask=mask)
    inside = drawn[105:135, 155:195].reshape(-1, 3)
    assert (inside == inside[0]).all() and inside[0][0] > 90 > inside[0][1], "tinted"
    assert np.abs(drawn[100, 170].astype(int) - OBJECT_RGB).max() < 30 and (drawn[:95] == 90).all()


def test_lines_of_words_make_the_picture_taller() -> None:
    picture = np.zeros((60, 200, 3), dtype=np.uint8)
    one, two = caption(picture, ["a"]), caption(picture, ["a", "b"])
    assert one.shape[1] == 200 and 60 < one.shape[0] < two.shape[0]
    assert np.array_equal(one[:60], picture) and (one[60:] > 150).any()
