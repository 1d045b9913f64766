# SPDX-License-Identifier: Apache-2.0
"""Postures that answer other hands' pinches, found by optimisation from the pinch that all hands share.

A hand with joints to spare can often make the same pinch in several ways. A network trained from nothing settles for any of them, and gradient
descent does not lead from one to the other; guides say which.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dex_learn.latent import losses
from dex_learn.latent.hand import pad_joints
from dex_learn.latent.losses import Weights
from dex_learn.latent.net import PINCH_DIM, PINCH_SCALE_M, SHARED_DIM, LatentNets
from dex_learn.latent.sampling import common_posture, tight_pinches, uniform

STEPS, RATE = 200, 0.05
COMMON_COST = 0.02
OPENING_SPREAD = 0.3
WIDE_M = 0.1
"""Gap between thumb and finger of the widest pinch that is guided: that of a hand that pushes a can, and more."""


class Guides(NamedTuple):
    """Postures ``u`` (S, G, n) of the speaking hands, what each of T hands ought to answer, ``wanted`` (T, S, G, n), all in [-1, 1], and ``mask``
    (T, S): zero where speaker and listener are one hand."""

    u: Tensor
    wanted: Tensor
    mask: Tensor


def make_guides(nets: LatentNets, speakers: LatentNets, count: int, weights: Weights, seed: int) -> Guides:
    """Guides of ``nets`` for ``count`` postures of each of ``speakers`` about the common pinch."""
    generator = torch.Generator().manual_seed(seed)
    pinched = tight_pinches(speakers, max(1, count // 2), generator, placed=True, widest_m=WIDE_M)
    u = torch.cat([pinched, _opening(speakers, max(1, count // 2), generator)], dim=1)
    batch = losses.batch_of(speakers, u)
    places = speakers.shared(batch.tips)[..., PINCH_DIM:SHARED_DIM]
    same = [[float(t.name == s.name) for s in speakers.hands] for t in nets.hands]
    pairs = losses.pair_mask(nets, speakers, same=False)
    wanted = _answers(nets, batch.pinches, places, pairs, weights)
    return Guides(u, wanted, 1.0 - torch.tensor(same, device=u.device))


def _opening(speakers: LatentNets, count: int, generator: torch.Generator) -> Tensor:
    """(S, count, n) postures on the way from the common pinch to the open hand, and around it: a hand that comes, pushes or lets go."""
    rest = [[float(rest) for rest in hand.target.rest_rad[[hand.target.kinematics.names.index(j) for j in hand.joints]]] for hand in speakers.hands]
    common, far = common_posture(speakers), speakers.normalise(pad_joints(speakers.hands, rest, 0.0)[:, None].to(speakers.own.device))
    share = torch.rand((len(rest), count, 1), generator=generator).to(common.device)
    return (common + share * (far - common) + OPENING_SPREAD * uniform(speakers, count, generator)).clamp(-1.0, 1.0) * speakers.own


def _answers(nets: LatentNets, pinches: Tensor, places: Tensor, pairs: Tensor, weights: Weights) -> Tensor:
    """(T, S, G, n) postures near the common pinch that show (S, G, 4, 3) pinches [m] at (S, G, 3) places."""
    (t, n), (s, g) = (len(nets.hands), nets.chains.width), pinches.shape[:2]
    common = common_posture(nets)  # (T, 1, n)
    free = torch.atanh(0.98 * common.expand(-1, s * g, -1)).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([free], lr=RATE)
    for _ in range(STEPS):
        u = torch.tanh(free) * nets.own
        tips = nets.chains(nets.joints(u)).view(t, 5, s, g, 3)
        decoded = losses.Decoded(u.view(t, s, g, n), tips)
        distance, direction = losses.retargeting(decoded, pinches, pairs, weights)
        off = (tips[:, 0] / PINCH_SCALE_M - nets.place[:, None] - places).norm(dim=-1) * PINCH_SCALE_M / weights.place_scale_m
        cost = distance + direction + weights.place * losses.soft(off).mean() + COMMON_COST * (u - common).square().sum(dim=-1).mean()
        (gradient,) = torch.autograd.grad(cost, [free])
        free.grad = gradient * (t * s * g)  # Adam minds no scale but its epsilon does
        optimiser.step()
    return (torch.tanh(free.detach()) * nets.own).view(t, s, g, n)
