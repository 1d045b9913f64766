# SPDX-License-Identifier: Apache-2.0
"""What the collector takes, what it refuses and in which words, and what it asks for next."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from dex_core.errors import ShapeError
from dex_perception.calibrate import Board, Collector, Setup, View
from dex_perception.calibrate.poses import from_xyz_rpy, pose
from dex_perception.calibrate.synthetic import draw
from dex_perception.calibrate.testing import BOARD, rig_of, views_of

LENS = rig_of(Setup.IN_HAND).intrinsics
SHARP = draw(BOARD, LENS, pose((0.3, -0.35, 0.2), (-0.08, -0.06, 0.42)))
HERE = from_xyz_rpy((0.4, 0.0, 0.3), (3.1, 0.0, 0.0))


def test_a_good_picture_is_taken_once() -> None:
    collector = Collector(BOARD, LENS)
    first = collector.offer("a", SHARP, HERE)
    again = collector.offer("b", SHARP, HERE @ pose((0.01, 0.0, 0.0), (0.004, 0.0, 0.0)))
    turned = collector.offer("c", SHARP, HERE @ pose((0.1, 0.0, 0.0), (0.0, 0.0, 0.0)))
    shifted = collector.offer("d", SHARP, HERE @ pose((0.0, 0.0, 0.0), (0.02, 0.0, 0.0)))
    assert [v.code for v in (first, again, turned, shifted)] == ["taken", "too_similar", "taken", "taken"]
    assert "too similar to a: 4 mm and 0.6 deg" in again.text
    assert [v.name for v in collector.views] == ["a", "c", "d"]


@pytest.mark.parametrize(("picture", "code", "said"), [
    (np.full((480, 640), 90, np.uint8), "not_seen", "7x5,30mm,22mm,5X5_100"),
    (cv2.GaussianBlur(SHARP, (0, 0), 1.8), "blurred", "stand still"),
    (draw(Board(dictionary="4X4_50"), LENS, pose((0.0, 0.0, 0.0), (-0.1, -0.07, 0.4))), "not_seen", "not seen"),
])
def test_a_bad_picture_is_refused_with_the_reason(picture: np.ndarray, code: str, said: str) -> None:
    collector = Collector(BOARD, LENS)
    verdict = collector.offer("a", picture, HERE)
    assert (verdict.code, verdict.taken, collector.views) == (code, False, [])
    assert said in verdict.text


def test_a_bent_sheet_does_not_fit() -> None:
    waves = np.add.outer(np.zeros(480), 9.0 * np.sin(np.arange(640) / 40.0))
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    bent = cv2.remap(SHARP, x.astype(np.float32), (y + waves).astype(np.float32), cv2.INTER_LINEAR)
    verdict = Collector(BOARD, LENS).offer("a", bent, HERE)
    assert verdict.code == "does_not_fit" and "bent sheet" in verdict.text


def test_a_picture_of_another_size_is_an_error() -> None:
    with pytest.raises(ShapeError, match="480, 640"):
        Collector(BOARD, LENS).look(SHARP[:400])


def test_looking_takes_nothing() -> None:
    collector = Collector(BOARD, LENS)
    assert collector.look(SHARP).taken and not collector.views


def covering(views: list[View]) -> Collector:
    """A collector that has taken these."""
    collector = Collector(BOARD, LENS)
    collector.views = list(views)
    return collector


def test_what_is_missing_is_said_most_needed_first() -> None:
    nothing = covering([]).coverage()
    assert not nothing.enough and not nothing.good and nothing.missing[0].startswith("tilt the flange further")
    one_axis = [View(f"{i}", HERE @ from_xyz_rpy((0, 0, 0), (0, 0, 0.2 * i)), v.sighting) for i, v in enumerate(views_of(rig_of(Setup.IN_HAND), 5))]
    coverage = covering(one_axis).coverage()
    assert not coverage.enough
    assert coverage.missing[0].startswith("turn about another axis")
    assert coverage.missing[-1] == "10 more views"


def test_a_rigs_views_are_enough_and_then_good() -> None:
    rig = rig_of(Setup.IN_HAND)
    few, many = covering(views_of(rig, 7)).coverage(), covering(views_of(rig, 20)).coverage()
    assert few.enough and not few.good
    assert many.good and many.missing == [] and many.cells.sum() >= 7
