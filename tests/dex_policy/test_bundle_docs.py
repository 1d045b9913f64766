# SPDX-License-Identifier: Apache-2.0
"""docs/bundles.md says what the loader does, and its example runs as it is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dex_core.bundle.load import CHECKS
from dex_core.config import find_share
from dex_core.config.bundles import BundleRules
from dex_core.config.strict import to_plain
from dex_policy.bundle_cli import main

PAGE = (Path(__file__).parents[2] / "docs/bundles.md").read_text(encoding="utf-8")


def test_the_table_is_the_list_of_checks() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| ([`a-z_, ]+) \|$", PAGE, re.MULTILINE)
    told = {int(number): set(re.findall(r"`(\w+)`", codes)) for number, codes in rows}
    assert told == {number: set(codes) for number, _, codes, _ in CHECKS}


def test_every_rule_is_explained() -> None:
    block = PAGE[PAGE.index("## Settings of a cell") :]
    assert [key for key in to_plain(BundleRules()) if f"    {key}:" not in block[: block.index("**Tuning")]] == []


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="signatures need requirements-sign.txt")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(find_share("models"), "models", ignore=lambda folder, names: [n for n in names if n.startswith("tabletop_")])
    lines = [line.strip().split("#")[0] for line in PAGE.splitlines() if line.startswith(("    mkdir", "    cp "))]
    for words in map(str.split, lines):
        if words[0] == "mkdir":
            Path(words[1]).mkdir()
        else:
            [shutil.copy(source, words[-1]) for source in words[1:-1]]
    described = PAGE[PAGE.index("`my_export/bundle.yaml`:") :].split("```yaml\n", 1)[1].split("```", 1)[0]
    Path("my_export/bundle.yaml").write_text(described)
    assert main(["create", "my_export", "--out", "models/my_policy"]) == 0
    assert main(["sign", "models/my_policy", "--new-key", "my.pem"]) == 0
    assert main(["sign", "models/hand_latents", "--key", "my.pem"]) == 0
    key = capsys.readouterr().out.split()[-1]
    assert main(["verify", "models/my_policy", "--trust", key]) == 0
    assert f"signed by {key[:16]}" in capsys.readouterr().out
