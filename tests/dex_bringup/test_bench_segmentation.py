# SPDX-License-Identifier: Apache-2.0
"""``dex bench segmentation`` on a table made by hand: both segmenters answer the same clicks, and a refusal counts as an empty mask."""
from __future__ import annotations

import argparse
import math

import numpy as np
import pytest

from dex_bringup.bench import segmentation as bench
from dex_core.clouds import Cloud
from dex_core.errors import DexError
from dex_learn.segmentation.scores import score_scenes, summary
from dex_learn.tabletop.testing import two_boxes
from dex_perception.segment.base import Clicks, Mask
from dex_perception.segment.codes import NoTarget


def _options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(list(words))


class Refusing:
    """Says 'no target' to every click."""

    name = "refusing"

    def encode(self, cloud: Cloud, pose_camera_in_world: np.ndarray) -> int:
        assert (pose_camera_in_world[:3, 3] == 0.0).all() and cloud.rgb is not None
        return len(cloud)

    def decode(self, encoded: int, clicks: Clicks, previous: Mask | None = None) -> Mask:
        raise NoTarget("nothing here", code="low_confidence")


def test_both_segmenters_are_measured_on_the_same_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "stored_scenes", lambda folder, split, count, seed: two_boxes(2))
    report = bench.run(_options("--quick", "--threads", "1"), lambda text: None)
    assert report.figures["things"] == 4 and report.figures["scenes"] == 2
    assert 0.5 < report.figures["miou_1"] <= 1.0 and 0.0 <= report.figures["geometric_miou_1"] <= 1.0
    assert report.figures["click_p50_ms"] > 0.0 and "geometric_click_p50_ms" in report.figures
    assert [goal.figure for goal in report.goals] == ["miou_1", "click_p50_ms"]


def test_refused_clicks_count_as_empty_masks() -> None:
    timed = bench.Timed(Refusing())
    found = summary(score_scenes(timed.open, two_boxes(), clicks=2)) | bench.times(timed)
    assert found["miou_1"] == found["miou_2"] == 0.0 and found["refused_share"] == 1.0 and timed.refused == 4
    assert math.isfinite(found["next_click_p50_ms"])


@pytest.mark.parametrize("words", [("--scenes", "0"), ("--threads", "0"), ("--bundle", "no_such_bundle")])
def test_bad_arguments_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(DexError):
        bench.run(_options(*words), lambda text: None)
