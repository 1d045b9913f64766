# SPDX-License-Identifier: Apache-2.0
"""Trains the completion network; a run goes on where it was stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.completion.data import Pairs
from dex_learn.completion.losses import loss
from dex_learn.completion.net import Completer
from dex_learn.resumable import Resumable


@dataclass(frozen=True)
class Training:
    """How long and how.

    Attributes:
        steps: optimiser steps at most. minutes: it also ends after so long; 0: no such end. The rate falls to nothing by the nearer end.
        batch: things per step. learning_rate: AdamW's largest.
        average: decay of the running mean of the weights, which is what is kept.
        stretch: things are made larger or smaller by up to this factor, across and upwards by chance apart from each other.
        unknown_support: share of the things whose lowest seen point is taken for what they stand on.
        hidden: share of the things of which a part of what is seen is covered.
        seed: of everything drawn. save_every_s: seconds between checkpoints.
    """

    steps: int = 20000
    minutes: float = 30.0
    batch: int = 16
    learning_rate: float = 1.5e-3
    average: float = 0.998
    stretch: float = 1.25
    unknown_support: float = 0.1
    hidden: float = 0.15
    seed: int = 1
    save_every_s: float = 60.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.minutes < 0.0 or not self.learning_rate > 0.0 or not self.stretch >= 1.0:
            raise DexError(
                f"steps {self.steps}, batch {self.batch}, minutes {self.minutes}, learning rate {self.learning_rate}, stretch {self.stretch}: "
                "steps at least 1, batch at least 2, minutes not negative, rate positive, stretch at least 1", code="bad_argument",
            )


class Trainer(Resumable[Completer]):
    """One run.

    Args:
        pairs: to train on. training: how. checkpoint: file to write to and to go on from; None: nowhere.
    """

    TITLE, SETTLING = "completion", 50.0

    def __init__(self, pairs: Pairs, training: Training, checkpoint: Path | None = None) -> None:
        self.training, self._pairs = training, pairs
        torch.manual_seed(training.seed)
        super().__init__(Completer(), training, checkpoint)

    def learn(self) -> dict[str, Tensor]:
        """Gradients of one batch."""
        seen, whole, normals = self._batch()
        parts = loss(self.net(seen), whole, normals, self.generator)
        torch.stack(list(parts.values())).sum().backward()
        return parts

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Things drawn anew, stretched, mirrored, turned a little, some partly covered; the frame is moved as the camera would move it."""
        draw, count = self.generator, self.training.batch
        rows = torch.randint(len(self._pairs), (count,), generator=draw).numpy()
        seen, whole, normals = (torch.from_numpy(v) for v in (
            self._pairs.seen[rows], self._pairs.whole[rows], self._pairs.normals[rows],
        ))
        across, up = (torch.exp((2.0 * torch.rand(count, 1, 1, generator=draw) - 1.0) * math.log(self.training.stretch)) for _ in range(2))
        scale = torch.cat((across, across * torch.sign(torch.rand(count, 1, 1, generator=draw) - 0.5), up), dim=2)
        seen, whole, normals = seen * scale, whole * scale, normals / scale  # normals go with the inverse, a mirror turns them along
        seen = self._cover(seen)
        middle = seen.mean(dim=1, keepdim=True) * torch.tensor([1.0, 1.0, 0.0])
        low = seen[..., 2].amin(dim=1) * (torch.rand(count, generator=draw) < self.training.unknown_support)
        middle[:, 0, 2] = low
        return seen - middle, whole - middle, normals

    def _cover(self, seen: Tensor) -> Tensor:
        """Of some things one side is not seen: its points become copies of others. The order stays, so the first ones stay far apart."""
        count, points = seen.shape[0], seen.shape[1]
        covered = torch.rand(count, 1, generator=self.generator) < self.training.hidden
        angle = 2.0 * math.pi * torch.rand(count, 1, generator=self.generator)
        along = seen[..., 0] * torch.cos(angle) + seen[..., 1] * torch.sin(angle)
        share = 0.6 + 0.35 * torch.rand(count, 1, generator=self.generator)
        edge = along.sort(dim=1).values.gather(1, (share * (points - 1)).long())
        left = (along <= edge) | ~covered
        order = torch.argsort((~left).to(torch.int8), dim=1, stable=True)  # those left first, in their order
        index = torch.arange(points).expand(count, -1) % left.sum(1, keepdim=True)
        return seen.gather(1, order.gather(1, index).unsqueeze(2).expand(-1, -1, 3))


def complete(net: Completer, pairs: Pairs, batch: int = 64) -> np.ndarray:
    """(n, SEEDS * UNFOLDED, 3) completed clouds of all pairs."""
    with torch.no_grad():
        return np.concatenate([net(torch.from_numpy(pairs.seen[i : i + batch]))[1].numpy() for i in range(0, len(pairs), batch)])
