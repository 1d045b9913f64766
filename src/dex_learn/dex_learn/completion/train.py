# SPDX-License-Identifier: Apache-2.0
"""Trains the completion network; a run goes on where it was stopped."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dex_core.errors import DexError
from dex_learn.completion.data import Pairs
from dex_learn.completion.losses import loss
from dex_learn.completion.net import Completer
from dex_learn.progress import progress

WARM_UP = 100
CLIP = 1.0
REPORT_EVERY = 50
LEARNED_POINTS = 768


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


class Trainer:
    """One run.

    Args:
        pairs: to train on. training: how. checkpoint: file to write to and to go on from; None: nowhere.

    Attributes:
        net: as it trains. average: running mean of its weights. step: done so far.
        curves: name -> values, one per ``REPORT_EVERY`` steps; ``step`` among them.
    """

    def __init__(self, pairs: Pairs, training: Training, checkpoint: Path | None = None) -> None:
        torch.manual_seed(training.seed)
        self.training, self.checkpoint = training, checkpoint
        self.net = Completer()
        self.average = copy.deepcopy(self.net)
        self._pairs = pairs
        self._optimiser = torch.optim.AdamW(self.net.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
        self._generator = torch.Generator().manual_seed(training.seed)
        self.step, self._spent_s = 0, 0.0
        self.curves: dict[str, list[float]] = {}
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint)

    def run(self, until: int | None = None) -> Completer:
        """Trains to the end, or until a step; returns the averaged network in eval mode."""
        last, began = self.training.steps if until is None else min(until, self.training.steps), time.monotonic()
        before, saved = self._spent_s, began
        sums: dict[str, float] = {}
        self.net.train()
        with progress("completion", 100.0) as show:
            while self.step < last and self._done() < 1.0:
                for name, value in self._advance().items():
                    sums[name] = sums.get(name, 0.0) + value / REPORT_EVERY
                self.step += 1
                self._spent_s = before + time.monotonic() - began
                if self.step % REPORT_EVERY == 0:
                    for name, value in {"step": float(self.step), **sums}.items():
                        self.curves.setdefault(name, []).append(value)
                    show(100.0 * self._done(), f"step {self.step}, " + ", ".join(f"{k} {v:.4f}" for k, v in sums.items()))
                    sums = {}
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
            "step": self.step, "spent_s": self._spent_s, "net": self.net.state_dict(), "average": self.average.state_dict(),
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
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self.step, self._spent_s, self.curves = state["step"], state["spent_s"], state["curves"]

    def _identity(self) -> str:
        """What a checkpoint must have been trained with to be gone on from; how long may change."""
        return str({k: v for k, v in asdict(self.training).items() if k not in ("steps", "minutes", "save_every_s")})

    def _done(self) -> float:
        limit = 60.0 * self.training.minutes
        return max(self.step / self.training.steps, self._spent_s / limit if limit else 0.0)

    def _advance(self) -> dict[str, float]:
        rate = self.training.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * (0.01 + 0.5 * (1.0 + math.cos(math.pi * min(self._done(), 1.0))))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        seen, whole, normals = self._batch()
        parts = loss(self.net(seen), whole, normals, self._generator)
        self._optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self._optimiser.step()
        with torch.no_grad():
            keep = min(self.training.average, self.step / (self.step + 50.0))  # a short run is averaged over its last steps alone
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1.0 - keep)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Things drawn anew, stretched, mirrored, turned a little, some partly covered; the frame is moved as the camera would move it."""
        draw, count = self._generator, self.training.batch
        rows = torch.randint(len(self._pairs), (count,), generator=draw).numpy()
        some = torch.randperm(self._pairs.whole.shape[1], generator=draw)[:LEARNED_POINTS].numpy()
        seen, whole, normals = (torch.from_numpy(v) for v in (
            self._pairs.seen[rows], self._pairs.whole[rows][:, some], self._pairs.normals[rows][:, some],
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
        covered = torch.rand(count, 1, generator=self._generator) < self.training.hidden
        angle = 2.0 * math.pi * torch.rand(count, 1, generator=self._generator)
        along = seen[..., 0] * torch.cos(angle) + seen[..., 1] * torch.sin(angle)
        share = 0.6 + 0.35 * torch.rand(count, 1, generator=self._generator)
        edge = along.sort(dim=1).values.gather(1, (share * (points - 1)).long())
        left = (along <= edge) | ~covered
        order = torch.argsort((~left).to(torch.int8), dim=1, stable=True)  # those left first, in their order
        index = torch.arange(points).expand(count, -1) % left.sum(1, keepdim=True)
        return seen.gather(1, order.gather(1, index).unsqueeze(2).expand(-1, -1, 3))


def complete(net: Completer, pairs: Pairs, batch: int = 64) -> np.ndarray:
    """(n, SEEDS * UNFOLDED, 3) completed clouds of all pairs."""
    with torch.no_grad():
        return np.concatenate([net(torch.from_numpy(pairs.seen[i : i + batch]))[1].numpy() for i in range(0, len(pairs), batch)])
