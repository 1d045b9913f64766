# SPDX-License-Identifier: Apache-2.0
"""Trains the click network: one click, and of some samples a second one where the first mask is wrong."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dex_core.errors import DexError
from dex_learn.progress import progress
from dex_learn.segmentation.net import WIDTHS, ClickNet
from dex_learn.segmentation.samples import Batch, Sampler
from dex_learn.tabletop.store import Scenes

WARM_UP = 100
CLIP = 2.0
REPORT_EVERY = 50
ALL_MASKS = 0.25
"""Weight of the mean loss of all masks beside that of the best one: no mask is left untrained."""
FLOOR = 0.004
"""Of the learning rate, relative to its largest."""


@dataclass(frozen=True)
class Training:
    """How long and how.

    Attributes:
        steps: optimiser steps at most.
        minutes: it also ends after so long; the learning rate falls to nothing by whichever end is nearer. 0: no such end.
        batch: clicks per step. learning_rate: AdamW's largest. weight_decay: of AdamW.
        average: decay of the running mean of the weights, which is what is kept.
        second: share of the steps in which a click where the mask is wrong follows.
        widths: of the network. seed: of weights and samples. save_every_s: seconds between checkpoints.
        half: convolutions compute in bfloat16, which processors that have it do faster.
    """

    steps: int = 100_000
    minutes: float = 0.0
    batch: int = 8
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-3
    average: float = 0.998
    second: float = 0.2
    widths: tuple[int, ...] = WIDTHS
    seed: int = 1
    save_every_s: float = 60.0
    half: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.minutes < 0.0 or not self.learning_rate > 0.0 or not 0.0 <= self.second <= 1.0:
            raise DexError(
                f"steps {self.steps}, batch {self.batch}, minutes {self.minutes}, learning rate {self.learning_rate}, second {self.second}: steps at "
                "least 1, batch at least 2, minutes not negative, rate positive, second from 0 to 1", code="bad_argument",
            )


class Trainer:
    """One run, which goes on from its checkpoint.

    Args:
        scenes: to click into. training: how. checkpoint: file to write to and to go on from; None: nowhere.

    Attributes:
        net: as it trains. average: running mean of its weights. step: optimiser steps so far.
        curves: name -> values, one per ``REPORT_EVERY`` steps.
    """

    def __init__(self, scenes: Scenes, training: Training, checkpoint: Path | None = None) -> None:
        torch.manual_seed(training.seed)
        self.training, self.checkpoint = training, checkpoint
        self.net = ClickNet(training.widths)
        self.average = copy.deepcopy(self.net)
        self.net.half = training.half
        self._optimiser = torch.optim.AdamW(self.net.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=training.weight_decay)
        self.step, self._spent_s = 0, 0.0
        self.curves: dict[str, list[float]] = {}
        self._recent: list[dict[str, float]] = []
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint)
        self._sampler = Sampler(scenes, training.seed + self.step)
        self._generator = torch.Generator().manual_seed(training.seed + self.step)

    @property
    def minutes(self) -> float:
        """Spent so far, interruptions not counted."""
        return self._spent_s / 60.0

    @property
    def settings(self) -> str:
        """How it was trained, for the record."""
        return ", ".join(f"{k} {v}" for k, v in asdict(self.training).items())

    def run(self) -> ClickNet:
        """Trains to the end; returns the averaged network in eval mode."""
        began = saved = time.monotonic()
        before = self._spent_s
        with progress("segmentation", 100.0) as show:
            while self.step < self.training.steps and self._done() < 1.0:
                self._recent.append(self._advance(self._done()))
                self.step += 1
                self._spent_s = before + time.monotonic() - began
                if self.step % REPORT_EVERY == 0:
                    self._note()
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
        fresh = self.checkpoint.with_suffix(".new")
        torch.save({
            "step": self.step, "spent_s": self._spent_s, "net": self.net.state_dict(), "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(), "curves": self.curves, "identity": self._identity(),
        }, fresh)
        fresh.replace(self.checkpoint)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["identity"] != self._identity():
            text = f"{path} is a checkpoint of another training ({state['identity']}, not {self._identity()}); name another folder, or remove it"
            raise DexError(text, code="bad_checkpoint")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._spent_s, self.curves = state["step"], state["spent_s"], state["curves"]

    def _identity(self) -> str:
        """What a checkpoint must have been trained with to be gone on from; how long and how fast may change."""
        return str({k: v for k, v in asdict(self.training).items() if k in ("widths", "seed")})

    def _done(self) -> float:
        limit = 60.0 * self.training.minutes
        return max(self.step / self.training.steps, self._spent_s / limit if limit else 0.0)

    def _advance(self, done: float) -> dict[str, float]:
        rate = self.training.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * (FLOOR + 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = self._sampler.draw(self.training.batch)
        again = float(torch.rand((), generator=self._generator)) < self.training.second
        self._optimiser.zero_grad(set_to_none=True)
        figures = self._learn(batch, again)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self._optimiser.step()
        keep = min(self.training.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1.0 - keep)
        return figures

    def _learn(self, batch: Batch, again: bool) -> dict[str, float]:
        """Gradients of one click, or of two."""
        labels = torch.ones(batch.clicks_m.shape[:2], dtype=torch.int64)
        masks, believed = self.net(batch.points_m, batch.colors, batch.clicks_m, labels)
        total, overlap = loss(masks, believed, batch)
        total.backward()
        figures = {"loss": float(total.detach()), "iou": float(overlap.mean())}
        if again:
            chosen = masks.detach()[torch.arange(len(masks)), believed.detach().argmax(1)]
            click, label = wrong_click(chosen, batch, self._generator)
            clicks, labels = torch.cat([batch.clicks_m, click], dim=1), torch.cat([labels, label], dim=1)
            masks, believed = self.net(batch.points_m, batch.colors, clicks, labels, chosen)
            second, overlap = loss(masks, believed, batch)
            second.backward()
            figures["iou2"] = float(overlap.mean())
        return figures

    def _note(self) -> None:
        self.curves.setdefault("step", []).append(float(self.step))
        for name in sorted({k for figures in self._recent for k in figures}):
            values = [figures[name] for figures in self._recent if name in figures]
            self.curves.setdefault(name, []).append(sum(values) / len(values))
        self._recent.clear()


def loss(masks: Tensor, believed: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the best mask of each click, and of what the network believes of its masks.

    Returns:
        The loss, and (B,) the overlap of the mask it would choose.
    """
    truth, weight = batch.truth.unsqueeze(1).expand_as(masks), batch.weight.unsqueeze(1)
    entropy = functional.binary_cross_entropy_with_logits(masks, truth, reduction="none")
    share = torch.sigmoid(masks)
    size = (truth * weight).sum(-1)
    bce = (entropy * weight).sum(-1) / (size + 0.1 * weight.sum(-1)).clamp_min(1.0)
    both = (share * truth * weight).sum(-1)
    soft = 1.0 - (both + 1.0) / ((share * weight).sum(-1) + size - both + 1.0)
    each = bce + soft  # (B, K)
    overlap = iou(masks.detach() > 0.0, truth > 0.5, weight)
    guess = functional.mse_loss(torch.sigmoid(believed), overlap)
    picked = overlap.gather(1, believed.detach().argmax(1, keepdim=True))[:, 0]
    return each.amin(1).mean() + ALL_MASKS * each.mean() + guess, picked


def iou(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Overlap of boolean masks over their last axis, points weighted."""
    both = ((found & truth) * weight).sum(-1)
    return both / ((found | truth) * weight).sum(-1).clamp_min(1e-6)


def wrong_click(mask: Tensor, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A click where a mask is wrong: (B, 1, 3) and its label (B, 1); where it is right everywhere, a point of no cloud and the label -1."""
    wrong = ((mask > 0.0) != (batch.truth > 0.5)) * batch.weight
    none = wrong.sum(1, keepdim=True) <= 0.0
    chosen = torch.multinomial(wrong + none, 1, generator=generator)
    click = batch.points_m.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
    label = torch.where(none, -1, batch.truth.gather(1, chosen).to(torch.int64))
    return click, label
