# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures and poses: written whole, read strictly."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.errors import ConfigError
from dex_perception.calibrate import Setup
from dex_perception.calibrate.poses import from_xyz_rpy
from dex_perception.calibrate.session import FILE, Session, SessionWriter, as_matrix, as_pose, read_gray
from dex_perception.calibrate.testing import BOARD, rig_of

LENS = rig_of(Setup.IN_HAND).intrinsics
HERE = from_xyz_rpy((0.4, -0.1, 0.3), (3.1, 0.2, -0.4))


def written(folder: Path) -> Path:
    """A session of two pairs."""
    writer = SessionWriter(folder / "views", BOARD, LENS)
    for name in ("0001", "0002"):
        writer.add(name, np.full((480, 640), 7, np.uint8), HERE)
    return folder / "views"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = written(tmp_path)
    session = Session.read(folder)
    assert (session.board, session.intrinsics) == (str(BOARD), LENS)
    assert [p.picture for p in session.pairs] == ["0001.png", "0002.png"]
    assert as_matrix(session.pairs[1].flange) == pytest.approx(HERE, abs=2e-6)
    assert read_gray(folder / "0002.png").shape == (480, 640)
    assert as_pose(HERE).xyz_m == (0.4, -0.1, 0.3)


def test_a_session_is_never_overwritten(tmp_path: Path) -> None:
    folder = written(tmp_path)
    with pytest.raises(ConfigError, match="--from"):
        SessionWriter(folder, BOARD, LENS)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("picture: 0002.png", "picture: 0009.png", "'0009.png' is not in the folder"), ("picture: 0002.png", "picture: ../0002.png", "without a path"),
    ("board: 7x5,30mm,22mm,5X5_100", "board: 7x5", "not understood"), ("width: 640", "wide: 640", "unknown key 'wide'"),
])
def test_a_wrong_session_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = written(tmp_path)
    text = (folder / FILE).read_text()
    assert old in text
    (folder / FILE).write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        Session.read(folder)


def test_a_pair_has_one_pose_and_a_session_a_pair(tmp_path: Path) -> None:
    folder = written(tmp_path)
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(text[: text.index("pairs:")] + "pairs:\n- {picture: 0001.png}\n")
    with pytest.raises(ConfigError, match="one of them"):
        Session.read(folder)
    (folder / FILE).write_text(text[: text.index("pairs:")] + "pairs: []\n")
    with pytest.raises(ConfigError, match="pairs is empty"):
        Session.read(folder)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(ConfigError, match="no picture"):
        read_gray(tmp_path / "x.png")
