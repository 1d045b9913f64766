# SPDX-License-Identifier: Apache-2.0
"""Annotations drawn over their pictures: skeletons, masks, boxes, and lines of words below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_perception.keypoints.layout import HAND_NAMES
from dex_perception.keypoints.sample import HIDDEN, MISSING, Annotation, Labelled

Picture = NDArray[np.uint8]
FINGERS_RGB = ((240, 240, 240), (255, 176, 40), (90, 220, 90), (70, 200, 255), (150, 130, 255), (255, 110, 170))
"""Wrist, thumb, index, middle, ring, little."""
ROBOTS_RGB = ((80, 150, 255), (255, 140, 60), (90, 220, 200), (250, 220, 80))
OBJECT_RGB = (255, 60, 200)
CAPTION_RGB, PAPER_RGB = (235, 235, 235), (28, 30, 34)
TINT = 0.22
LINE_PX = 18
_SHIFT = 4
"""Places are drawn to a sixteenth of a pixel."""


def draw(
    rgb: Picture, annotation: Annotation | None, *, scale: int = 1, object_mask: NDArray[np.bool_] | None = None, masks: bool = True,
    boxes: bool = True,
) -> Picture:
    """(H, W, 3) RGB -> (H scale, W scale, 3) RGB with everything drawn on it; the picture itself stays as it is.

    Args:
        annotation: None: only the object's mask is drawn.
        scale: so many times larger, so that points of a small picture can be told apart.
        object_mask: outlined, where given.
        masks, boxes: also the robots' masks (where the annotation has them), also boxes around them.
    """
    out = np.repeat(np.repeat(rgb, scale, axis=0), scale, axis=1) if scale > 1 else rgb.copy()
    for row, robot in enumerate(annotation.robots if annotation is not None else ()):
        colour = ROBOTS_RGB[row % len(ROBOTS_RGB)]
        if masks and robot.mask is not None:
            _outline(out, robot.mask, colour, scale, TINT)
        if boxes and robot.box_xywh is not None:
            _box(out, robot, colour, scale)
    if object_mask is not None:
        _outline(out, object_mask, OBJECT_RGB, scale, 2.0 * TINT)
    for robot in annotation.robots if annotation is not None else ():
        _skeleton(out, robot, scale)
    return out


def caption(picture: Picture, lines: Sequence[str]) -> Picture:
    """The picture with lines of words below it."""
    strip = np.full((LINE_PX * len(lines) + 6, picture.shape[1], 3), PAPER_RGB, dtype=np.uint8)
    for row, text in enumerate(lines):
        cv2.putText(strip, text, (6, LINE_PX * (row + 1) - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, CAPTION_RGB, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])


def _outline(out: Picture, mask: NDArray[np.bool_], colour: tuple[int, int, int], scale: int, tint: float) -> None:
    large = np.repeat(np.repeat(mask, scale, axis=0), scale, axis=1)
    out[large] = ((1.0 - tint) * out[large] + tint * np.array(colour)).astype(np.uint8)
    contours, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, contours, -1, colour, 1, cv2.LINE_AA)


def _box(out: Picture, robot: Labelled, colour: tuple[int, int, int], scale: int) -> None:
    x, y, w, h = (round(scale * value) for value in robot.box_xywh or ())
    cv2.rectangle(out, (x, y), (x + w - 1, y + h - 1), colour, 1)
    words, above = f"{robot.instance.name} {robot.instance.category}", y - 4 if y > 14 else y + h + 12
    cv2.putText(out, words, (max(2, x), above), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)


def _skeleton(out: Picture, robot: Labelled, scale: int) -> None:
    places = [_place(uv, scale) if visibility != MISSING else None for uv, visibility in zip(robot.uv, robot.visibility, strict=True)]
    hand = robot.instance.kind == "hand"
    size = out.shape[0] / 240.0
    thick = max(1, round((0.35 if hand else 0.7) * size))
    for start, end in robot.instance.edges:
        if places[start] is not None and places[end] is not None:
            hidden = HIDDEN in (robot.visibility[start], robot.visibility[end])
            colour = _colour(robot, end)
            cv2.line(out, places[start], places[end], _dim(colour) if hidden else colour, 1 if hidden else thick, cv2.LINE_AA, _SHIFT)
    for row, place in enumerate(places):
        if place is None:
            continue
        radius = max(2, round((0.9 if hand else 1.3) * size)) << _SHIFT
        if robot.visibility[row] == HIDDEN:
            cv2.circle(out, place, radius, _colour(robot, row), 1, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(out, place, radius, _colour(robot, row), -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(out, place, radius, (20, 20, 20), 1, cv2.LINE_AA, _SHIFT)


def _place(uv: NDArray[np.float64], scale: int) -> tuple[int, int]:
    u, v = np.rint(((uv + 0.5) * scale - 0.5) * (1 << _SHIFT)).astype(int).tolist()
    return u, v


def _colour(robot: Labelled, row: int) -> tuple[int, int, int]:
    if robot.instance.kind == "hand" and len(robot.instance.points) == len(HAND_NAMES):
        return FINGERS_RGB[(row + 3) // 4]
    return FINGERS_RGB[0]


def _dim(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return tuple(round(0.55 * part) for part in colour)  # type: ignore[return-value]
