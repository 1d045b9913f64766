# SPDX-License-Identifier: Apache-2.0
"""Trains encoders and decoders, jointly or into a frozen space: one backward pass for all hands and all ordered pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.latent import losses
from dex_learn.latent.guides import make_guides
from dex_learn.latent.losses import Batch, Weights
from dex_learn.latent.net import SHARED_DIM, LatentNets
from dex_learn.latent.sampling import Sampler, Shares
from dex_learn.resumable import Resumable

CYCLE_SHARE, GUIDE_SHARE = 4, 4
FROZEN_SEED = 7919
GUIDE_POOL = 20


@dataclass(frozen=True)
class Training:
    """How long and how.

    Attributes:
        steps: optimiser steps at most.
        minutes: it also ends after so long; the learning rate falls to nothing by whichever end is nearer. 0: no such end.
        batch: postures per hand and step.
        learning_rate: AdamW's first; falls along a cosine.
        weight_decay: of AdamW.
        average: decay of the running mean of the weights, which is what is kept.
        noise: standard deviation of the noise on the learned numbers of a latent before it is decoded: makes the space smooth.
        shared_noise: the same on its 12 thumb-to-finger numbers, falling to nothing with the learning rate.
        pool: pinches per hand drawn from.
        shares, weights: of the batch and of the loss.
        seed: of everything drawn.
        save_every_s: seconds between checkpoints.
    """

    steps: int = 40000
    minutes: float = 0.0
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.998
    noise: float = 0.02
    shared_noise: float = 0.0
    pool: int = 20000
    shares: Shares = field(default_factory=Shares)
    weights: Weights = field(default_factory=Weights)
    seed: int = 1
    save_every_s: float = 60.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 8 or self.minutes < 0.0 or not self.learning_rate > 0.0:
            raise DexError(
                f"steps {self.steps}, batch {self.batch}, minutes {self.minutes}, learning rate {self.learning_rate}: "
                "steps at least 1, batch at least 8, minutes not negative, rate positive", code="bad_argument",
            )


@dataclass(frozen=True)
class Twins:
    """Which frozen hand each new one mirrors: ``index`` (H,) and ``sign`` (H, 1, n) of its joints in [-1, 1]."""

    index: Tensor
    sign: Tensor


class Trainer(Resumable[LatentNets]):
    """One run: new hands, trained together, and frozen ones beside them.

    Args:
        nets: the hands to train.
        training: how.
        frozen: hands of the space that stay as they are; latents go from and to them in both directions.
        twins: of ``nets`` among ``frozen``.
        checkpoint: file to write to and to go on from; None: nowhere.
    """

    CLIP, FLOOR = 5.0, 0.003

    def __init__(
        self, nets: LatentNets, training: Training, *, frozen: LatentNets | None = None, twins: Twins | None = None, checkpoint: Path | None = None,
    ) -> None:
        self.training, self.frozen, self.twins = training, frozen, twins
        if frozen is not None:
            frozen.requires_grad_(False)
        self._sampler = Sampler(nets, training.shares, training.pool, training.seed)
        self._frozen_sampler = Sampler(frozen, training.shares, training.pool, training.seed + FROZEN_SEED) if frozen is not None else None
        self._guides = make_guides(nets, nets if frozen is None else frozen, training.pool // GUIDE_POOL, training.weights, training.seed)
        super().__init__(nets, training, checkpoint, training.weight_decay)

    def identity(self) -> str:
        """The settings, the hands and what they stand beside; how long may change."""
        frozen = [h.name for h in self.frozen.hands] if self.frozen is not None else []
        return f"{[h.name for h in self.net.hands]} beside {frozen}, {self.net.widths}, {super().identity()}"

    def learn(self) -> dict[str, Tensor]:
        """Gradients of one batch of every hand."""
        parts = self._losses()
        torch.stack(list(parts.values())).sum().backward()
        return parts

    def _losses(self) -> dict[str, Tensor]:
        """Every weighted term of the loss by name."""
        nets, weights, frozen = self.net, self.training.weights, self.frozen
        batch = losses.batch_of(nets, self._sampler.draw(self.training.batch, self.generator))
        z = self._noisy(nets.encode(batch.u, batch.tips))
        beside = self._beside()
        sources, wanted = (z, batch.pinches) if beside is None else (torch.cat([z, beside[1]]), torch.cat([batch.pinches, beside[0].pinches]))
        decoded = losses.decode_all(nets, sources)
        joint, tip = losses.reconstruction(nets, batch, losses.own_of(decoded), weights)
        mask = losses.pair_mask(nets, nets, same=True)
        if frozen is not None:
            mask = torch.cat([mask, losses.pair_mask(nets, frozen, same=False)], dim=1)
        distance, direction = losses.retargeting(decoded, wanted, mask, weights)
        parts = {"joint": joint, "tip": tip, "distance": distance, "direction": direction, "kl": losses.scale_of_latents(z, weights)}
        parts["place"] = losses.places(nets, decoded, sources, weights)
        parts["guide"] = self._guide()
        parts["outside"] = weights.outside * losses.outside(nets, decoded)
        parts["cycle"] = losses.cycle(nets, decoded, sources, CYCLE_SHARE, weights)
        if beside is not None and frozen is not None:
            spoken = losses.decode_all(frozen, z)
            other = losses.retargeting(spoken, batch.pinches, losses.pair_mask(frozen, nets, same=False), weights)
            parts["distance"], parts["direction"] = parts["distance"] + other[0], parts["direction"] + other[1]
            parts["place"] = parts["place"] + losses.places(frozen, spoken, z, weights)
            if self.twins is not None:
                parts["twin"] = weights.twin * self._twin(decoded, beside)
        return parts

    def _guide(self) -> Tensor:
        """What latents of other hands about the common pinch ought to be decoded to, against what they are."""
        guides = self._guides
        rows = torch.randint(guides.u.shape[1], (self.training.batch // GUIDE_SHARE,), generator=self.generator).to(guides.u.device)
        speakers = self.net if self.frozen is None else self.frozen
        batch = losses.batch_of(speakers, guides.u[:, rows])
        z = speakers.encode(batch.u, batch.tips).flatten(0, 1)  # (S B, 32)
        u = self.net.unbounded(z[None].expand(len(self.net.hands), -1, -1)).unflatten(1, (len(speakers.hands), -1))
        return losses.guided(self.net, u, guides.wanted[:, :, rows], guides.mask, self.training.weights)

    def _beside(self) -> tuple[Batch, Tensor] | None:
        """Postures of the frozen hands and their latents."""
        if self.frozen is None or self._frozen_sampler is None:
            return None
        batch = losses.batch_of(self.frozen, self._frozen_sampler.draw(self.training.batch, self.generator))
        with torch.no_grad():
            return batch, self.frozen.encode(batch.u, batch.tips)

    def _twin(self, decoded: losses.Decoded, beside: tuple[Batch, Tensor]) -> Tensor:
        """How far a new hand is from mirroring its twin: in decoded joints, and in the learned numbers of the latent."""
        assert self.twins is not None
        nets, (batch, z) = self.net, beside
        mirrored = batch.u[self.twins.index][..., : nets.chains.width] * self.twins.sign  # frozen hands may be padded wider
        rows = torch.arange(len(nets.hands), device=mirrored.device)
        reached = decoded.u[rows, len(nets.hands) + self.twins.index]
        joints = (losses.soft((reached - mirrored) / self.training.weights.joint_scale) * nets.own).sum() / (nets.own.sum() * mirrored.shape[1])
        own = nets.encode(mirrored, nets.chains(nets.joints(mirrored)))
        return joints + (own - z[self.twins.index])[..., SHARED_DIM:].square().mean() * 10.0

    def _noisy(self, z: Tensor) -> Tensor:
        noise = torch.randn(z.shape, generator=self.generator).to(z.device)
        scale = torch.full((z.shape[-1],), self.training.noise, device=z.device)
        scale[:SHARED_DIM] = self.training.shared_noise * (1.0 - self.done)
        return z + scale * noise
