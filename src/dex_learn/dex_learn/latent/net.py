# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders of H hands, stacked so that one kernel serves all of them; slices of the stack are what is exported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dex_core.errors import ConfigError, DexError
from dex_learn.latent.hand import OTHERS, FingerChains, LatentHand, common_pinch, pad_joints, pinches_of

LATENT_DIM = 32
OVERSHOOT = 0.1
"""A joint, in [-1, 1], may leave its limits by so much before it is cut: a limit itself is reached without an endless pre-activation."""
MAX_LATENT = 20.0
"""A latent is cut here before it is decoded: numbers far beyond any posture's cannot overflow the network."""
PINCH_DIM = 3 * len(OTHERS)
SHARED_DIM = PINCH_DIM + 3
PRIVATE_DIM = LATENT_DIM - SHARED_DIM
PINCH_SCALE_M = 0.05
"""Thumb-to-finger vectors in this unit have a spread of about one."""
PINCH_CENTRE_M = ((0.0, -0.025, 0.035), (0.0, -0.05, 0.035), (0.0, -0.075, 0.035), (0.0, -0.08, 0.03))
"""About the mean of index, middle, ring, little over the five hands; any numbers do, they only have to be everyone's."""

TIGHT = 0.8
"""Length, in the unit above, at which a vector weighs 1/e of one without length."""
PLACE_PULL = 0.2
"""How much of the correction's torque the thumb's place has, beside one that all pinches share."""


class StackedMlp(nn.Module):
    """H perceptrons of one shape: SiLU, residual where the width stays, and a linear path from input to output.

    Args:
        count: H.
        sizes: width of input, hidden layers and output.
        generator: draws the weights.
    """

    def __init__(self, count: int, sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.weights = nn.ParameterList([nn.Parameter(_draw(count, a, b, generator)) for a, b in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(count, 1, b)) for _, b in pairs])
        self.skip = nn.Parameter(_draw(count, sizes[0], sizes[-1], generator))
        with torch.no_grad():
            self.weights[-1].mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(H, B, in) -> (H, B, out)."""
        hidden = x
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            step = functional.silu(_affine(hidden, weight, bias))
            hidden = hidden + step if hidden.shape[-1] == step.shape[-1] else step
        return _affine(hidden, self.weights[-1], self.biases[-1]) + torch.bmm(x, self.skip)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight + bias``; while exporting in two steps, so that the graph holds the bias under its own name."""
    return torch.bmm(x, weight) + bias if torch.jit.is_tracing() else torch.baddbmm(bias, x, weight)


def _filling(hand: LatentHand) -> Tensor:
    """(12, 12) thumb-to-finger vectors, row by row [m], to the shared numbers; a missing little finger is where the row of the others leads."""
    fingers = torch.eye(len(OTHERS))
    if not hand.present[:3].all():
        raise ConfigError(f"{hand.name} has the fingers {list(hand.target.fingers)}; the latent space needs thumb, index, middle and ring")
    if not hand.present[3]:
        fingers[3] = torch.tensor([0.0, -0.5, 1.5, 0.0])
    return torch.kron(fingers, torch.eye(3)).T / PINCH_SCALE_M


def squash(x: Tensor) -> Tensor:
    """The number itself in [-1, 1]; outside it bends towards 1.1 and never gets there."""
    inside = x.clamp(-1.0, 1.0)
    beyond = x - inside
    return inside + OVERSHOOT * beyond / (OVERSHOOT + beyond.abs())


def _draw(count: int, fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    return torch.randn((count, fan_in, fan_out), generator=generator) / math.sqrt(fan_in)


@dataclass(frozen=True)
class Widths:
    """Hidden layers: two of the encoder, two of each half of the decoder."""

    encoder: int = 128
    decoder: int = 160

    def __post_init__(self) -> None:
        if min(self.encoder, self.decoder) < 1:
            raise DexError(f"widths {self}: each at least 1", code="bad_argument")


class LatentNets(nn.Module):
    """Encoders and decoders of H hands into one space of 32 numbers.

    The first 12 numbers of a latent are the thumb-to-finger vectors themselves, on palm axes in units of 50 mm; the next three are where the
    thumb's tip is, from the place where the hand has the pinch that all share. Both are computed inside the encoder: what hands have in common is
    the same number for all from the start. The other 17 are learned and tell apart postures with equal pinches in the same place.

    The decoder guesses joints, looks where they would bring the fingertips and which way each joint would have to turn, and corrects its
    guess once by what it sees. It is given the directions of the vectors beside the vectors and, once more, the vectors weighted by how
    short they are: a tight pinch is a small part of the plain numbers but most of what matters.

    Args:
        hands: H of them.
        widths: of the hidden layers.
        seed: of the weights.
    """

    def __init__(self, hands: Sequence[LatentHand], widths: Widths = Widths(), seed: int = 1) -> None:
        super().__init__()
        self.hands, self.widths = tuple(hands), widths
        generator = torch.Generator().manual_seed(seed)
        self.chains = FingerChains(hands)
        low, high = pad_joints(hands, [h.low for h in hands], -1.0), pad_joints(hands, [h.high for h in hands], 1.0)
        self.register_buffer("low", low[:, None])
        self.register_buffer("high", high[:, None])
        self.register_buffer("middle", 0.5 * (low + high)[:, None])
        self.register_buffer("swing", 0.5 * (high - low)[:, None])
        self.register_buffer("own", pad_joints(hands, [[1.0] * len(h.joints) for h in hands], 0.0)[:, None])
        self.register_buffer("present", torch.tensor([[float(p) for p in h.present] for h in hands]))  # (H, 4)
        self.register_buffer("centre", torch.tensor(PINCH_CENTRE_M) / PINCH_SCALE_M)
        self.register_buffer("fill", torch.stack([_filling(hand) for hand in hands]))
        middles = torch.tensor([common_pinch(hand.robot.name, "right")[1] for hand in hands]) / PINCH_SCALE_M  # a left hand's is mirrored
        self.place = nn.Parameter(middles[:, None], requires_grad=False)  # not trained, but part of what a graph holds and a stack hands on
        h, n = len(hands), self.chains.width
        self.encoder = StackedMlp(h, (SHARED_DIM + n, widths.encoder, widths.encoder, PRIVATE_DIM), generator)
        seen = LATENT_DIM + 2 * PINCH_DIM + len(OTHERS)
        self.guess = StackedMlp(h, (seen, widths.decoder, widths.decoder, n), generator)
        self.correction = StackedMlp(h, (seen + SHARED_DIM + PINCH_DIM + 2 * n, widths.decoder, widths.decoder, n), generator)

    def normalise(self, q: Tensor) -> Tensor:
        """(H, B, n) [rad] -> (H, B, n) in [-1, 1]."""
        return ((q - self.middle) / self.swing).clamp(-1.0, 1.0) * self.own

    def joints(self, u: Tensor) -> Tensor:
        """(H, B, n) in [-1, 1] -> (H, B, n) [rad]."""
        return self.middle + u * self.swing

    def shared(self, tips: Tensor) -> Tensor:
        """(H, 5, B, 3) tips [m] -> (H, B, 15) thumb-to-finger vectors and the thumb's place.

        A missing finger stands where the row of the others leads.
        """
        pinches = pinches_of(tips).reshape(len(self.fill), -1, PINCH_DIM)
        return torch.cat([torch.bmm(pinches, self.fill) - self.centre.reshape(PINCH_DIM), self._places(tips)], dim=-1)

    def _places(self, tips: Tensor) -> Tensor:
        return tips[:, 0] / PINCH_SCALE_M - self.place

    def encode(self, u: Tensor, tips: Tensor) -> Tensor:
        """(H, B, n) in [-1, 1] and their (H, 5, B, 3) tips [m] -> (H, B, 32) latents."""
        shared = self.shared(tips)
        return torch.cat([shared, self.encoder(torch.cat([shared, u], dim=-1))], dim=-1)

    def decode(self, z: Tensor) -> Tensor:
        """(H, B, 32) -> (H, B, n) in [-1.1, 1.1], joints before they are cut to [-1, 1]: what training compares."""
        return squash(self.unbounded(z))

    def unbounded(self, z: Tensor) -> Tensor:
        """(H, B, 32) -> (H, B, n), the same joints before they are bent; cut to [-1, 1] they are equal."""
        h, f, n = len(self.hands), len(OTHERS), self.chains.width
        z = z.clamp(-MAX_LATENT, MAX_LATENT)
        wanted = z[..., :PINCH_DIM].reshape(h, -1, f, 3) + self.centre
        length = torch.sqrt(wanted.square().sum(dim=-1, keepdim=True) + 1e-4)
        weight = torch.exp(-length / TIGHT)
        tight = (wanted * weight * 2.5).reshape(h, -1, PINCH_DIM)
        seen = torch.cat([z, tight, (wanted / length).reshape(h, -1, PINCH_DIM), weight[..., 0]], dim=-1)
        guess = self.guess(seen)
        u = guess.clamp(-1.0, 1.0) * self.own
        share = (weight / weight.sum(dim=-2, keepdim=True)) * self.present[:, None, :, None]

        def pull(tips: Tensor) -> Tensor:
            fingers = (share * (wanted - pinches_of(tips) / PINCH_SCALE_M)).transpose(1, 2)
            thumb = PLACE_PULL * (z[..., PINCH_DIM:SHARED_DIM] - self._places(tips))
            return torch.cat([thumb[:, None] - fingers.sum(dim=1, keepdim=True), fingers], dim=1)

        tips, torque = self.chains.towards(self.joints(u), pull)
        missed = z[..., :SHARED_DIM] - self.shared(tips)
        tight = (missed[..., :PINCH_DIM].reshape(h, -1, f, 3) * weight * 4.0).reshape(h, -1, PINCH_DIM)
        joints = torch.stack([u, torque * (self.swing / PINCH_SCALE_M)], dim=-1).reshape(h, -1, 2 * n)  # in pairs, so that padding stays last
        return guess + self.correction(torch.cat([seen, missed, tight, joints], dim=-1))

    def cut(self, row: int) -> LatentNets:
        """Hand ``row`` alone, without padding."""
        alone = LatentNets(self.hands[row : row + 1], self.widths)
        alone.take(self, [row])
        return alone

    @classmethod
    @torch.no_grad()
    def stack(cls, alone: Sequence[LatentNets]) -> LatentNets:
        """Hands that stand alone, as one stack."""
        out = cls([nets.hands[0] for nets in alone], alone[0].widths)
        for row, nets in enumerate(alone):
            for own, other in zip(out.parameters(), nets.parameters(), strict=True):
                own[row].zero_()[tuple(slice(0, n) for n in other.shape[1:])] = other[0]
        return out

    @torch.no_grad()
    def take(self, source: LatentNets, rows: Sequence[int]) -> None:
        """Copies weights of ``source``: its hand ``rows[k]`` becomes hand k.

        Padding stands last in every tensor, so the narrower of two has the first part.
        """
        for own, other in zip(self.parameters(), source.parameters(), strict=True):
            picked = other.detach()[list(rows)]
            part = tuple(slice(0, min(a, b)) for a, b in zip(own.shape, picked.shape, strict=True))
            own[part] = picked[part].to(own.device)


class HandEncoder(nn.Module):
    """Joint positions (B, n) [rad] -> latent (B, 32) of one hand of a stack. Values beyond the limits are read as the limit."""

    def __init__(self, nets: LatentNets, row: int) -> None:
        super().__init__()
        self.nets = nets.cut(row)

    def forward(self, q: Tensor) -> Tensor:
        """(B, n) [rad] -> (B, 32)."""
        u = self.nets.normalise(q[None])
        return self.nets.encode(u, self.nets.chains(self.nets.joints(u)))[0]


class HandDecoder(nn.Module):
    """Latent (B, 32) -> joint positions (B, n) [rad] of one hand of a stack, inside the limits whatever the latent."""

    def __init__(self, nets: LatentNets, row: int) -> None:
        super().__init__()
        self.nets = nets.cut(row)

    def forward(self, z: Tensor) -> Tensor:
        """(B, 32) -> (B, n) [rad]."""
        q = self.nets.joints(self.nets.unbounded(z[None]).clamp(-1.0, 1.0))[0]
        return torch.minimum(torch.maximum(q, self.nets.low[0]), self.nets.high[0])
