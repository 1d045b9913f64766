# SPDX-License-Identifier: Apache-2.0
"""Trains the picker on sentences made up as it goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dex_core.errors import DexError
from dex_core.text import tokenize
from dex_learn.picker.net import PickerNet
from dex_learn.picker.sentences import SKIP, YES, Said, say
from dex_learn.picker.tables import Table
from dex_learn.resumable import Resumable

NOISE, LOST_WORD = 0.05, 0.06
"""Share of a feature's spread that is added as noise; chance that a word of a sentence is not heard."""
CHOICE = 0.5
"""Weight of choosing the right one beside knowing of each whether it fits."""


@dataclass(frozen=True)
class Training:
    """How long and how.

    Attributes:
        steps: optimiser steps at most.
        minutes: it also ends after so long; the learning rate falls to nothing by whichever end is nearer. 0: no such end.
        sentences: per step. learning_rate: AdamW's largest. weight_decay: of AdamW.
        average: decay of the running mean of the weights, which is what is kept.
        seed: of weights and sentences. save_every_s: seconds between checkpoints.
    """

    steps: int = 12000
    minutes: float = 0.0
    sentences: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.998
    seed: int = 1
    save_every_s: float = 60.0


class Trainer(Resumable[PickerNet]):
    """One run, which goes on from its checkpoint.

    Args:
        tables: to talk about. training: how. checkpoint: file to write to and to go on from; None: nowhere.

    Raises:
        DexError: ``bad_argument`` without tables.
    """

    TITLE, FLOOR = "picker", 0.002

    def __init__(self, tables: list[Table], training: Training, checkpoint: Path | None = None) -> None:
        if not tables:
            raise DexError("no tables to train on", code="bad_argument")
        self.training, self._tables = training, tables
        features = torch.from_numpy(np.concatenate([t.features for t in tables]))
        torch.manual_seed(training.seed)
        super().__init__(PickerNet(features.mean(dim=0), features.std(dim=0)), training, checkpoint, training.weight_decay)

    def learn(self) -> dict[str, torch.Tensor]:
        """Gradients of some sentences."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=self.generator)))
        loss = _loss(self.net, self._tables, rng, self.training.sentences)
        loss.backward()
        return {"loss": loss}


@lru_cache(maxsize=65536)
def _tokens(text: str) -> NDArray[np.int64]:
    return tokenize(text)


def _loss(net: PickerNet, tables: list[Table], rng: np.random.Generator, count: int) -> torch.Tensor:
    said: list[tuple[Said, Table]] = []
    while len(said) < count:
        table = tables[rng.integers(len(tables))]
        one = say(rng, table)
        if one is not None:
            said.append((one, table))
    tokens = torch.from_numpy(np.concatenate([_tokens(s.text) for s, _ in said]))
    heard = torch.from_numpy(rng.random(tokens.shape) >= LOST_WORD)
    told = net.read(tokens * heard)[np.repeat(np.arange(count), [len(t.features) for _, t in said])]  # each sentence is read once
    things = torch.from_numpy(np.concatenate([t.features for _, t in said]))
    things = things + NOISE * net.std * torch.from_numpy(rng.standard_normal(things.shape).astype(np.float32))
    labels = torch.from_numpy(np.concatenate([s.labels for s, _ in said]).astype(np.float32))
    logit = net.judge(told, things)[:, 0]
    known = labels != SKIP
    whether = nn.functional.binary_cross_entropy_with_logits(logit[known], labels[known])
    return whether + CHOICE * _choice(logit, labels, [len(t.features) for _, t in said])


def _choice(logit: torch.Tensor, labels: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Mean cross entropy of choosing any right candidate among those of a sentence; sentences where all or none are right do not count."""
    losses = []
    for one, right in zip(logit.split(lengths), labels.split(lengths), strict=True):
        yes, no = one[right == YES], one[right != SKIP]
        if 0 < len(yes) < len(no):
            losses.append(torch.logsumexp(no, dim=0) - torch.logsumexp(yes, dim=0))
    return torch.stack(losses).mean() if losses else logit.sum() * 0.0
