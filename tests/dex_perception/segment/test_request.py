# SPDX-License-Identifier: Apache-2.0
"""What a goal may ask for, and how prompts become clicks on the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_perception.segment.codes import NoTarget, PromptError
from dex_perception.segment.prompts import REACH_M, Meant, read
from dex_perception.segment.request import Request

TRUE, FALSE = np.array([True]), np.array([False])


def click(column: float, row: float, *more: tuple[float, float, bool], **settings: Any) -> Request:
    places = np.array([(column, row), *((c, r) for c, r, _ in more)])
    return Request(clicks_px=places, click_positive=np.array([True, *(p for _, _, p in more)]), **settings)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "got nothing"), ({"text": "  "}, "got nothing"), ({"clicks_px": np.zeros((1, 2)), "click_positive": FALSE}, "got nothing"),
        ({"text": "mug", "box_px": (0.0, 0.0, 1.0, 1.0)}, "got text and box"), ({"text": "x" * 300}, "300 characters"),
        ({"box_px": (5.0, 0.0, 5.0, 9.0)}, "x_min < x_max"), ({"box_px": (0.0, 0.0, float("inf"), 9.0)}, "x_min < x_max"),
        ({"clicks_px": np.zeros((2, 2)), "click_positive": TRUE}, "one label each"),
        ({"points_m": np.zeros((1, 2)), "point_positive": TRUE}, "any, 3"),
        ({"clicks_px": np.array([[np.nan, 1.0]]), "click_positive": TRUE}, "not finite"),
        ({"text": "mug", "budget_s": -1.0}, "budget_s is -1.0"), ({"text": "mug", "max_age_s": float("nan")}, "max_age_s is nan"),
        ({"clicks_px": np.zeros((33, 2)), "click_positive": np.ones(33, dtype=bool)}, "at most 32"),
    ],
)
def test_what_is_wrong_with_a_goal_is_named(fields: dict, text: str) -> None:
    with pytest.raises(PromptError, match=text):
        Request(**fields)


def test_kinds_and_targets() -> None:
    assert Request(text=" the mug ").target == "the mug" and Request(box_px=(0.0, 0.0, 2.0, 2.0)).target == "box" and click(1, 1).kind == "click"
    assert Request(points_m=np.zeros((1, 3)), point_positive=TRUE, clicks_px=np.zeros((1, 2)), click_positive=FALSE).kind == "point"


def test_pixel_clicks_land_on_their_things(scene: Callable, middle: Callable) -> None:
    view, labels = scene().view()
    against = middle(labels, 2)
    prompt = read(click(*middle(labels, 1), (*against, False)), view)
    truth = labels.reshape(-1)[view.cloud.pixels]
    on = [truth[np.abs(view.cloud.points_m - p).sum(axis=1).argmin()] for p in prompt.clicks.points_m]
    assert on == [1, 2] and prompt.clicks.positive.tolist() == [True, False] and not prompt.note


@given(column=st.floats(-400, 400), row=st.floats(-400, 400))
def test_any_pixel_gives_a_click_near_it_or_a_reason(shared_view: Any, column: float, row: float) -> None:
    view = shared_view
    try:
        prompt = read(click(column, row), view)
    except NoTarget as error:
        inside = -0.5 <= column <= 159.5 and -0.5 <= row <= 119.5
        assert error.code == ("prompt_no_depth" if inside else "prompt_outside")
        return
    index = int(np.abs(view.cloud.points_m - prompt.clicks.points_m[0]).sum(axis=1).argmin())
    at_row, at_column = divmod(int(view.cloud.pixels[index]), 160)
    assert np.hypot(at_row - row, at_column - column) <= 6.0 + 1e-6


def test_the_nearest_pixel_with_depth_is_taken(scene: Callable) -> None:
    picture, _ = scene().render()
    picture.depth_m[40:80, 60:100] = np.nan
    picture.depth_m[60, 85] = 0.9
    from dex_perception.segment.view import Workspace, see

    view = see(picture, scene().pose(), Workspace())
    assert view.cloud.pixels[view.near_pixel(82.0, 60.0, 6)] == 60 * 160 + 85
    assert view.near_pixel(78.0, 60.0, 6) == -1
    with pytest.raises(NoTarget) as caught:
        read(click(78.0, 60.0), view)
    assert caught.value.code == "prompt_no_depth"


def test_points_snap_to_the_surface_and_not_further(scene: Callable) -> None:
    view, _ = scene().view()
    above = np.array([[0.02, 0.0, 0.07 + 0.6 * REACH_M]])
    prompt = read(Request(points_m=above, point_positive=TRUE, points_frame="world"), view, np.eye(4))
    assert np.linalg.norm(prompt.clicks.points_m[0] - above[0]) <= REACH_M
    in_camera = (np.linalg.inv(view.pose_camera_in_world) @ np.append(above[0], 1.0))[None, :3]
    same = read(Request(points_m=in_camera, point_positive=TRUE), view)
    np.testing.assert_allclose(same.clicks.points_m, prompt.clicks.points_m, atol=1e-6)
    with pytest.raises(NoTarget, match="nearest surface is") as caught:
        read(Request(points_m=above + (0.0, 0.0, 0.1), point_positive=TRUE, points_frame="world"), view, np.eye(4))
    assert caught.value.code == "prompt_outside"


def test_a_box_clicks_its_thing_and_around_it(scene: Callable) -> None:
    view, labels = scene().view()
    for number in (1, 2, 3):
        rows, columns = np.nonzero(labels == number)
        box = tuple(float(v) for v in (columns.min(), rows.min(), columns.max(), rows.max()))
        clicks = read(Request(box_px=box), view).clicks
        truth = labels.reshape(-1)[view.cloud.pixels]
        on = np.array([truth[np.abs(view.cloud.points_m - p).sum(axis=1).argmin()] for p in clicks.points_m])
        assert on[0] == number and clicks.positive.tolist() == [True] + [False] * (len(on) - 1)
        assert len(on) >= 4 and (on[1:] != number).all()


@pytest.mark.parametrize(("box", "code"), [((200.0, 0.0, 300.0, 50.0), "prompt_outside"), ((0.0, 0.0, 6.0, 3.0), "prompt_no_depth")])
def test_boxes_without_anything_in_them(scene: Callable, box: Any, code: str) -> None:
    view, _ = scene(table=False).view()
    with pytest.raises(NoTarget) as caught:
        read(Request(box_px=box), view)
    assert caught.value.code == code


class FakeReader:
    name = "fake"

    def __init__(self, meant: Meant) -> None:
        self.meant = meant

    def find(self, text: str, view: Any) -> Meant:
        return self.meant


def test_words_go_by_the_reader(scene: Callable, middle: Callable) -> None:
    view, labels = scene().view()
    place = view.cloud.points_m[view.near_pixel(*middle(labels, 3), 3)]
    prompt = read(Request(text="the blue box"), view, reader=FakeReader(Meant(0.7, point_m=place)))
    assert prompt.note == "fake read the words with 0.70"
    np.testing.assert_allclose(prompt.clicks.points_m[0], place)
    rows, columns = np.nonzero(labels == 2)
    boxed = read(Request(text="the ball"), view, reader=FakeReader(Meant(0.6, box_px=(columns.min(), rows.min(), columns.max(), rows.max()))))
    assert len(boxed.clicks.points_m) >= 4
    with pytest.raises(NoTarget) as caught:
        read(Request(text="the ball"), view)
    assert caught.value.code == "no_text_model"
