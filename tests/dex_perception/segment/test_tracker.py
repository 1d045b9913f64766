# SPDX-License-Identifier: Apache-2.0
"""Following: a thing that moves stays the same thing, one that is gone is lost, and another is not taken for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dex_core.clock import NS
from dex_perception.segment.base import Clicks
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.found import Found, found_in
from dex_perception.segment.geometric import GeometricSegmenter
from dex_perception.segment.tracker import Tracker

PERIOD_NS = NS // 5
GREEN, RED = (30, 160, 40), (200, 30, 30)


def find(view: Any, clicks: Clicks) -> Found:
    segmenter = GeometricSegmenter()
    mask = segmenter.decode(segmenter.encode(view.cloud, view.pose_camera_in_world), clicks)
    found = found_in(view, mask.inside, mask.confidence)
    assert found is not None
    return found


def first(scene: Any, number: int, middle: Callable) -> tuple[Tracker, Found]:
    view, labels = scene.view(NS)
    at = view.cloud.points_m[view.near_pixel(*middle(labels, number), 3)]
    found = find(view, Clicks(at[None], np.array([True])))
    return Tracker(found, view), found


@pytest.mark.parametrize("velocity_m_s", [(0.0, 0.0), (0.25, 0.0), (-0.15, 0.2), (0.3, -0.2)])
def test_a_moving_thing_is_followed(scene: Callable, ball: Callable, box: Callable, middle: Callable, iou: Callable, velocity_m_s: Any) -> None:
    def at(step: int) -> Any:
        x, y = (v * step * 0.2 for v in velocity_m_s)
        return scene(
            ball((-0.05 + x, y, 0.035), 0.035, GREEN), box((-0.25, -0.10, 0.0), (-0.15, 0.0, 0.08), RED), box((0.0, 0.2, 0.0), (0.1, 0.3, 0.1), RED),
            noise_m=0.0005, seed=step,
        )

    tracker, _ = first(at(0), 1, middle)
    for step in range(1, 5):
        view, labels = at(step).view(NS + step * PERIOD_NS)
        clicks = tracker.clicks(view)
        # every positive click lies on the thing, every negative one beside it
        truth = labels.reshape(-1)[view.cloud.pixels]
        for place, positive in zip(clicks.points_m, clicks.positive, strict=True):
            pixel = int(np.abs(view.cloud.points_m - place).sum(axis=1).argmin())
            assert (truth[pixel] == 1) == positive, f"step {step}: click {place} positive {positive} lies on {truth[pixel]}"
        assert clicks.positive.sum() >= 1 and (~clicks.positive).sum() >= 1
        found = find(view, clicks)
        tracker.accept(found, view)
        assert iou(found.mask > 0, labels == 1) > 0.7
    np.testing.assert_allclose(tracker.velocity_m_s[:2], velocity_m_s, atol=0.05)


def test_a_thing_half_hidden_is_still_followed(scene: Callable, ball: Callable, box: Callable, middle: Callable) -> None:
    thing = box((-0.05, 0.0, 0.0), (0.05, 0.05, 0.1), GREEN)
    tracker, _ = first(scene(thing), 1, middle)
    view, labels = scene(thing, box((0.0, -0.10, 0.0), (0.1, -0.07, 0.12), RED)).view(NS + PERIOD_NS)
    clicks = tracker.clicks(view)
    truth = labels.reshape(-1)[view.cloud.pixels]
    on = [truth[int(np.abs(view.cloud.points_m - p).sum(axis=1).argmin())] for p in clicks.points_m[clicks.positive]]
    assert set(on) == {1}


def test_a_thing_that_is_gone_is_lost(scene: Callable, ball: Callable, middle: Callable) -> None:
    still = ball((0.2, 0.1, 0.04), 0.04, RED)
    tracker, _ = first(scene(ball((0.0, 0.0, 0.035), 0.035, GREEN), still), 1, middle)
    view, _ = scene(still).view(NS + PERIOD_NS)
    with pytest.raises(NoTarget) as caught:
        tracker.clicks(view)
    assert caught.value.code == "lost"


def test_another_colour_in_its_place_is_not_it(scene: Callable, ball: Callable, middle: Callable) -> None:
    tracker, _ = first(scene(ball((0.0, 0.0, 0.035), 0.035, GREEN)), 1, middle)
    view, _ = scene(ball((0.0, 0.0, 0.035), 0.035, RED)).view(NS + PERIOD_NS)
    with pytest.raises(NoTarget, match="seen again") as caught:
        tracker.clicks(view)
    assert caught.value.code == "lost"


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (((0.25, 0.0, 0.035), 0.035), "from where the object should be"), (((0.0, 0.0, 0.10), 0.10), "times as large"),
        (((0.0, 0.0, 0.012), 0.012), "times as large"),
    ],
)
def test_a_mask_elsewhere_or_of_another_size_is_refused(scene: Callable, ball: Callable, middle: Callable, thing: Any, text: str) -> None:
    tracker, _ = first(scene(ball((0.0, 0.0, 0.035), 0.035, GREEN)), 1, middle)
    view, labels = scene(ball(*thing, GREEN)).view(NS + PERIOD_NS)
    other = find(view, Clicks(view.cloud.points_m[view.near_pixel(*middle(labels, 1), 3)][None], np.array([True])))
    before = tracker.velocity_m_s
    with pytest.raises(NoTarget, match=text) as caught:
        tracker.accept(other, view)
    assert caught.value.code == "lost" and (tracker.velocity_m_s == before).all()


def test_after_an_occlusion_the_reach_has_grown(scene: Callable, ball: Callable, middle: Callable) -> None:
    tracker, _ = first(scene(ball((0.0, 0.0, 0.035), 0.035, GREEN)), 1, middle)
    moved = scene(ball((0.2, 0.0, 0.035), 0.035, GREEN))
    with pytest.raises(NoTarget):
        tracker.clicks(moved.view(NS + PERIOD_NS)[0])
    view, labels = moved.view(NS + 5 * PERIOD_NS)
    clicks = tracker.clicks(view)
    assert labels.reshape(-1)[view.cloud.pixels[int(np.abs(view.cloud.points_m - clicks.points_m[0]).sum(axis=1).argmin())]] == 1
