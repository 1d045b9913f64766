# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dex_core.errors import BundleError
from dex_policy.bundle_cli import main

from .conftest import POLICY, SPACE


def test_verify_prints_every_check_with_a_tick(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(models / POLICY), str(models / SPACE)]) == 0
    out = capsys.readouterr().out
    assert out.count("✓") == 34 and "✗" not in out and out.count("verified, hash") == 2


def test_refusal_names_code_and_file_and_exit_code(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / SPACE
    shutil.copytree(models / SPACE, folder)
    (folder / "LICENSE").write_text("something else")
    assert main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "REFUSED [hash_mismatch]" in out and "LICENSE" in out and "·" in out
    assert main(["verify", "--json", str(folder)]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False and data["bundles"][0]["code"] == "hash_mismatch"


def test_info(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(models / POLICY)]) == 0
    out = capsys.readouterr().out
    assert "chunk_policy" in out and "64 steps of 0.05 s" in out and "Return to the rest pose" in out
    assert main(["info", "--json", str(models / POLICY)]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["name"] == POLICY


def test_no_such_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "no_such_bundle"]) == 2
    assert "not found" in capsys.readouterr().err


def test_import_hands_its_words_over(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    assert main(["import", "dexlatent", "a.pt", "--out", "b"], {"dexlatent": lambda words: seen.append(list(words)) or 0}) == 0
    assert seen == [["a.pt", "--out", "b"]]

    def refuses(_words: object) -> int:
        raise BundleError("a.pt: key 'x' is missing", code="checkpoint_refused")

    assert main(["import", "dexlatent", "a.pt"], {"dexlatent": refuses}) == 1
    assert "[checkpoint_refused] a.pt: key 'x'" in capsys.readouterr().err


def test_import_without_torch_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    def without(_words: object) -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    for importers in (None, {"dexlatent": without}):
        assert main(["import", "dexlatent", "a.pt"], importers) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "requirements-learn.txt" in err
    with pytest.raises(SystemExit):
        main(["import", "something_else", "a.pt"])
