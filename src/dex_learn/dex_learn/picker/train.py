# SPDX-License-Identifier: Apache-2.0
"""Trains the picker on sentences made up as it goes; stops and goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
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

SAVE_EVERY = 1000
Parts = tuple[PickerNet, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]
NOISE, LOST_WORD = 0.05, 0.06
"""Share of a feature's spread that is added as noise; chance that a word of a sentence is not heard."""
CHOICE = 0.5
"""Weight of choosing the right one beside knowing of each whether it fits."""


@dataclass(frozen=True)
class Training:
    """Steps, sentences a step, learning rate at its highest, decay of weights, seed."""

    steps: int = 12000
    sentences: int = 96
    rate: float = 2e-3
    decay: float = 1e-4
    seed: int = 1


def fresh_net(tables: list[Table], seed: int) -> PickerNet:
    """A network with the features' mean and spread. Raises DexError ``bad_argument`` without tables."""
    if not tables:
        raise DexError("no tables to train on", code="bad_argument")
    features = torch.from_numpy(np.concatenate([t.features for t in tables]))
    torch.manual_seed(seed)
    return PickerNet(features.mean(dim=0), features.std(dim=0))


def train(tables: list[Table], training: Training, work: Path, told: Callable[[float, str], None] = lambda _done, _note: None) -> PickerNet:
    """The trained network; ``work`` keeps a checkpoint from which the same call goes on."""
    net = fresh_net(tables, training.seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=training.rate, weight_decay=training.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, total_steps=training.steps + 1, pct_start=0.1)
    file = work / "picker.pt"
    parts = (net, optimiser, schedule)
    step = _load(file, parts, training)
    loss_mean = 0.0
    while step < training.steps:
        loss = _loss(net, tables, np.random.default_rng((training.seed, 7, step)), training.sentences)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        step += 1
        loss_mean = float(loss.detach()) if step == 1 else 0.99 * loss_mean + 0.01 * float(loss.detach())
        if step % 100 == 0:
            told(step, f"loss {loss_mean:.4f}")
        if step % SAVE_EVERY == 0 or step == training.steps:
            _save(file, parts, training, step)
    return net.eval()


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


def _save(file: Path, parts: Parts, training: Training, step: int) -> None:
    half = file.with_suffix(".half")
    torch.save({"parts": [part.state_dict() for part in parts], "step": step, "training": asdict(training)}, half)
    half.replace(file)


def _load(file: Path, parts: Parts, training: Training) -> int:
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        return 0
    state = torch.load(file, weights_only=True)
    if state["training"] != asdict(training):
        raise DexError(f"{file} is of {state['training']}; this run asks for {asdict(training)}: give another --work", code="bad_argument")
    for part, kept in zip(parts, state["parts"], strict=True):
        part.load_state_dict(kept)
    return int(state["step"])
