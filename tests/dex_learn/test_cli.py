# SPDX-License-Identifier: Apache-2.0
"""The command line teaches without torch."""
from __future__ import annotations

import pytest

from dex_learn import cli


@pytest.mark.parametrize("command", ["latents", "push-cans", "demos", "train", "dagger", "export", "score"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "example:" in text and "python -m dex_learn.cli" in text


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err


def test_a_wrong_cell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")
    assert cli.main(["export", "--cell", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
