# SPDX-License-Identifier: Apache-2.0
"""ONNX and torch compute the same; a difference is refused."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_robot  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.export import check_parity, code_revision, run_onnx, run_torch, to_onnx  # noqa: E402
from dex_learn.latents import build_codec  # noqa: E402


@pytest.fixture(scope="module")
def decoder() -> tuple[torch.nn.Module, bytes]:
    module = build_codec(load_robot("inspire")).decoder
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


def test_revision_outside_a_repository_is_unknown(tmp_path) -> None:  # noqa: ANN001
    assert code_revision(tmp_path) == "unknown"
