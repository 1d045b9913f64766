# SPDX-License-Identifier: Apache-2.0
"""What the latent space is trained for: reconstruction of a hand's own posture, and equal pinches on every other hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dex_learn.latent.hand import pinches_of
from dex_learn.latent.net import PINCH_DIM, PINCH_SCALE_M, SHARED_DIM, LatentNets


@dataclass(frozen=True)
class Weights:
    """Weights and scales. An error is worth ``sqrt(1 + (e / scale)^2) - 1``: square below its scale, the plain error above.

    Attributes:
        joint, joint_scale: reconstructed joints, in [-1, 1].
        tip, tip_scale_m: reconstructed fingertips.
        distance, distance_scale_m: length of thumb-to-finger vectors, source against target.
        direction, direction_scale: chord between their unit vectors.
        edge_m, edge_width_m: pinches shorter than ``edge_m`` weigh one, falling to nothing over ``edge_width_m``...
        far, far_direction, exponent: ...plus ``far exp(-exponent d)`` of a pinch of length d [m], the paper's weight; less for its direction, which
            a hand of other size cannot keep for all fingers at once.
        place, place_scale_m: where the thumb's tip is, source against target: it chooses among the postures that pinch alike.
        place_range_m: standard deviation of the bell by which this fades with the distance from the common pinch: elsewhere hands reach differently.
        far_scale: what is beyond ``edge_m`` adds to ``distance_scale_m``: a far finger of a large hand is out of a small one's reach.
        kl: learned numbers of the latent towards N(0, 1) (their noise is fixed, so only the mean's part is left).
        outside: joints beyond their limits before they are cut.
        guide, guide_scale: joints decoded from other hands' latents about the common pinch against postures found by optimisation, in [-1, 1].
        cycle: learned numbers of a latent against those of the posture it was decoded to, on whichever hand: one number, one meaning.
        twin: postures and latents of a hand against those of the hand it mirrors.
    """

    joint: float = 1.0
    joint_scale: float = 0.05
    tip: float = 1.0
    tip_scale_m: float = 3e-3
    distance: float = 6.0
    distance_scale_m: float = 3e-3
    direction: float = 4.0
    direction_scale: float = 0.06
    edge_m: float = 0.064
    edge_width_m: float = 0.004
    far: float = 0.2
    far_direction: float = 0.03
    exponent: float = 12.0
    far_scale: float = 0.2
    place: float = 2.0
    place_scale_m: float = 0.01
    place_range_m: float = 0.035
    kl: float = 1e-5
    outside: float = 10.0
    twin: float = 1.0
    cycle: float = 0.1
    guide: float = 1.0
    guide_scale: float = 0.1


class Batch(NamedTuple):
    """Postures of H hands: ``u`` (H, B, n) in [-1, 1], their ``tips`` (H, 5, B, 3) and ``pinches`` (H, B, 4, 3) [m]."""

    u: Tensor
    tips: Tensor
    pinches: Tensor


class Decoded(NamedTuple):
    """Latents of S sources decoded by T hands: ``u`` (T, S, B, n) before it is cut to [-1, 1], ``tips`` (T, 5, S, B, 3) after [m]."""

    u: Tensor
    tips: Tensor

    @property
    def pinches(self) -> Tensor:
        """(T, S, B, 4, 3) thumb tip to finger tips [m]."""
        return (self.tips[:, 1:] - self.tips[:, :1]).permute(0, 2, 3, 1, 4)


def soft(error: Tensor) -> Tensor:
    """sqrt(1 + e^2) - 1."""
    return torch.sqrt(1.0 + error.square()) - 1.0


@torch.no_grad()
def batch_of(nets: LatentNets, u: Tensor) -> Batch:
    """The postures with their fingertips."""
    tips = nets.chains(nets.joints(u))
    return Batch(u, tips, pinches_of(tips))


def decode_all(nets: LatentNets, z: Tensor) -> Decoded:
    """(S, B, 32) latents of S sources through each of the T decoders."""
    s, b, dim = z.shape
    t = len(nets.hands)
    u = nets.decode(z.reshape(1, s * b, dim).expand(t, -1, -1))
    cut = u + (u.clamp(-1.0, 1.0) - u).detach()  # a joint at its limit still feels what its fingertips want
    tips = nets.chains(nets.joints(cut * nets.own))
    return Decoded(u.view(t, s, b, -1), tips.view(t, 5, s, b, 3))


def decode_own(nets: LatentNets, z: Tensor) -> Decoded:
    """(H, B, 32) latents, each through its own hand's decoder: ``u`` (H, B, n) before it is cut and ``tips`` (H, 5, B, 3) after [m]."""
    u = nets.decode(z)
    return Decoded(u, nets.chains(nets.joints(u.clamp(-1.0, 1.0) * nets.own)))


def own_of(decoded: Decoded) -> Decoded:
    """Source t through decoder t, for the first T sources: (T, B, n) and (T, 5, B, 3)."""
    t = torch.arange(len(decoded.u), device=decoded.u.device)
    return Decoded(decoded.u[t, t], decoded.tips[t, :, t])


def outside(nets: LatentNets, decoded: Decoded) -> Tensor:
    """Mean square of how far joints are beyond their limits."""
    return ((decoded.u.abs() - 1.0).clamp(min=0.0) * nets.own[:, None]).square().mean()


def reconstruction(nets: LatentNets, batch: Batch, own: Decoded, weights: Weights) -> tuple[Tensor, Tensor]:
    """Weighted errors of joints and fingertips of postures decoded by their own hand."""
    joints = (soft((own.u - batch.u) / weights.joint_scale) * nets.own).sum() / (nets.own.sum() * batch.u.shape[1])
    squares = ((own.tips - batch.tips) / weights.tip_scale_m).square().sum(dim=-1)
    here = torch.cat([torch.ones_like(nets.present[:, :1]), nets.present], dim=1)  # (H, 5)
    tips = ((torch.sqrt(1.0 + squares) - 1.0) * here[:, :, None]).mean()
    return weights.joint * joints, weights.tip * tips


def pair_mask(targets: LatentNets, sources: LatentNets, *, same: bool) -> Tensor:
    """(T, S, 1, 4): one where both hands have the finger; ``same``: they are the same hands, whose own pairs do not count."""
    mask = targets.present[:, None] * sources.present[None]
    if same:
        mask = mask * (1.0 - torch.eye(len(mask), device=mask.device))[:, :, None]
    return mask[:, :, None]


def retargeting(decoded: Decoded, wanted: Tensor, mask: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Weighted errors of length and direction of thumb-to-finger vectors.

    Args:
        decoded: S sources through T decoders.
        wanted: (S, B, 4, 3) the sources' own vectors [m].
        mask: (T, S, 1, 4).
    """
    return retargeting_rows(decoded.pinches, wanted[None], mask, weights)


def retargeting_rows(reached: Tensor, wanted: Tensor, mask: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """The same of vectors (..., 4, 3) [m] that are what they are, mask (..., 4)."""
    length, got = wanted.norm(dim=-1), torch.sqrt(reached.square().sum(dim=-1) + 1e-10)
    pinch, fading = torch.sigmoid((weights.edge_m - length) / weights.edge_width_m), torch.exp(-weights.exponent * length)
    chord = (reached / got[..., None] - wanted / wanted.norm(dim=-1, keepdim=True).clamp(min=1e-4)).square().sum(dim=-1)
    scale = weights.distance_scale_m + weights.far_scale * (length - weights.edge_m).clamp(min=0.0)
    distance = (mask * (pinch + weights.far * fading) * soft((got - length) / scale)).mean()
    turned = torch.sqrt(1.0 + chord / weights.direction_scale**2) - 1.0
    direction = (mask * (pinch + weights.far_direction * fading) * turned).mean()
    return weights.distance * distance, weights.direction * direction


def places(targets: LatentNets, decoded: Decoded, z: Tensor, weights: Weights) -> Tensor:
    """How far the thumb's tip is from the place that the latents (S, B, 32) name, in all hands; less where that is far from the common pinch."""
    named = z[..., PINCH_DIM:SHARED_DIM]
    off = decoded.tips[:, 0] / PINCH_SCALE_M - targets.place[:, None] - named  # (T, S, B, 3)
    near = torch.exp(-0.5 * named.detach().square().sum(dim=-1) * (PINCH_SCALE_M / weights.place_range_m) ** 2)
    return weights.place * (near * soft(PINCH_SCALE_M / weights.place_scale_m * torch.sqrt(off.square().sum(dim=-1) + 1e-6))).mean()


def guided(nets: LatentNets, u: Tensor, wanted: Tensor, mask: Tensor, weights: Weights) -> Tensor:
    """Joints decoded from other hands' latents against postures that answer them well.

    Args:
        u: (T, S, B, n) before they are bent at their limits: bent, one that is far outside would feel nothing any more.
        wanted: (T, S, B, n) in [-1, 1].
        mask: (T, S) of the pairs that count.
    """
    error = (soft((u - wanted) / weights.guide_scale) * nets.own[:, None]).sum(dim=-1).mean(dim=-1) / nets.own.sum(dim=-1)  # (T, S)
    return weights.guide * (error * mask).sum() / mask.sum().clamp(min=1.0)


def cycle(nets: LatentNets, decoded: Decoded, z: Tensor, share: int, weights: Weights) -> Tensor:
    """Mean square of what the learned numbers of a latent lose when it is decoded and encoded again.

    Args:
        decoded: (S, B, 32) latents ``z`` through T decoders. share: only one in so many rows is looked at.
    """
    s, t, rows = len(z), len(nets.hands), max(1, z.shape[1] // share)
    u = decoded.u[:, :, :rows].clamp(-1.0, 1.0).reshape(t, s * rows, -1) * nets.own
    again = nets.encode(u, decoded.tips[:, :, :, :rows].reshape(t, -1, s * rows, 3))
    return weights.cycle * (again - z[:, :rows].reshape(1, s * rows, -1))[..., SHARED_DIM:].square().mean()


def scale_of_latents(z: Tensor, weights: Weights) -> Tensor:
    """KL(N(mean, noise) || N(0, 1)) of the learned numbers, up to what the fixed noise adds."""
    return weights.kl * 0.5 * z[..., SHARED_DIM:].square().sum(dim=-1).mean()
