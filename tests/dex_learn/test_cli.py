# SPDX-License-Identifier: Apache-2.0
"""The command line teaches without torch."""
from __future__ import annotations

from pathlib import Path

import pytest

from dex_learn import cli

POLICY = ("all", "demos", "train", "round", "export", "score", "compare")


@pytest.mark.parametrize("words", [("latents",), *(("policy", stage) for stage in POLICY)], ids=" ".join)
def test_help_teaches(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "example:" in text and f"learn {' '.join(words)}" in text.replace("-m dex_learn.cli ", "learn ")


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")
    assert cli.main(["policy", "demos", "--work", str(tmp_path), "--task", "juggle"]) == 1
    assert cli.main(["policy", "export", "--work", str(tmp_path), "--out", str(tmp_path / "out"), "--kinds", ""]) == 1
    assert cli.main(["policy", "score", "--cell", "nowhere"]) == 1
    task, parts, cell = capsys.readouterr().err.splitlines()
    assert "juggle" in task and "dex learn policy" in parts and "nowhere" in cell and not (tmp_path / "out").exists()
