# SPDX-License-Identifier: Apache-2.0
"""Postures to train on: uniform inside the limits, near pinches, and at the limits. No demonstrations are used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.latent.hand import common_pinch, pad_joints, pinches_of
from dex_learn.latent.net import PINCH_SCALE_M, LatentNets

NEAR_M = 0.065
"""A posture with some fingertip nearer to the thumb's than this counts as a pinch."""
TIGHT_M = 0.06
STEPS, PLACED_STEPS, TRIES = 60, 120, 3
PLACE_MEAN_M, PLACE_SPREAD_M = (0.0, -0.015, 0.0), (0.025, 0.02, 0.015)
"""About how the thumb's tip is spread around the common pinch's middle in random pinches of the hands with one motor a finger."""
PLACE_COST = 0.3
PINCH_SPREAD, COMMON_COST = 0.4, 0.1
"""Postures that are to be placed start within so much of the common pinch, joints in [-1, 1], and are drawn to it."""
DRAWN_AT_ONCE = 8192
DRAWS_AT_MOST = 2000


@dataclass(frozen=True)
class Shares:
    """Shares of a batch; the rest is uniform.

    Attributes:
        near: uniform postures of which only those with a pinch are kept.
        tight: postures that were moved until one finger, drawn by lot, is 0 to 60 mm from the thumb.
        placed: the same, and the thumb's tip is about where all hands pinch. A hand with joints to spare would rarely pinch there by chance.
        edge: postures of which about half the joints are on a limit, so that open and closed hands decode exactly.
    """

    near: float = 0.3
    tight: float = 0.15
    placed: float = 0.2
    edge: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.near, self.tight, self.placed, self.edge)
        if min(shares) < 0.0 or sum(shares) > 1.0:
            raise DexError(f"shares {self} of a batch: none may be negative, together at most 1", code="bad_argument")


def uniform(nets: LatentNets, count: int, generator: torch.Generator) -> Tensor:
    """(H, count, n) in [-1, 1], zeros in the columns a hand does not have."""
    u = torch.rand((len(nets.hands), count, nets.chains.width), generator=generator)
    return (2.0 * u - 1.0).to(nets.own.device) * nets.own


def at_limits(nets: LatentNets, count: int, generator: torch.Generator) -> Tensor:
    """(H, count, n): uniform, each joint with probability one half on the nearer limit."""
    u = uniform(nets, count, generator)
    onto = (torch.rand(u.shape, generator=generator) < 0.5).to(u.device)
    return torch.where(onto, u.sign(), u)


@torch.no_grad()
def near_pinches(nets: LatentNets, count: int, generator: torch.Generator) -> Tensor:
    """(H, count, n) uniform postures with a pinch under 65 mm.

    Raises:
        DexError: ``unreachable``: a hand practically never pinches.
    """
    kept: list[list[Tensor]] = [[] for _ in nets.hands]
    for _ in range(DRAWS_AT_MOST):
        u = uniform(nets, DRAWN_AT_ONCE, generator)
        gap = nets.chains.pinches(nets.joints(u)).norm(dim=-1)
        gap = gap.masked_fill(nets.present[:, None] == 0.0, torch.inf)
        near = (gap < NEAR_M).any(dim=-1)
        for own, rows, keep in zip(kept, u, near, strict=True):
            own.append(rows[keep])
        if all(sum(map(len, own)) >= count for own in kept):
            return torch.stack([torch.cat(own)[:count] for own in kept])
    poor = [h.name for h, own in zip(nets.hands, kept, strict=True) if sum(map(len, own)) < count]
    text = f"{poor}: fewer than {count} of {DRAWS_AT_MOST * DRAWN_AT_ONCE} random postures bring a fingertip within 65 mm of the thumb's"
    raise DexError(text, code="unreachable")


def common_posture(nets: LatentNets) -> Tensor:
    """(H, 1, n) the pinch that all hands share, in [-1, 1]."""
    postures = [[common_pinch(hand.robot.name, hand.side)[0][joint] for joint in hand.joints] for hand in nets.hands]
    return nets.normalise(pad_joints(nets.hands, postures, 0.0)[:, None].to(nets.own.device))


def tight_pinches(nets: LatentNets, count: int, generator: torch.Generator, *, placed: bool = False, widest_m: float = TIGHT_M) -> Tensor:
    """(H, count, n) uniform postures moved by gradient descent until the gap between the thumb and one finger is what was drawn for it.

    Args:
        placed: the thumb's tip also goes where it was drawn to be, around the hand's place of the common pinch, from postures around that pinch:
            a finger that can be bent to one point in two ways is bent as there, and joints that are free stay as there. Of three postures the one
            that comes nearest is kept.
        widest_m: largest gap that is drawn.
    """
    drawn, steps = (TRIES * count, PLACED_STEPS) if placed else (count, STEPS)
    device = nets.own.device
    start, common = uniform(nets, drawn, generator), common_posture(nets) if placed else None
    if common is not None:
        start = (common + PINCH_SPREAD * start).clamp(-1.0, 1.0)
    free = torch.atanh(0.99 * start).requires_grad_(True)
    weights = nets.present.cpu()
    chosen = torch.stack([torch.multinomial(row, drawn, replacement=True, generator=generator) for row in weights]).to(device)
    wanted = (widest_m * torch.rand((len(nets.hands), drawn), generator=generator)).to(device)
    spread = torch.randn((len(nets.hands), drawn, 3), generator=generator) * torch.tensor(PLACE_SPREAD_M) + torch.tensor(PLACE_MEAN_M)
    place = nets.place * PINCH_SCALE_M + spread.to(device)
    optimiser = torch.optim.Adam([free], lr=0.05)
    index = chosen[:, :, None, None].expand(-1, -1, 1, 3)
    for _ in range(steps):
        u = torch.tanh(free) * nets.own
        tips = nets.chains(nets.joints(u))
        gap = torch.gather(pinches_of(tips), 2, index)[:, :, 0].norm(dim=-1)
        cost = (100.0 * (gap - wanted)).square()
        if common is not None:
            cost = cost + PLACE_COST * (100.0 * (tips[:, 0] - place)).square().sum(dim=-1) + COMMON_COST * (u - common).square().sum(dim=-1)
        (free.grad,) = torch.autograd.grad(cost.sum(), [free])
        optimiser.step()
    u = torch.tanh(free.detach()) * nets.own
    if not placed:
        return u
    best = cost.detach().unflatten(1, (TRIES, count)).argmin(dim=1)  # (H, count)
    return torch.gather(u.unflatten(1, (TRIES, count)), 1, best[:, None, :, None].expand(-1, 1, -1, u.shape[-1]))[:, 0]


class Sampler:
    """Draws batches; pinches come from pools made once.

    Args:
        nets: whose hands; only limits and kinematics are used.
        shares: of a batch.
        pool: postures per hand in each pool.
        seed: of the pools.
    """

    def __init__(self, nets: LatentNets, shares: Shares, pool: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._nets, self._shares = nets, shares
        self._near = near_pinches(nets, pool, generator)
        self._tight = tight_pinches(nets, max(1, pool // 2), generator)
        self._placed = tight_pinches(nets, max(1, pool // 4), generator, placed=True)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(H, count, n) in [-1, 1]."""
        own = self._shares
        near, tight, placed, edge = (int(count * share) for share in (own.near, own.tight, own.placed, own.edge))
        parts = [uniform(self._nets, count - near - tight - placed - edge, generator)]
        for pool, size in ((self._near, near), (self._tight, tight), (self._placed, placed)):
            parts.append(pool[:, torch.randint(pool.shape[1], (size,), generator=generator).to(pool.device)])
        return torch.cat([*parts, at_limits(self._nets, edge, generator)], dim=1)
