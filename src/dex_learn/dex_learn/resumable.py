# SPDX-License-Identifier: Apache-2.0
"""A training that ends by steps or by minutes, keeps checkpoints, and goes on exactly where it was stopped."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dex_core.errors import DexError
from dex_learn.progress import progress

WARM_UP = 100
"""Steps over which the learning rate grows to its largest."""
REPORT_EVERY = 50
HOW_LONG = ("steps", "minutes", "save_every_s")
"""Settings that may change from one run of a training to the next."""
STATISTICS = ("running_mean", "running_var")
"""Of batch normalisation: averaged as the weights are."""
Net = TypeVar("Net", bound=nn.Module)


class Settings(Protocol):
    """A frozen dataclass with at least these; ``minutes`` 0: no such end."""

    @property
    def steps(self) -> int: ...
    @property
    def minutes(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def save_every_s(self) -> float: ...


class Resumable(ABC, Generic[Net]):
    """One run with AdamW, over any number of calls; a subclass says what one step learns from.

    Args:
        net: to train.
        training: how long and how.
        checkpoint: file to write to and to go on from; None: nowhere.
        weight_decay: of AdamW.

    Attributes:
        net: as it trains. average: running mean of its weights. step: done so far, over all calls.
        generator: everything random is drawn from it, so that a checkpoint holds it all.
        curves: name -> means over ``REPORT_EVERY`` steps; ``step`` among them.

    Raises:
        DexError: ``bad_checkpoint``: of another training.
    """

    TITLE: ClassVar[str] = "training"
    CLIP: ClassVar[float] = 1.0
    FLOOR: ClassVar[float] = 0.01
    """Of the learning rate, relative to its largest."""
    SETTLING: ClassVar[float] = 10.0
    """A short run is averaged over about its last share of one in so many steps, a longer one as ``average`` says."""

    def __init__(self, net: Net, training: Settings, checkpoint: Path | None = None, weight_decay: float = 1e-3) -> None:
        self.net, self.checkpoint, self._settings = net, checkpoint, training
        self.average = copy.deepcopy(net)
        self.generator = torch.Generator().manual_seed(training.seed)
        self._parameters = [p for p in net.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
        self.step, self._spent_s = 0, 0.0
        self.curves: dict[str, list[float]] = {}
        self._recent: list[Mapping[str, Tensor]] = []
        if checkpoint is not None and checkpoint.is_file():
            self._restore(checkpoint)

    @abstractmethod
    def learn(self) -> Mapping[str, Tensor]:
        """Adds the gradients of one step to the parameters; returns figures for the curves."""

    def identity(self) -> str:
        """What a checkpoint must have been trained with to be gone on from; how long may change."""
        return str({k: v for k, v in self._plain().items() if k not in HOW_LONG})

    @property
    def minutes(self) -> float:
        """Spent so far, interruptions not counted."""
        return self._spent_s / 60.0

    @property
    def settings(self) -> str:
        """How it was trained, for the record."""
        return ", ".join(f"{k} {v}" for k, v in self._plain().items())

    @property
    def done(self) -> float:
        """Share of the way to whichever end is nearer."""
        limit = 60.0 * self._settings.minutes
        return max(self.step / self._settings.steps, self._spent_s / limit if limit else 0.0)

    def run(self, title: str = "", until: int | None = None) -> Net:
        """Trains to the end, or until a step, with a progress bar; returns the averaged network in eval mode."""
        last, began = self._settings.steps if until is None else min(until, self._settings.steps), time.monotonic()
        before, saved = self._spent_s, began
        self.net.train()
        with progress(title or self.TITLE, 100.0) as show:
            while self.step < last and self.done < 1.0:
                self._recent.append(self.advance())
                self._spent_s = before + time.monotonic() - began
                if self.step % REPORT_EVERY == 0:
                    self._note()
                    show(100.0 * self.done, ", ".join(f"{name} {values[-1]:.3g}" for name, values in self.curves.items()))
                if self.checkpoint is not None and time.monotonic() - saved > self._settings.save_every_s:
                    self.save()
                    saved = time.monotonic()
        if self.checkpoint is not None:
            self.save()
        return self.average.eval()

    def advance(self) -> Mapping[str, Tensor]:
        """One step; returns its figures."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.zero_grad(set_to_none=True)
        figures = self.learn()
        torch.nn.utils.clip_grad_norm_(self._parameters, self.CLIP)
        self._optimiser.step()
        keep = min(self._settings.average, self.step / (self.step + self.SETTLING))
        with torch.no_grad():
            torch._foreach_lerp_(_moving(self.average), _moving(self.net), 1.0 - keep)
        self.step += 1
        return {name: value.detach() for name, value in figures.items()}

    def save(self) -> None:
        """Writes the checkpoint; the old one stays until the new one is whole."""
        assert self.checkpoint is not None
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.checkpoint.with_suffix(".new")
        torch.save({
            "step": self.step, "spent_s": self._spent_s, "net": self.net.state_dict(), "average": self.average.state_dict(), "curves": self.curves,
            "optimiser": self._optimiser.state_dict(), "generator": self.generator.get_state(), "identity": self.identity(),
        }, fresh)
        fresh.replace(self.checkpoint)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity():
            text = f"{path} is a checkpoint of another training ({state['identity']}, not {self.identity()}); name another folder, or remove it"
            raise DexError(text, code="bad_checkpoint")
        for part, name in ((self.net, "net"), (self.average, "average"), (self._optimiser, "optimiser")):
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.step, self._spent_s, self.curves = state["step"], state["spent_s"], state["curves"]

    def _rate(self) -> float:
        """Grows over ``WARM_UP`` steps and falls along a cosine to ``FLOOR`` times its largest."""
        falling = self.FLOOR + 0.5 * (1.0 + math.cos(math.pi * min(self.done, 1.0)))
        return self._settings.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * falling

    def _note(self) -> None:
        self.curves.setdefault("step", []).append(float(self.step))
        for name in sorted({name for figures in self._recent for name in figures}):
            values = [float(figures[name]) for figures in self._recent if name in figures]
            self.curves.setdefault(name, []).append(sum(values) / len(values))
        self._recent.clear()

    def _plain(self) -> dict[str, Any]:
        return asdict(self._settings)  # type: ignore[call-overload]


def _moving(net: nn.Module) -> list[Tensor]:
    """What changes as a network trains."""
    return [*net.parameters(), *(value for name, value in net.named_buffers() if name.endswith(STATISTICS))]
