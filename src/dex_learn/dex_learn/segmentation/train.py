# SPDX-License-Identifier: Apache-2.0
"""Trains the click network: one click, and of some samples a second one where the first mask is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dex_core.errors import DexError
from dex_learn.resumable import Resumable
from dex_learn.segmentation.net import WIDTHS, ClickNet
from dex_learn.segmentation.samples import Batch, Sampler
from dex_learn.tabletop.store import Scenes

ALL_MASKS = 0.25
"""Weight of the mean loss of all masks beside that of the best one: no mask is left untrained."""


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


class Trainer(Resumable[ClickNet]):
    """One run, which goes on from its checkpoint.

    Args:
        scenes: to click into. training: how. checkpoint: file to write to and to go on from; None: nowhere.
    """

    TITLE, CLIP, FLOOR = "segmentation", 2.0, 0.004

    def __init__(self, scenes: Scenes, training: Training, checkpoint: Path | None = None) -> None:
        self.training, self._sampler = training, Sampler(scenes)
        torch.manual_seed(training.seed)
        super().__init__(ClickNet(training.widths), training, checkpoint, training.weight_decay)
        self.net.half = training.half

    def identity(self) -> str:
        """The network and its seed; how long and how fast may change."""
        return str({k: v for k, v in asdict(self.training).items() if k in ("widths", "seed")})

    def learn(self) -> dict[str, Tensor]:
        """Gradients of one click, or of two."""
        batch = self._sampler.draw(self.training.batch, int(torch.randint(2**62, (), generator=self.generator)))
        labels = torch.ones(batch.clicks_m.shape[:2], dtype=torch.int64)
        masks, believed = self.net(batch.points_m, batch.colors, batch.clicks_m, labels)
        total, overlap = loss(masks, believed, batch)
        total.backward()
        figures = {"loss": total, "iou": overlap.mean()}
        if float(torch.rand((), generator=self.generator)) < self.training.second:
            chosen = masks.detach()[torch.arange(len(masks)), believed.detach().argmax(1)]
            click, label = wrong_click(chosen, batch, self.generator)
            clicks, labels = torch.cat([batch.clicks_m, click], dim=1), torch.cat([labels, label], dim=1)
            masks, believed = self.net(batch.points_m, batch.colors, clicks, labels, chosen)
            second, overlap = loss(masks, believed, batch)
            second.backward()
            figures["iou2"] = overlap.mean()
        return figures


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
