# SPDX-License-Identifier: Apache-2.0
"""Scores: zero for a copy of itself, angles and tables as defined."""
from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_learn.latent import losses  # noqa: E402
from dex_learn.latent.hand import LatentHand  # noqa: E402
from dex_learn.latent.net import LatentNets, Widths  # noqa: E402
from dex_learn.latent.sampling import uniform  # noqa: E402
from dex_learn.latent.scores import DEFINITIONS, mean_of_pairs, pair_tables, score  # noqa: E402

NETS = LatentNets([LatentHand.load("xhand1", "right"), LatentHand.load("xhand1", "left")], Widths(8, 8))


def test_every_score_is_defined_and_finite() -> None:
    found = score(NETS, count=40)
    for name, value in found["hands"]["left_xhand1"].items():
        assert name in DEFINITIONS and math.isfinite(value)
    assert set(found) - {"hands"} <= set(DEFINITIONS)


def test_equal_pinches_have_no_error_and_turned_ones_their_angle() -> None:
    batch = losses.batch_of(NETS, uniform(NETS, 300, torch.Generator().manual_seed(0)))
    tips = batch.tips[:1].unsqueeze(2).expand(2, 5, 2, -1, 3)
    same = pair_tables(NETS, losses.Decoded(batch.u[None].expand(2, 2, -1, -1), tips), batch.pinches[:1].expand(2, -1, -1, -1))
    assert mean_of_pairs(same["pinch_distance_mm"]) == pytest.approx(0.0, abs=1e-3)
    assert mean_of_pairs(same["all_direction_deg"]) == pytest.approx(0.0, abs=1e-2)
    turned = tips @ torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # by 180 degrees about some axis or less
    table = pair_tables(NETS, losses.Decoded(batch.u[None].expand(2, 2, -1, -1), turned), batch.pinches[:1].expand(2, -1, -1, -1))
    assert mean_of_pairs(table["pinch_distance_mm"]) == pytest.approx(0.0, abs=1e-3)
    assert mean_of_pairs(table["pinch_direction_deg"]) > 30.0
