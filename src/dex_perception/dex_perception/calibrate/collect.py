# SPDX-License-Identifier: Apache-2.0
"""Judges pictures as they come: what is taken, what is refused and why, and what is still missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError
from dex_core.types import Array
from dex_perception.calibrate.board import Board
from dex_perception.calibrate.motion import FEWEST_VIEWS, Motion, motion_of
from dex_perception.calibrate.poses import angle, distance
from dex_perception.calibrate.views import ENOUGH_CORNERS, Sighting, View, sight

WIDEST_EDGE_PX = 3.5
LARGEST_ERROR_PX = 2.0
SIMILAR_RAD, SIMILAR_M = np.radians(4.0), 0.015
CELLS = 3
"""The picture is told apart in so many cells each way."""
GOOD_VIEWS, GOOD_TURN_RAD, GOOD_SPREAD_RAD, GOOD_CELLS = 15, np.radians(40.0), np.radians(10.0), 7
CODES = ("taken", "not_seen", "blurred", "does_not_fit", "too_similar")


@dataclass(frozen=True)
class Verdict:
    """On one picture: one of ``CODES``, and the same in words. ``sighting`` is None where the board is not seen."""

    code: str
    text: str
    sighting: Sighting | None = None

    @property
    def taken(self) -> bool:
        """Whether it became a view."""
        return self.code == "taken"


@dataclass(frozen=True)
class Coverage:
    """What the views so far show.

    Attributes:
        views: how many. motion: their rotations.
        cells: (3, 3) bool, parts of the picture where corners were seen, rows from above.
    """

    views: int
    motion: Motion
    cells: NDArray[np.bool_]

    @property
    def enough(self) -> bool:
        """Whether a result follows from it at all."""
        return self.views >= FEWEST_VIEWS and self.motion.complete

    @property
    def good(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """What to do next, most needed first."""
        spread, largest = np.degrees(self.motion.spread_rad), np.degrees(self.motion.largest_rad)
        out = []
        if self.motion.largest_rad < GOOD_TURN_RAD:
            out.append(f"tilt the flange further: {largest:.0f} deg between two views so far, {np.degrees(GOOD_TURN_RAD):.0f} deg is good")
        if self.motion.spread_rad[1] < GOOD_SPREAD_RAD:
            axis = ", ".join(f"{v:+.1f}" for v in self.motion.axes[1])
            good = np.degrees(GOOD_SPREAD_RAD)
            out.append(f"turn about another axis too, e.g. ({axis}) in the base: {spread[1]:.0f} deg so far, {good:.0f} deg is good")
        if int(self.cells.sum()) < GOOD_CELLS:
            out.append(f"show the board in the picture's {self._empty()}: {int(self.cells.sum())} of {self.cells.size} parts so far")
        if self.views < GOOD_VIEWS:
            out.append(f"{GOOD_VIEWS - self.views} more views")
        return out

    def _empty(self) -> str:
        rows, columns = ("upper", "middle", "lower"), ("left", "centre", "right")
        return ", ".join(f"{rows[r]} {columns[c]}" for r, c in np.argwhere(~self.cells)[:3])


class Collector:
    """Collects views of one board.

    Args:
        board, intrinsics: what is looked for, through which lens.
        widest_edge_px: blurred from here on, see ``views.edge_width_px``.

    Attributes:
        views: those taken, in order.
    """

    def __init__(self, board: Board, intrinsics: Intrinsics, widest_edge_px: float = WIDEST_EDGE_PX) -> None:
        self.board, self.intrinsics, self._widest_edge_px = board, intrinsics, widest_edge_px
        self.views: list[View] = []

    def look(self, gray: NDArray[np.uint8]) -> Verdict:
        """What could be said of a picture wherever the robot is: seen, sharp, fitting. Its code is never ``too_similar``.

        Raises:
            ShapeError: not (H, W) uint8 of the camera's size.
        """
        size = (self.intrinsics.height, self.intrinsics.width)
        if gray.dtype != np.uint8 or gray.shape != size:
            raise ShapeError(f"picture is {gray.dtype} {gray.shape}; the camera's lens is known for uint8 {size}")
        seen = sight(gray, self.board, self.intrinsics)
        if seen is None:
            return Verdict("not_seen", f"board not seen ({self.board}); {ENOUGH_CORNERS} corners are needed")
        if seen.edge_px > self._widest_edge_px:
            text = f"blurred: edges are {seen.edge_px:.1f} px wide, at most {self._widest_edge_px:g} px; stand still, focus, more light"
            return Verdict("blurred", text, seen)
        if seen.error_px > LARGEST_ERROR_PX:
            text = f"corners are {seen.error_px:.1f} px from where a flat board of {self.board} would show them, at most {LARGEST_ERROR_PX:g} px: " \
                "another board, another lens, or a bent sheet"
            return Verdict("does_not_fit", text, seen)
        return Verdict("taken", f"{len(seen.detection)} of {self.board.corner_count} corners, {seen.error_px:.2f} px", seen)

    def offer(self, name: str, gray: NDArray[np.uint8], pose_flange_in_base: Array) -> Verdict:
        """Judges a picture and takes it where nothing speaks against it. Raises ShapeError."""
        verdict = self.look(gray)
        if not verdict.taken or verdict.sighting is None:
            return verdict
        near = next((v for v in self.views if self._similar(v.pose_flange_in_base, pose_flange_in_base)), None)
        if near is not None:
            shifted = 1e3 * distance(near.pose_flange_in_base, pose_flange_in_base)
            turned = np.degrees(angle(near.pose_flange_in_base, pose_flange_in_base))
            text = f"too similar to {near.name}: {shifted:.0f} mm and {turned:.1f} deg from it; " \
                f"at least {1e3 * SIMILAR_M:.0f} mm or {np.degrees(SIMILAR_RAD):.0f} deg"
            return Verdict("too_similar", text, verdict.sighting)
        self.views.append(View(name, pose_flange_in_base, verdict.sighting))
        return verdict

    @staticmethod
    def _similar(a: Array, b: Array) -> bool:
        return angle(a, b) < SIMILAR_RAD and distance(a, b) < SIMILAR_M

    def coverage(self) -> Coverage:
        """What the views so far show, and what is missing."""
        cells = np.zeros((CELLS, CELLS), bool)
        size = np.array([self.intrinsics.width, self.intrinsics.height])
        for view in self.views:
            at = np.clip((view.sighting.detection.corners_px / size * CELLS).astype(int), 0, CELLS - 1)
            cells[at[:, 1], at[:, 0]] = True
        return Coverage(len(self.views), motion_of(np.array([v.pose_flange_in_base for v in self.views]).reshape(-1, 4, 4)), cells)


