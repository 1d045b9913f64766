# SPDX-License-Identifier: Apache-2.0
"""What a client asks for: one object, named by words, a box, clicks in the picture or points in space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dex_perception.segment.codes import PromptError

MOST_CLICKS = 32
MAX_CHARS = 256
LONGEST_S = 60.0
KINDS = ("text", "box", "click", "point")


def _none(columns: int) -> NDArray[np.float64]:
    return np.zeros((0, columns))


@dataclass(frozen=True)
class Request:
    """A checked goal.

    Attributes:
        text: words for the object; empty: none.
        box_px: x_min, y_min, x_max, y_max [px]; None: none.
        clicks_px: (K, 2) column and row; ``click_positive`` (K,) True on the object.
        points_m: (L, 3) in ``points_frame``; ``point_positive`` (L,) True on the object.
        points_frame: empty: the optical frame of the colour picture.
        continuous: follow the object. preempt: take over from whoever runs.
        budget_s, max_age_s: 0: as the cell says.

    Raises:
        PromptError: no prompt, two kinds at once, or a number that cannot be meant; says which.
    """

    text: str = ""
    box_px: tuple[float, float, float, float] | None = None
    clicks_px: NDArray[np.float64] = field(default_factory=lambda: _none(2))
    click_positive: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    points_m: NDArray[np.float64] = field(default_factory=lambda: _none(3))
    point_positive: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    points_frame: str = ""
    continuous: bool = False
    preempt: bool = False
    budget_s: float = 0.0
    max_age_s: float = 0.0

    def __post_init__(self) -> None:
        _check_labels("clicks", self.clicks_px, self.click_positive, 2)
        _check_labels("points", self.points_m, self.point_positive, 3)
        if len(self.clicks_px) + len(self.points_m) > MOST_CLICKS:
            raise PromptError(f"{len(self.clicks_px) + len(self.points_m)} clicks and points; at most {MOST_CLICKS} are allowed")
        if len(self.text) > MAX_CHARS:
            raise PromptError(f"text has {len(self.text)} characters; at most {MAX_CHARS} are allowed")
        if self.box_px is not None:
            _check_box(self.box_px)
        for name in ("budget_s", "max_age_s"):
            value = getattr(self, name)
            if not 0.0 <= value <= LONGEST_S:
                raise PromptError(f"{name} is {value}; allowed are 0 (as the cell says) to {LONGEST_S:g} s")
        kinds = self._kinds()
        if len(kinds) != 1:
            found = " and ".join(kinds) or "nothing"
            raise PromptError(f"exactly one of text, box, positive clicks or positive points says which object is meant; got {found}")

    def _kinds(self) -> list[str]:
        given = (self.text.strip(), self.box_px is not None, self.click_positive.any(), self.point_positive.any())
        return [kind for kind, there in zip(KINDS, given, strict=True) if there]

    @property
    def kind(self) -> str:
        """``text``, ``box``, ``click`` or ``point``."""
        return self._kinds()[0]

    @property
    def target(self) -> str:
        """What results say was asked for: the text, or the kind."""
        return self.text.strip() or self.kind


def _check_labels(name: str, places: NDArray, positive: NDArray, columns: int) -> None:
    if places.ndim != 2 or places.shape[1] != columns or positive.shape != (len(places),):
        raise PromptError(f"{name}: numbers {places.shape} with {len(positive)} labels; expected (any, {columns}) and one label each")
    if not np.isfinite(places).all():
        raise PromptError(f"{name}: {places[~np.isfinite(places).all(axis=1)][0].tolist()} is not finite")


def _check_box(box: tuple[float, ...]) -> None:
    if len(box) != 4 or not all(map(math.isfinite, box)) or not (box[0] < box[2] and box[1] < box[3]):
        raise PromptError(f"box {list(box)}: expected x_min < x_max and y_min < y_max as x_min, y_min, x_max, y_max in pixels")
