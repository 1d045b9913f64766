# SPDX-License-Identifier: Apache-2.0
"""The hands' latent space: limits by construction, reconstruction, reproducible training."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_robot  # noqa: E402
from dex_core.errors import ShapeError  # noqa: E402
from dex_learn.latents import LATENT_DIM, LatentTraining, build_codec, inner_limits, sample_joints, train_codec  # noqa: E402

HAND = load_robot("inspire")
LOW = np.array([HAND.limits[j].lower_rad for j in HAND.actuated])
HIGH = np.array([HAND.limits[j].upper_rad for j in HAND.actuated])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e30])
def test_any_finite_latent_decodes_inside_the_float64_limits(scale: float) -> None:
    codec = build_codec(HAND)
    with torch.no_grad():
        q = codec.decoder(scale * torch.randn((200, LATENT_DIM))).numpy().astype(np.float64)
    assert np.isfinite(q).all()
    assert (q >= LOW).all() and (q <= HIGH).all()


def test_joints_beyond_the_limits_encode_as_the_limit() -> None:
    codec = build_codec(HAND)
    high = torch.tensor(HIGH, dtype=torch.float32)[None]
    assert torch.equal(codec.encoder(high + 5.0), codec.encoder(high + 1.0))


def test_inner_limits_are_rounded_inwards() -> None:
    low, high = inner_limits([-1.308, 0.0], [1.47, 0.6])
    assert (low.astype(np.float64) >= [-1.308, 0.0]).all()
    assert (high.astype(np.float64) <= [1.47, 0.6]).all()


def test_inverted_limits_are_refused() -> None:
    with pytest.raises(ShapeError, match="lower < upper"):
        inner_limits([1.0], [0.5])


def test_samples_reach_the_limits_and_never_pass_them() -> None:
    codec = build_codec(HAND)
    q = sample_joints(codec, 500, torch.Generator().manual_seed(0), edge_share=1.0)
    assert torch.equal(q.amin(dim=0), codec.decoder.low) and torch.allclose(q.amax(dim=0), codec.decoder.high)


def test_training_reproduces_by_seed_and_learns() -> None:
    training = LatentTraining(steps=40, batch=64)
    (first, curve), (second, _) = train_codec(HAND, training), train_codec(HAND, training)
    assert all(torch.equal(a, b) for a, b in zip(first.decoder.parameters(), second.decoder.parameters(), strict=True))
    assert curve[-1] < 0.5 * curve[0]
