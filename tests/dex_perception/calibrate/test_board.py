# SPDX-License-Identifier: Apache-2.0
"""The board: found to a small part of a pixel, printed in its true size, refused where it cannot be."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dex_core.devices.camera import Intrinsics
from dex_core.errors import ConfigError
from dex_perception.calibrate import Board
from dex_perception.calibrate.poses import pose, rotation_vector
from dex_perception.calibrate.synthetic import draw, spoil
from dex_perception.calibrate.views import edge_width_px, sight

BOARD = Board()
LENS = Intrinsics(640, 480, 610.0, 608.0, 322.3, 238.9, (0.08, -0.18, 0.0007, -0.0004, 0.05))
SEEN = pose((0.3, -0.35, 0.2), (-0.08, -0.06, 0.42))


def true_corners(seen: np.ndarray) -> np.ndarray:
    """(n, 2) where the lens shows the inner corners [px]."""
    return cv2.projectPoints(BOARD.points_m, rotation_vector(seen), seen[:3, 3], LENS.matrix, np.array(LENS.distortion))[0].reshape(-1, 2)


def test_corners_are_found_to_a_tenth_of_a_pixel_through_a_bent_lens() -> None:
    picture = spoil(draw(BOARD, LENS, SEEN), np.random.default_rng(3))
    found = BOARD.detect(picture)
    off = np.linalg.norm(found.corners_px - true_corners(SEEN)[found.ids], axis=1)
    assert len(found) == BOARD.corner_count
    assert np.sqrt(np.mean(off**2)) < 0.1 and off.max() < 0.3


def test_a_sighting_is_the_boards_pose() -> None:
    seen = sight(spoil(draw(BOARD, LENS, SEEN), np.random.default_rng(3)), BOARD, LENS)
    assert seen is not None
    assert np.linalg.norm(seen.pose_board_in_camera[:3, 3] - SEEN[:3, 3]) < 1e-3
    assert seen.error_px < 0.1


def test_a_picture_without_a_board_shows_none() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640), dtype=np.uint8)
    assert len(BOARD.detect(noise)) == 0
    assert sight(noise, BOARD, LENS) is None


def test_another_board_is_not_taken_for_this_one() -> None:
    other = Board(dictionary="4X4_50")
    assert len(BOARD.detect(draw(other, LENS, SEEN))) == 0


@pytest.mark.parametrize("sigma", [0.8, 1.4, 2.0])
def test_blur_widens_edges_by_its_own_measure(sigma: float) -> None:
    picture = cv2.GaussianBlur(draw(BOARD, LENS, SEEN), (0, 0), sigma)
    width = edge_width_px(picture, true_corners(SEEN))
    assert 0.8 < width / (sigma * np.sqrt(2.0 * np.pi)) < 1.5


def test_text_and_back() -> None:
    board = Board.parse("5x8,25mm,18.5mm,4X4_50")
    assert (board.columns, board.rows, board.square_m, board.marker_m) == (5, 8, 0.025, 0.0185)
    assert Board.parse(str(board)) == board


@pytest.mark.parametrize(("text", "said"), [
    ("7x5", "7x5,30mm,22mm,5X5_100"), ("7x5,30mm,22mm,5X5_99", "5X5_100"), ("2x5,30mm,22mm,5X5_100", "3 to 30"),
    ("7x5,30mm,29mm,5X5_100", "0.3 to 0.9"), ("20x20,30mm,22mm,5X5_100", "needs 200 markers"), ("7x5,..mm,22mm,5X5_100", "must be numbers"),
])
def test_a_wrong_board_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Board.parse(text)


def test_a_printed_board_has_its_true_size(tmp_path: Path) -> None:
    from PIL import Image

    BOARD.print_to(tmp_path / "board.png")
    sheet = Image.open(tmp_path / "board.png")
    dots_per_m = sheet.info["dpi"][0] / 0.0254
    pixels = np.asarray(sheet.convert("L"))
    found = BOARD.detect(cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
    assert len(found) == BOARD.corner_count
    wide = (found.corners_px[found.ids == 5][0] - found.corners_px[found.ids == 0][0])[0] * 4.0 / dots_per_m
    assert wide == pytest.approx(5 * BOARD.square_m, abs=1e-4)
    assert (sheet.width / dots_per_m, sheet.height / dots_per_m) == pytest.approx((0.297, 0.210), abs=1e-4)


def test_a_printed_pdf_says_its_size(tmp_path: Path) -> None:
    BOARD.print_to(tmp_path / "board.pdf")
    text = (tmp_path / "board.pdf").read_bytes()
    at = text.index(b"/MediaBox [")
    numbers = [float(v) for v in text[at + 11 : text.index(b"]", at)].split()]
    assert numbers == pytest.approx([0.0, 0.0, 297 / 25.4 * 72, 210 / 25.4 * 72], abs=0.2)


@pytest.mark.parametrize(("board", "name", "paper", "said"), [
    (Board(square_m=0.05, marker_m=0.035), "b.pdf", "a4", "--paper a3"), (BOARD, "b.pdf", "a5", "a4, a3"), (BOARD, "b.svg", "a4", "pdf or .png"),
])
def test_what_cannot_be_printed_is_refused(board: Board, name: str, paper: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        board.print_to(tmp_path / name, paper)
