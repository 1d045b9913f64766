# SPDX-License-Identifier: Apache-2.0
"""A hand of the other side as a mirror image: which joints count the other way, and networks that start as the twin's."""

from __future__ import annotations

import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.latent.hand import LatentHand
from dex_learn.latent.net import SHARED_DIM, LatentNets, StackedMlp
from dex_learn.latent.train import Twins

PROBES = 256
ALIKE_M = 0.03
"""A hand whose best mirror image is further off than this, on average, is no mirror image."""


@torch.no_grad()
def mirror_signs(hand: LatentHand, twin: LatentHand) -> Tensor:
    """(n,) of +1 and -1: ``hand`` at ``sign * u`` stands as the mirror image of ``twin`` at ``u``, joints in [-1, 1].

    Found by trying: joint by joint the sense that brings the fingertips nearer.

    Raises:
        DexError: ``no_twin``: other joints, or no mirror image.
    """
    if hand.joints != twin.joints:
        text = f"{hand.name} has the joints {list(hand.joints)}, {twin.name} {list(twin.joints)}; only equal ones mirror each other"
        raise DexError(text, code="no_twin")
    one, two = LatentNets([hand]), LatentNets([twin])
    u = 2.0 * torch.rand((1, PROBES, len(hand.joints)), generator=torch.Generator().manual_seed(0)) - 1.0
    wanted = two.chains(two.joints(u))
    sign = torch.ones(len(hand.joints))

    def off(candidate: Tensor) -> float:
        return float((one.chains(one.joints(u * candidate)) - wanted).norm(dim=-1).mean())

    best = off(sign)
    for _ in range(2):  # a joint's sense can only be seen once those before it are right
        for joint in range(len(sign)):
            turned = sign.clone()
            turned[joint] *= -1.0
            if off(turned) < best - 1e-9:
                sign, best = turned, off(turned)
    if best > ALIKE_M:
        text = f"{hand.name} is {best * 1e3:.0f} mm from being a mirror image of {twin.name}; at most {ALIKE_M * 1e3:.0f} mm are allowed"
        raise DexError(text, code="no_twin")
    return sign


def twins_of(nets: LatentNets, frozen: LatentNets) -> Twins:
    """For every hand of ``nets`` the frozen one of the same model. Raises DexError ``no_twin``."""
    models = [h.robot.name for h in frozen.hands]
    index, signs = [], torch.ones(len(nets.hands), 1, nets.chains.width)
    for k, hand in enumerate(nets.hands):
        if hand.robot.name not in models:
            raise DexError(f"{hand.name}: the frozen space has the hands {[h.name for h in frozen.hands]}, none of this model", code="no_twin")
        index.append(models.index(hand.robot.name))
        signs[k, 0, : len(hand.joints)] = mirror_signs(hand, frozen.hands[index[-1]])
    return Twins(torch.tensor(index, device=nets.low.device), signs.to(nets.low.device))


@torch.no_grad()
def start_as_twins(nets: LatentNets, frozen: LatentNets, twins: Twins) -> None:
    """Gives every hand its twin's weights, turned for the joints that count the other way."""
    nets.take(frozen, twins.index.tolist())
    _turn_inputs(nets.encoder, SHARED_DIM, twins.sign)
    _turn_inputs(nets.correction, nets.correction.sizes[0] - 2 * nets.chains.width, twins.sign.repeat_interleave(2, dim=2))
    for part in (nets.guess, nets.correction):
        for tensor in (part.weights[-1], part.biases[-1], part.skip):
            tensor.mul_(twins.sign)


def _turn_inputs(part: StackedMlp, first: int, sign: Tensor) -> None:
    """Turns the rows that read joints, from row ``first`` on."""
    turn = sign.transpose(1, 2)
    part.weights[0][:, first:].mul_(turn)
    part.skip[:, first:].mul_(turn)
