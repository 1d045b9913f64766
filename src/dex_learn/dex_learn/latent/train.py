# SPDX-License-Identifier: Apache-2.0
"""Trains encoders and decoders, jointly or into a frozen space: one backward pass for all hands and all ordered pairs."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.latent import losses
from dex_learn.latent.guides import make_guides
from dex_learn.latent.losses import Batch, Weights
from dex_learn.latent.net import SHARED_DIM, LatentNets
from dex_learn.latent.sampling import Sampler, Shares
from dex_learn.progress import progress

WARM_UP = 100
CLIP = 5.0
CYCLE_SHARE, GUIDE_SHARE = 4, 4
REPORT_EVERY = 50
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


class Trainer:
    """One run: new hands, trained together, and frozen ones beside them.

    Args:
        nets: the hands to train.
        training: how.
        frozen: hands of the space that stay as they are; latents go from and to them in both directions.
        twins: of ``nets`` among ``frozen``.
        checkpoint: file to write to and to go on from; None: nowhere.

    Attributes:
        nets: as it trains. average: running mean of its weights.
        curves: name -> values, one per ``REPORT_EVERY`` steps; ``step`` among them.
    """

    def __init__(
        self, nets: LatentNets, training: Training, *, frozen: LatentNets | None = None, twins: Twins | None = None, checkpoint: Path | None = None,
    ) -> None:
        self.nets, self.training, self.frozen, self.twins, self.checkpoint = nets, training, frozen, twins, checkpoint
        self.average = copy.deepcopy(nets)
        if frozen is not None:
            frozen.requires_grad_(False)
        self._parameters = [p for p in nets.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=training.weight_decay
        )
        self._generator = torch.Generator().manual_seed(training.seed)
        self._sampler = Sampler(nets, training.shares, training.pool, training.seed)
        self._frozen_sampler = Sampler(frozen, training.shares, training.pool, training.seed + FROZEN_SEED) if frozen is not None else None
        self._guides = make_guides(nets, nets if frozen is None else frozen, training.pool // GUIDE_POOL, training.weights, training.seed)
        self.step, self._spent_s = 0, 0.0
        self.curves: dict[str, list[float]] = {}
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint)

    def run(self, title: str, until: int | None = None) -> LatentNets:
        """Trains to the end, or until a step; returns the averaged networks in eval mode."""
        last, began = self.training.steps if until is None else min(until, self.training.steps), time.monotonic()
        before, saved = self._spent_s, began
        with progress(title, 100.0) as show:
            while self.step < last and self._done() < 1.0:
                parts = self._advance(self._done())
                self.step += 1
                self._spent_s = before + time.monotonic() - began
                if self.step % REPORT_EVERY == 0 or self.step == last:
                    self._note(parts)
                    show(100.0 * self._done(), ", ".join(f"{k} {v[-1]:.3g}" for k, v in self.curves.items()))
                if self.checkpoint is not None and time.monotonic() - saved > self.training.save_every_s:
                    self.save()
                    saved = time.monotonic()
        if self.checkpoint is not None:
            self.save()
        return self.average.eval()

    def save(self) -> None:
        """Writes the checkpoint; the old one stays until the new one is whole."""
        assert self.checkpoint is not None
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step, "spent_s": self._spent_s, "nets": self.nets.state_dict(), "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(), "generator": self._generator.get_state(), "curves": self.curves, "identity": self._identity(),
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.checkpoint)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["identity"] != self._identity():
            text = f"{path} is a checkpoint of another training ({state['identity']}, not {self._identity()}); name another folder, or remove it"
            raise DexError(text, code="bad_checkpoint")
        self.nets.load_state_dict(state["nets"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.step, self._spent_s, self.curves = state["step"], state["spent_s"], state["curves"]

    def _identity(self) -> str:
        """What a checkpoint must have been trained with to be gone on from; how long may change."""
        settings = {k: v for k, v in asdict(self.training).items() if k not in ("steps", "minutes", "save_every_s")}
        frozen = [h.name for h in self.frozen.hands] if self.frozen is not None else []
        return f"{[h.name for h in self.nets.hands]} beside {frozen}, {self.nets.widths}, {settings}"

    def _done(self) -> float:
        limit = 60.0 * self.training.minutes
        return max(self.step / self.training.steps, self._spent_s / limit if limit else 0.0)

    def _advance(self, done: float) -> dict[str, Tensor]:
        rate = self.training.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * (0.003 + 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        parts = self._losses(done)
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        self._optimiser.step()
        with torch.no_grad():
            keep = min(self.training.average, self.step / (self.step + 10.0))
            torch._foreach_lerp_([p for p in self.average.parameters()], [p for p in self.nets.parameters()], 1.0 - keep)
        return parts

    def _losses(self, done: float) -> dict[str, Tensor]:
        """Every weighted term of the loss by name."""
        nets, weights, frozen = self.nets, self.training.weights, self.frozen
        batch = losses.batch_of(nets, self._sampler.draw(self.training.batch, self._generator))
        z = self._noisy(nets.encode(batch.u, batch.tips), done)
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
        rows = torch.randint(guides.u.shape[1], (self.training.batch // GUIDE_SHARE,), generator=self._generator).to(guides.u.device)
        speakers = self.nets if self.frozen is None else self.frozen
        batch = losses.batch_of(speakers, guides.u[:, rows])
        z = speakers.encode(batch.u, batch.tips).flatten(0, 1)  # (S B, 32)
        u = self.nets.unbounded(z[None].expand(len(self.nets.hands), -1, -1)).unflatten(1, (len(speakers.hands), -1))
        return losses.guided(self.nets, u, guides.wanted[:, :, rows], guides.mask, self.training.weights)

    def _beside(self) -> tuple[Batch, Tensor] | None:
        """Postures of the frozen hands and their latents."""
        if self.frozen is None or self._frozen_sampler is None:
            return None
        batch = losses.batch_of(self.frozen, self._frozen_sampler.draw(self.training.batch, self._generator))
        with torch.no_grad():
            return batch, self.frozen.encode(batch.u, batch.tips)

    def _twin(self, decoded: losses.Decoded, beside: tuple[Batch, Tensor]) -> Tensor:
        """How far a new hand is from mirroring its twin: in decoded joints, and in the learned numbers of the latent."""
        assert self.twins is not None
        nets, (batch, z) = self.nets, beside
        mirrored = batch.u[self.twins.index][..., : nets.chains.width] * self.twins.sign  # frozen hands may be padded wider
        rows = torch.arange(len(nets.hands), device=mirrored.device)
        reached = decoded.u[rows, len(nets.hands) + self.twins.index]
        joints = (losses.soft((reached - mirrored) / self.training.weights.joint_scale) * nets.own).sum() / (nets.own.sum() * mirrored.shape[1])
        own = nets.encode(mirrored, nets.chains(nets.joints(mirrored)))
        return joints + (own - z[self.twins.index])[..., SHARED_DIM:].square().mean() * 10.0

    def _noisy(self, z: Tensor, done: float) -> Tensor:
        noise = torch.randn(z.shape, generator=self._generator).to(z.device)
        scale = torch.full((z.shape[-1],), self.training.noise, device=z.device)
        scale[:SHARED_DIM] = self.training.shared_noise * (1.0 - done)
        return z + scale * noise

    def _note(self, parts: dict[str, Tensor]) -> None:
        self.curves.setdefault("step", []).append(float(self.step))
        for name, value in parts.items():
            self.curves.setdefault(name, []).append(float(value.detach()))
