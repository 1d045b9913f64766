# SPDX-License-Identifier: Apache-2.0
"""The picture and the table of the modes come from the table the gate obeys."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex_control.draw_modes import PLACES, draw, main, table
from dex_core.safety import MOVES, Mode

DOCS = Path(__file__).parents[2] / "docs"


def test_every_move_is_drawn(tmp_path: Path):
    path = tmp_path / "modes.png"
    assert draw(path) == sum(len(row) for row in MOVES.values())
    assert path.read_bytes().startswith(b"\x89PNG") and set(PLACES) == set(Mode)


def test_the_table_names_every_cause(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(cause in printed for row in MOVES.values() for cause in row.values())


def test_the_documentation_shows_the_table_of_today():
    assert table() in (DOCS / "safety.md").read_text(encoding="utf-8"), "python -m dex_control.draw_modes prints it"
    assert (DOCS / "safety_modes.png").is_file()
