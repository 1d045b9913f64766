# SPDX-License-Identifier: Apache-2.0
"""The written latent bundle passes every load check and gives its weights back."""
from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.bundle import LoadOptions, load_bundle  # noqa: E402
from dex_core.config import find_share, load_cell, load_robot  # noqa: E402
from dex_learn.codec_from_bundle import load_codec  # noqa: E402
from dex_learn.export import run_onnx  # noqa: E402
from dex_learn.latent_bundle import make_latent_bundle  # noqa: E402
from dex_learn.latents import LatentTraining  # noqa: E402


def test_a_tiny_training_writes_a_bundle_that_loads(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    scores = make_latent_bundle(cell, tmp_path / "xl_vla_latent", LatentTraining(steps=30, batch=64))
    bundle = load_bundle(tmp_path / "xl_vla_latent", LoadOptions(cell=cell))
    assert set(bundle.manifest.embodiments) == {"left_inspire", "right_inspire"}
    assert scores["left_inspire"]["decoder_parity"] <= 1e-5


def test_the_shipped_bundle_gives_its_weights_back() -> None:
    folder = find_share("models", "xl_vla_latent")
    codec = load_codec(folder, load_robot("inspire"), "right")
    q = torch.rand((5, 6)) * 0.5
    graph = (folder / "graphs" / "right_inspire_encoder.onnx").read_bytes()
    assert abs(codec.encoder(q).numpy() - run_onnx(graph, {"q": q.numpy()})["z"]).max() < 1e-5


def test_the_shipped_latent_space_reconstructs() -> None:
    codec = load_codec(find_share("models", "xl_vla_latent"), load_robot("inspire"), "left")
    low, span = codec.encoder.low, codec.encoder.span
    q = low + torch.rand((500, 6), generator=torch.Generator().manual_seed(5)) * span
    assert float((codec.decoder(codec.encoder(q)) - q).square().mean().sqrt()) < 0.02
