# SPDX-License-Identifier: Apache-2.0
"""From what a client gave - pixels, points, a box, words - to clicks on the cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import nearest
from dex_perception.segment.base import Clicks
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.request import Request
from dex_perception.segment.view import View

REACH_PX = 6
"""How far from a clicked pixel its depth may be taken: edges and shiny spots have none of their own."""
REACH_M = 0.03
"""How far a point in space may lie from the surface it means."""
CORE = 0.5
"""Share of a box, about its middle, where its object is looked for first."""
OUTSIDE = 0.12
"""How far outside a box its negative clicks lie, as a share of its width and height."""
LEAST_CORE = 8


@dataclass(frozen=True)
class Meant:
    """What words mean in one picture.

    Attributes:
        confidence: 0 to 1, by the reader's own measure; it has already decided that this is enough.
        box_px: x_min, y_min, x_max, y_max [px]; None when there is a point.
        point_m: (3,) on the object, world frame [m]; None when there is a box.
    """

    confidence: float
    box_px: tuple[float, float, float, float] | None = None
    point_m: NDArray[np.float32] | None = None


class Reader(Protocol):
    """Words to a place in the picture."""

    name: str

    def find(self, text: str, view: View) -> Meant:
        """The thing that the words mean. Raises NoTarget ``text_unknown``, ``text_unmatched`` or ``text_ambiguous``."""
        ...


@dataclass(frozen=True)
class Prompt:
    """Clicks, and for words who read them and how sure that was."""

    clicks: Clicks
    note: str = ""


def read(request: Request, view: View, pose_points_in_world: NDArray[np.float64] | None = None, reader: Reader | None = None) -> Prompt:
    """The clicks that a request means in a view.

    Args:
        request: checked.
        view: the picture it is read against.
        pose_points_in_world: (4, 4) of ``request.points_frame``; None: the camera's own.
        reader: for words.

    Raises:
        NoTarget: with the reason.
    """
    note = ""
    first: list[Sequence[float]] = []
    against: list[Sequence[float]] = []
    if request.kind == "text":
        if reader is None:
            raise NoTarget("words were given; the cell has neither a detector nor a picker", code="no_text_model")
        meant = reader.find(request.text, view)
        note = f"{reader.name} read the words with {meant.confidence:.2f}"
        if meant.point_m is not None:
            first.append(meant.point_m)
        elif meant.box_px is not None:
            _from_box(meant.box_px, view, first, against)
    elif request.box_px is not None:
        _from_box(request.box_px, view, first, against)
    for place, positive in zip(request.clicks_px, request.click_positive, strict=True):
        (first if positive else against).append(_at_pixel(place, view))
    pose = view.pose_camera_in_world if pose_points_in_world is None else pose_points_in_world
    for place, positive in zip(request.points_m, request.point_positive, strict=True):
        (first if positive else against).append(_at_point(pose[:3, :3] @ place + pose[:3, 3], view, positive=bool(positive)))
    points = np.array([*first, *against], dtype=np.float32)
    return Prompt(Clicks(points, np.arange(len(points)) < len(first)), note)


def _at_pixel(place: NDArray[np.float64], view: View) -> NDArray[np.float32]:
    column, row = (float(v) for v in place)
    height, width = view.size_hw
    if not (-0.5 <= column <= width - 0.5 and -0.5 <= row <= height - 0.5):
        raise NoTarget(f"click ({column:g}, {row:g}) lies outside the picture of {width} x {height}", code="prompt_outside")
    at = view.near_pixel(column, row, REACH_PX)
    if at < 0:
        raise NoTarget(f"within {REACH_PX} px of click ({column:g}, {row:g}) no pixel has a depth inside the workspace", code="prompt_no_depth")
    return view.cloud.points_m[at]


def _at_point(place: NDArray[np.float64], view: View, *, positive: bool) -> NDArray[np.float32]:
    found = nearest(place[None].astype(np.float32), view.cloud.points_m, 1)
    away = float(found.distances_m[0, 0])
    if away > REACH_M and positive:
        raise NoTarget(f"the nearest surface is {away * 1e3:.0f} mm away from the point; at most {REACH_M * 1e3:.0f} mm", code="prompt_outside")
    return view.cloud.points_m[found.indices[0, 0]]


def _from_box(box: Sequence[float], view: View, first: list, against: list) -> None:
    """The middle of what stands in a box, and what lies just outside its four sides."""
    height, width = view.size_hw
    x0, y0, x1, y1 = np.clip(box, 0.0, (width - 1, height - 1, width - 1, height - 1))
    if not (x0 < x1 and y0 < y1):
        raise NoTarget(f"box {[round(float(v), 1) for v in box]} lies outside the picture of {width} x {height}", code="prompt_outside")
    columns, rows = view.cloud.pixels % width, view.cloud.pixels // width
    inside = (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1)
    if not inside.any():
        raise NoTarget(f"no pixel of box {[round(float(v)) for v in box]} has a depth inside the workspace", code="prompt_no_depth")
    middle_x, middle_y = 0.5 * (x0 + x1), 0.5 * (y0 + y1)
    core = inside & (np.abs(columns - middle_x) <= 0.5 * CORE * (x1 - x0)) & (np.abs(rows - middle_y) <= 0.5 * CORE * (y1 - y0))
    off = view.standing.off
    pool = next((p for p in (core & off, inside & off, core) if p.sum() >= LEAST_CORE), inside)
    points = view.cloud.points_m[pool]
    first.append(points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()])
    aside_x, aside_y = OUTSIDE * (x1 - x0), OUTSIDE * (y1 - y0)
    for column, row in ((x0 - aside_x, middle_y), (x1 + aside_x, middle_y), (middle_x, y0 - aside_y), (middle_x, y1 + aside_y)):
        at = view.near_pixel(column, row, REACH_PX) if 0 <= column < width and 0 <= row < height else -1
        if at >= 0 and not inside[at]:
            against.append(view.cloud.points_m[at])
