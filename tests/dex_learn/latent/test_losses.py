# SPDX-License-Identifier: Apache-2.0
"""The loss: nothing where nothing is wrong, missing fingers do not count, tight pinches count most."""
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_learn.latent import losses  # noqa: E402
from dex_learn.latent.hand import LatentHand  # noqa: E402
from dex_learn.latent.losses import Decoded, Weights  # noqa: E402
from dex_learn.latent.net import PINCH_DIM, PINCH_SCALE_M, SHARED_DIM, LatentNets, Widths  # noqa: E402
from dex_learn.latent.sampling import uniform  # noqa: E402

NETS = LatentNets([LatentHand.load("xhand1", "right"), LatentHand.load("dexh13", "right")], Widths(8, 8))
BATCH = losses.batch_of(NETS, uniform(NETS, 8, torch.Generator().manual_seed(2)))


def test_a_perfect_copy_costs_nothing() -> None:
    joint, tip = losses.reconstruction(NETS, BATCH, Decoded(BATCH.u, BATCH.tips), Weights())
    assert float(joint) == 0.0 and float(tip) == pytest.approx(0.0, abs=1e-7)


def test_padding_and_missing_fingers_cost_nothing() -> None:
    u, tips = BATCH.u.clone(), BATCH.tips.clone()
    u[0, :, 12:] = 9.0  # xhand1 has 12 joints
    tips[1, 4] = 9.0  # DexH13 has no little finger
    joint, tip = losses.reconstruction(NETS, BATCH, Decoded(u, tips), Weights())
    assert float(joint) == 0.0 and float(tip) == pytest.approx(0.0, abs=1e-7)


def test_a_pair_without_the_finger_is_dropped_and_own_pairs_too() -> None:
    mask = losses.pair_mask(NETS, NETS, same=True)
    assert mask[0, 0].sum() == 0 and mask[0, 1, 0].tolist() == [1.0, 1.0, 1.0, 0.0]
    wanted = torch.full((1, 1, 4, 3), 0.02)
    reached = wanted.clone()
    reached[..., 3, :] = 0.5
    distance, direction = losses.retargeting_rows(reached, wanted, mask[0, 1, 0], Weights())
    assert float(distance) == pytest.approx(0.0, abs=1e-5) and float(direction) == pytest.approx(0.0, abs=1e-5)
    distance, _ = losses.retargeting_rows(reached, wanted, torch.ones(4), Weights())
    assert float(distance) > 1.0


def test_the_same_error_costs_more_in_a_tighter_pinch() -> None:
    def cost(length: float) -> float:
        wanted = torch.tensor([length, 0.0, 0.0]).expand(1, 4, 3)
        return float(losses.retargeting_rows(wanted + torch.tensor([5e-3, 0.0, 0.0]), wanted, torch.ones(4), Weights())[0])

    assert cost(0.02) > 4.0 * cost(0.1) > 0.0


def test_direction_sees_turns_and_distance_does_not() -> None:
    wanted = torch.tensor([0.03, 0.0, 0.0]).expand(1, 4, 3)
    distance, direction = losses.retargeting_rows(torch.tensor([0.0, 0.03, 0.0]).expand(1, 4, 3), wanted, torch.ones(4), Weights())
    assert float(distance) == pytest.approx(0.0, abs=1e-5) and float(direction) > 1.0


def test_a_joint_cut_at_its_limit_still_feels_its_fingertips() -> None:
    z = torch.randn((2, 4, 32), generator=torch.Generator().manual_seed(0)) * 5.0
    z.requires_grad_(True)
    decoded = losses.decode_all(NETS, z)
    assert float((decoded.u.abs() > 1.0).float().mean()) > 0.1
    losses.retargeting(decoded, BATCH.pinches[:, :4], losses.pair_mask(NETS, NETS, same=True), Weights())[0].backward()
    assert float(z.grad.abs().sum()) > 0.0


def test_a_thumb_in_the_place_that_the_latent_names_costs_nothing_whoever_named_it() -> None:
    """Each hand counts from its own common pinch: the same latent, another place in the palm."""
    z = NETS.encode(BATCH.u, BATCH.tips).detach()
    decoded = Decoded(BATCH.u[:, None].expand(2, 2, -1, -1), BATCH.tips[:, :, None].expand(-1, -1, 2, -1, -1).clone())
    named = z.clone()
    named[1, :, PINCH_DIM:SHARED_DIM] = z[0, :, PINCH_DIM:SHARED_DIM]
    decoded.tips[1] += (NETS.place[1] * PINCH_SCALE_M + z[0, :, PINCH_DIM:SHARED_DIM] * PINCH_SCALE_M - BATCH.tips[1, 0])
    assert float(losses.places(NETS, decoded, named, Weights())) == pytest.approx(0.0, abs=1e-3)
    decoded.tips[1, 0] += 0.02
    assert float(losses.places(NETS, decoded, named, Weights())) > 0.3


def test_a_guide_counts_only_between_different_hands_and_is_felt_far_outside() -> None:
    u = torch.full((2, 2, 3, NETS.chains.width), 5.0, requires_grad=True)
    wanted, mask = u.detach().clone(), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    wanted[0, 0] = 1.0
    assert float(losses.guided(NETS, u, wanted, mask, Weights())) == pytest.approx(0.0, abs=1e-6)
    wanted[0, 1] = 1.0
    cost = losses.guided(NETS, u, wanted, mask, Weights())
    cost.backward()
    assert float(cost) > 0.5 and float(u.grad[0, 1].abs().max()) > 1e-3
