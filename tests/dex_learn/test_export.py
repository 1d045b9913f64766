# SPDX-License-Identifier: Apache-2.0
"""ONNX and torch compute the same; a difference is refused."""
from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.export import check_parity, code_revision, run_onnx, run_torch, to_onnx  # noqa: E402


@pytest.fixture(scope="module")
def decoder() -> tuple[torch.nn.Module, bytes]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.LayerNorm(64), torch.nn.GELU(), torch.nn.Linear(64, 6), torch.nn.Tanh())
    return module, to_onnx(module, {"z": torch.zeros((2, 32))}, ["q"])


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_parity_at_any_batch(decoder: tuple[torch.nn.Module, bytes], batch: int) -> None:
    module, graph = decoder
    inputs = {"z": np.random.default_rng(batch).normal(size=(batch, 32)).astype(np.float32)}
    assert check_parity(graph, [(inputs, run_torch(module, inputs, ["q"]))], 1e-5, "decoder") <= 1e-5


def test_a_difference_is_refused(decoder: tuple[torch.nn.Module, bytes]) -> None:
    _, graph = decoder
    inputs = {"z": np.ones((1, 32), np.float32)}
    wrong = {"q": run_onnx(graph, inputs)["q"] + 1e-3}
    with pytest.raises(DexError, match="differs by 1.00e-03") as caught:
        check_parity(graph, [(inputs, wrong)], 1e-5, "decoder")
    assert caught.value.code == "parity_failed"


def test_nan_is_a_difference(decoder: tuple[torch.nn.Module, bytes]) -> None:
    _, graph = decoder
    inputs = {"z": np.ones((1, 32), np.float32)}
    with pytest.raises(DexError):
        check_parity(graph, [(inputs, {"q": np.full((1, 6), np.nan, np.float32)})], 1e-5, "decoder")


def test_the_revision_is_that_of_the_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    file = tmp_path / "train.py"
    file.write_text("x = 1\n")
    git("init", "-q")
    with pytest.raises(DexError, match="--code REVISION") as caught:  # a copy that lies inside another project's checkout
        code_revision(file=file)
    assert caught.value.code == "code_unknown"
    git("add", "train.py")
    git("commit", "-q", "-m", "a")
    assert code_revision(file=file) == git("rev-parse", "HEAD")
    file.write_text("x = 2\n")
    assert code_revision(file=file) == git("rev-parse", "HEAD") + "+changes"
    assert code_revision("v1.2", file) == "v1.2"


def test_outside_a_checkout_the_revision_must_be_said(tmp_path: Path) -> None:
    for said in ("", "  "):
        with pytest.raises(DexError, match="--code REVISION"):
            code_revision(said, tmp_path / "train.py")
    assert code_revision("0123abc", tmp_path / "train.py") == "0123abc"
