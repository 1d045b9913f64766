# SPDX-License-Identifier: Apache-2.0
"""Postures to train on: inside the limits, near pinches, at the limits, the same for the same seed."""
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.latent.hand import LatentHand  # noqa: E402
from dex_learn.latent.net import PINCH_SCALE_M, LatentNets, Widths  # noqa: E402
from dex_learn.latent.sampling import NEAR_M, Sampler, Shares, at_limits, common_posture, near_pinches, tight_pinches  # noqa: E402

NETS = LatentNets([LatentHand.load("ability", "right"), LatentHand.load("leap", "right")], Widths(8, 8))


def _gen() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _smallest(u: torch.Tensor) -> torch.Tensor:
    gap = NETS.chains.pinches(NETS.joints(u)).norm(dim=-1)
    return gap.masked_fill(NETS.present[:, None] == 0.0, torch.inf).amin(dim=-1)


def test_near_pinches_are_near() -> None:
    u = near_pinches(NETS, 50, _gen())
    assert u.shape == (2, 50, 16) and float(_smallest(u).max()) < NEAR_M


def test_tight_pinches_are_tighter_than_chance() -> None:
    u = tight_pinches(NETS, 50, _gen())
    assert float(u.abs().max()) <= 1.0
    assert float((_smallest(u) < 0.062).float().mean()) > 0.9


def test_placed_pinches_are_tight_and_where_all_hands_pinch() -> None:
    """LEAP's pinches are deep in its palm where nothing is asked of them."""
    u = tight_pinches(NETS, 50, _gen(), placed=True)
    off = (NETS.chains(NETS.joints(u))[:, 0] - NETS.place * PINCH_SCALE_M).norm(dim=-1)
    loose = (NETS.chains(NETS.joints(tight_pinches(NETS, 50, _gen())))[:, 0] - NETS.place * PINCH_SCALE_M).norm(dim=-1)
    assert float((_smallest(u) < 0.07).float().mean()) > 0.9
    assert float((u - common_posture(NETS)).abs().mean()) < 0.5, "bent as in the common pinch, not the other way round"
    assert float(off.median()) < 0.04 and float(off[1].median()) < 0.6 * float(loose[1].median())


def test_half_of_the_joints_are_at_their_limits() -> None:
    u = at_limits(NETS, 200, _gen())
    share = (u[1].abs() == 1.0).float().mean()
    assert 0.4 < float(share) < 0.6 and float(u[0, :, 6:].abs().max()) == 0.0


def test_a_batch_holds_all_kinds_and_repeats_with_its_seed() -> None:
    sampler = Sampler(NETS, Shares(near=0.25, tight=0.25, placed=0.25, edge=0.25), 40, seed=1)
    first, second = sampler.draw(16, _gen()), sampler.draw(16, _gen())
    assert first.shape == (2, 16, 16) and torch.equal(first, second)


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(DexError, match="at most 1"):
        Shares(near=0.6, tight=0.3, edge=0.2)
