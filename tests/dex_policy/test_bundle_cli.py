# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from dex_core.errors import BundleError
from dex_policy.bundle_cli import main

from .conftest import POLICY, SPACE


def test_verify_prints_every_check_with_a_tick(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(models / POLICY), str(models / SPACE)]) == 0
    out = capsys.readouterr().out
    assert out.count("✓") == 42 and "✗" not in out and out.count("verified, hash") == 2


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


def source(models: Path, folder: Path) -> Path:
    """A folder as a trainer leaves it: the graph, the statistics, and a description of what neither says."""
    manifest = yaml.safe_load((models / POLICY / "manifest.yaml").read_text())
    graph = manifest["graphs"]["policy"]
    folder.mkdir()
    shutil.copy(models / POLICY / graph["file"], folder / "policy.onnx")
    for name in ("stats.json", "LICENSE"):
        shutil.copy(models / POLICY / name, folder / name)
    slices = {side: [{k: v for k, v in t.items() if k not in ("dtype", "shape")} for t in graph[side]] for side in ("inputs", "outputs")}
    keys = ("version", "kind", "licence", "provenance", "latency", "embodiments", "timing", "image", "instruction")
    described = {key: manifest[key] for key in keys}
    described |= {"graphs": {"policy": {**slices, "dynamic": graph["dynamic"]}}, "requires": [{"bundle": SPACE, "kind": "latent_space"}]}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return folder


def test_a_bundle_is_created_signed_and_trusted(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="signatures need requirements-sign.txt")
    made = tmp_path / "mine"
    assert main(["create", str(source(models, tmp_path / "export")), "--out", str(made), "--spaces", str(models)]) == 0
    out = capsys.readouterr().out
    assert "every check of the loader passes" in out and "golden cases of policy were made by onnxruntime" in out
    shutil.copytree(models / SPACE, tmp_path / SPACE)
    assert main(["verify", str(made)]) == 0 and "unsigned" in capsys.readouterr().out
    assert main(["sign", str(made), "--new-key", str(tmp_path / "a.pem")]) == 0
    key = capsys.readouterr().out.split()[-1]
    assert main(["verify", str(made), "--trust", key]) == 1
    assert f"{SPACE}: unsigned" in capsys.readouterr().out  # the space a policy speaks in moves the hands as much as the policy does
    assert main(["sign", str(tmp_path / SPACE), "--key", str(tmp_path / "a.pem")]) == 0
    assert main(["verify", str(made), "--trust", key]) == 0 and f"signed by {key[:16]}" in capsys.readouterr().out
    assert main(["verify", str(made), "--trust", "0" * 64]) == 1
    assert "[signature_refused]" in (told := capsys.readouterr().out) and key[:16] in told
    assert main(["create", str(tmp_path / "export"), "--out", str(made)]) == 2 and "--force" in capsys.readouterr().err


def test_everything_that_is_missing_is_told_at_once(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = source(models, tmp_path / "export")
    described = yaml.safe_load((folder / "bundle.yaml").read_text())
    described["graphs"]["policy"]["dynamic"] = {}
    described["graphs"]["policy"]["inputs"].append({"name": "voice"})
    described["graphs"]["second"] = {}
    for key in ("licence", "timing"):
        described.pop(key)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(described))
    (folder / "stats.json").unlink()
    assert main(["create", str(folder), "--out", str(tmp_path / "mine"), "--cell", "none"]) == 1
    lines = capsys.readouterr().err.splitlines()
    for word in ("dynamic.B", "'voice'", "graphs.second", "licence", "timing", "stats.json"):
        assert sum(word in line for line in lines) == 1, word
    assert not (tmp_path / "mine").exists()


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$defs"]["Manifest"]["additionalProperties"] is False


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
