# SPDX-License-Identifier: Apache-2.0
"""A ChArUco board: what is on it, how it is found in a picture, and how it is printed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ConfigError
from dex_core.types import Array

DICTIONARIES = tuple(sorted(n[5:] for n in dir(cv2.aruco) if re.fullmatch(r"DICT_[4-7]X[4-7]_\d+", n)))
LARGEST_SIDE = 30
SMALLEST_WINDOW_PX, LARGEST_WINDOW_PX = 2, 7
PRINT_DPI = 600
MARGIN_M, RULER_M = 0.010, 0.100
PAPERS_M = {"a4": (0.210, 0.297), "a3": (0.297, 0.420), "a2": (0.420, 0.594), "letter": (0.2159, 0.2794)}


@dataclass(frozen=True)
class Detection:
    """Corners of a board in one picture.

    Attributes:
        ids: (n,) int, which of the board's inner corners.
        corners_px: (n, 2) where they are [px], pixel centres at integers.
    """

    ids: NDArray[np.int64]
    corners_px: Array

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Board:
    """A chessboard with markers in its white squares; its frame has x along the columns, y down the rows, z into the board.

    Attributes:
        columns, rows: squares.
        square_m, marker_m: side of a square and of a marker [m].
        dictionary: of the markers, e.g. ``5X5_100``.

    Raises:
        ConfigError: no such dictionary, too few of its markers, or sizes that do not fit each other.
    """

    columns: int = 7
    rows: int = 5
    square_m: float = 0.030
    marker_m: float = 0.022
    dictionary: str = "5X5_100"
    _detectors: dict[str, cv2.aruco.CharucoDetector] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dictionary not in DICTIONARIES:
            raise ConfigError(f"dictionary {self.dictionary!r} is not known; allowed: {', '.join(DICTIONARIES)}")
        if not (3 <= self.columns <= LARGEST_SIDE and 3 <= self.rows <= LARGEST_SIDE):
            raise ConfigError(f"a board of {self.columns} x {self.rows} squares; allowed: 3 to {LARGEST_SIDE} each way")
        if not 0.3 * self.square_m <= self.marker_m <= 0.9 * self.square_m or not self.square_m < 1.0:
            raise ConfigError(f"markers of {self.marker_m} m in squares of {self.square_m} m; a marker has 0.3 to 0.9 of its square's side")
        needed, has = self.columns * self.rows // 2, int(self.dictionary.split("_")[1])
        if needed > has:
            raise ConfigError(f"a board of {self.columns} x {self.rows} squares needs {needed} markers; {self.dictionary} has {has}")

    @staticmethod
    def parse(text: str) -> Board:
        """``7x5,30mm,22mm,5X5_100`` (columns x rows, square, marker, dictionary). Raises ConfigError."""
        found = re.fullmatch(r"(\d+)x(\d+),([\d.]+)mm,([\d.]+)mm,([4-7]X[4-7]_\d+)", text.strip())
        if found is None:
            raise ConfigError(f"board {text!r} is not understood; write columns x rows, square, marker, dictionary: {Board()}")
        try:
            square_m, marker_m = float(found[3]) * 1e-3, float(found[4]) * 1e-3
        except ValueError as error:
            raise ConfigError(f"board {text!r}: {found[3]} and {found[4]} must be numbers [mm]") from error
        return Board(int(found[1]), int(found[2]), square_m, marker_m, found[5])

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows},{self.square_m * 1e3:g}mm,{self.marker_m * 1e3:g}mm,{self.dictionary}"

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the squares together [m]."""
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def corner_count(self) -> int:
        """Inner corners, all that can be found."""
        return (self.columns - 1) * (self.rows - 1)

    @cached_property
    def points_m(self) -> Array:
        """(corner_count, 3) inner corners in the board's frame [m]; its origin is the outer corner of the first square."""
        return np.asarray(self._board.getChessboardCorners(), dtype=float).reshape(-1, 3)

    @cached_property
    def _board(self) -> cv2.aruco.CharucoBoard:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{self.dictionary}"))
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary)

    def detect(self, gray: NDArray[np.uint8]) -> Detection:
        """Every inner corner that is seen between two found markers, refined to a fraction of a pixel.

        Args:
            gray: (H, W) uint8.

        Returns:
            A detection without corners where the board is not seen.
        """
        detector = self._detectors.setdefault("charuco", self._new_detector())
        corners, ids, markers, _ = detector.detectBoard(gray)
        if ids is None or corners is None or len(ids) == 0:
            return Detection(np.zeros(0, np.int64), np.zeros((0, 2)))
        refined = _refine(gray, np.asarray(corners, np.float32).reshape(-1, 1, 2), self._window_px(markers))
        return Detection(np.asarray(ids, np.int64).reshape(-1), refined.reshape(-1, 2).astype(float))

    def _window_px(self, markers: Sequence[NDArray[np.float32]]) -> int:
        """Half width of the window a corner is refined in: as wide as the white between it and the next marker."""
        sides = [float(np.linalg.norm(np.subtract(m.reshape(-1, 2), np.roll(m.reshape(-1, 2), 1, axis=0)), axis=1).min()) for m in markers]
        white = min(sides, default=0.0) * (self.square_m / self.marker_m - 1.0) / 2.0
        return int(np.clip(white, SMALLEST_WINDOW_PX, LARGEST_WINDOW_PX))

    def _new_detector(self) -> cv2.aruco.CharucoDetector:
        detector = cv2.aruco.CharucoDetector(self._board)
        parameters = detector.getCharucoParameters()
        parameters.tryRefineMarkers = True
        detector.setCharucoParameters(parameters)
        return detector

    def bitmap(self, px_per_square: int) -> NDArray[np.uint8]:
        """(rows, columns) x ``px_per_square`` picture of the squares, no margin."""
        return np.asarray(self._board.generateImage((self.columns * px_per_square, self.rows * px_per_square), marginSize=0, borderBits=1))

    def print_to(self, path: Path, paper: str = "a4") -> None:
        """Writes the board in its true size on a sheet with a ruler of 100 mm, as .pdf or .png of 600 dots per inch.

        Raises:
            ConfigError: another ending, another paper, or a board that does not fit it.
        """
        from PIL import Image

        if path.suffix not in (".pdf", ".png"):
            raise ConfigError(f"{path}: a board is written as .pdf or .png")
        sheet = Image.fromarray(self._sheet(paper)).convert("1")
        sheet.save(path, resolution=float(PRINT_DPI)) if path.suffix == ".pdf" else sheet.save(path, dpi=(PRINT_DPI, PRINT_DPI))

    def _sheet(self, paper: str) -> NDArray[np.uint8]:
        if paper not in PAPERS_M:
            raise ConfigError(f"paper {paper!r} is not known; allowed: {', '.join(PAPERS_M)}")
        short, long = PAPERS_M[paper]
        width_m, height_m = (long, short) if self.size_m[0] > self.size_m[1] else (short, long)
        room_m = (width_m - 2 * MARGIN_M, height_m - 3 * MARGIN_M)
        if self.size_m[0] > room_m[0] or self.size_m[1] > room_m[1]:
            raise ConfigError(f"a board of {1e3 * self.size_m[0]:.0f} x {1e3 * self.size_m[1]:.0f} mm does not fit {paper}; room is "
                              f"{1e3 * room_m[0]:.0f} x {1e3 * room_m[1]:.0f} mm; take smaller squares or --paper {'a3' if paper != 'a3' else 'a2'}")
        px = PRINT_DPI / 0.0254
        sheet = np.full((round(height_m * px), round(width_m * px)), 255, np.uint8)
        size = tuple(round(side * px) for side in self.size_m)
        squares = cv2.resize(self.bitmap(round(self.square_m * px)), size, interpolation=cv2.INTER_NEAREST)
        left, top = (sheet.shape[1] - size[0]) // 2, (sheet.shape[0] - size[1]) // 2
        sheet[top : top + size[1], left : left + size[0]] = squares
        self._caption(sheet, px)
        return sheet

    def _caption(self, sheet: NDArray[np.uint8], px: float) -> None:
        """A ruler to check the printer with, and what the board is."""
        x, y = round(MARGIN_M * px), sheet.shape[0] - round(0.5 * MARGIN_M * px)
        cv2.line(sheet, (x, y), (x + round(RULER_M * px), y), 0, 4)
        for end in (x, x + round(RULER_M * px)):
            cv2.line(sheet, (end, y - 40), (end, y + 40), 0, 4)
        text = f"<- 100 mm; print at 100 %; board {self}"
        cv2.putText(sheet, text, (x + round(RULER_M * px) + 60, y + 20), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 0, 4, cv2.LINE_AA)


def _refine(gray: NDArray[np.uint8], corners: NDArray[np.float32], window_px: int) -> NDArray[np.float32]:
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-4)
    return np.asarray(cv2.cornerSubPix(gray, corners.copy(), (window_px, window_px), (-1, -1), stop))
