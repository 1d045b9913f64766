# SPDX-License-Identifier: Apache-2.0
"""Networks: joints inside the limits for any latent, a stack cut into hands that say the same, latents with a meaning."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.latent.hand import LatentHand, common_pinch, pinches_of  # noqa: E402
from dex_learn.latent.net import (  # noqa: E402
    LATENT_DIM,
    PINCH_DIM,
    PINCH_SCALE_M,
    SHARED_DIM,
    HandDecoder,
    HandEncoder,
    LatentNets,
    Widths,
    squash,
)
from dex_learn.latent.sampling import uniform  # noqa: E402

HANDS = [LatentHand.load("inspire", "right"), LatentHand.load("leap", "left"), LatentHand.load("dexh13", "right")]
NETS = LatentNets(HANDS, Widths(16, 24), seed=3)


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e30])
def test_any_finite_latent_decodes_inside_the_float64_limits(row: int, scale: float) -> None:
    hand, decoder = HANDS[row], HandDecoder(NETS, row)
    with torch.no_grad():
        q = decoder(scale * torch.randn((100, LATENT_DIM))).numpy().astype(np.float64)
    limits = [hand.robot.limits[j] for j in hand.joints]
    assert np.isfinite(q).all()
    assert (q >= [x.lower_rad for x in limits]).all() and (q <= [x.upper_rad for x in limits]).all()


def test_a_hand_cut_out_says_what_it_says_in_the_stack() -> None:
    u = uniform(NETS, 20, torch.Generator().manual_seed(0))
    q = NETS.joints(u)
    with torch.no_grad():
        z = NETS.encode(NETS.normalise(q), NETS.chains(q))
        back = NETS.joints(NETS.decode(z).clamp(-1.0, 1.0))
        for row, hand in enumerate(HANDS):
            n = len(hand.joints)
            assert torch.allclose(HandEncoder(NETS, row)(q[row, :, :n]), z[row], atol=1e-5)
            assert torch.allclose(HandDecoder(NETS, row)(z[row]), back[row, :, :n], atol=1e-5)


def test_hands_that_stand_alone_make_the_stack_again() -> None:
    again = LatentNets.stack([NETS.cut(row) for row in range(3)])
    u = uniform(NETS, 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = NETS.encode(u, NETS.chains(NETS.joints(u)))
        assert torch.allclose(again.decode(z) * again.own, NETS.decode(z) * NETS.own, atol=1e-5)


def test_joints_beyond_the_limits_encode_as_the_limit() -> None:
    encoder = HandEncoder(NETS, 0)
    high = torch.tensor(HANDS[0].high)[None]
    assert torch.equal(encoder(high), encoder(high + 1.0))


def test_the_first_numbers_are_the_pinches_and_their_place() -> None:
    """Equal vectors, equal numbers, whichever hand; a missing finger stands in the row of the others; the thumb counts from the common pinch."""
    u = uniform(NETS, 4, torch.Generator().manual_seed(1))
    tips = NETS.chains(NETS.joints(u))
    pinches, shared = pinches_of(tips), NETS.shared(tips)
    vectors = shared[..., :PINCH_DIM].unflatten(-1, (4, 3)) + NETS.centre
    assert torch.allclose(vectors[0] * PINCH_SCALE_M, pinches[0], atol=1e-6)
    row = pinches[1, :, 2] + 0.5 * (pinches[1, :, 2] - pinches[1, :, 1])
    assert torch.allclose(vectors[1, :, 3] * PINCH_SCALE_M, row, atol=1e-6)
    middle = torch.tensor(common_pinch("dexh13", "right")[1])
    assert torch.allclose(shared[2, :, PINCH_DIM:] * PINCH_SCALE_M + middle, tips[2, 0], atol=1e-6)
    assert shared.shape[-1] == SHARED_DIM


def test_squash_is_the_number_inside_and_bounded_outside() -> None:
    x = torch.tensor([-1e9, -1.5, -1.0, 0.3, 1.0, 4.0, 1e9])
    y = squash(x)
    assert torch.equal(y[2:5], x[2:5]) and float(y.abs().max()) < 1.1001 and (y.diff() > 0).sum() >= 5


def test_widths_are_checked() -> None:
    with pytest.raises(DexError, match="at least 1"):
        Widths(encoder=0)
