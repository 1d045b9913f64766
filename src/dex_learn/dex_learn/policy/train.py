# SPDX-License-Identifier: Apache-2.0
"""Trains the trunk on labelled states of several hands: true places of the objects with errors of the size that the eyes make, no pictures."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.text import tokenize
from dex_learn.policy.codes import HandCode
from dex_learn.policy.layout import IS_FRUIT, SIDES, STEPS, TASKS
from dex_learn.policy.records import Records
from dex_learn.policy.trunk import ChunkBasis, Trunk
from dex_learn.progress import progress


@dataclass(frozen=True)
class TrunkTraining:
    """How the trunk is trained.

    Attributes:
        steps, batch: optimiser steps and states per step.
        learning_rate: of AdamW, rises for 3 % of the steps, then falls along a cosine.
        object_noise_m: standard deviation of the error added to the true places (a third of the states gets none).
        depth_noise_m: the same along the line of sight of ``camera_m``, of half of the fruits: eyes see where they are in the picture, hardly how
            far away, so whether one is lifted must be told by hand and memory too.
        camera_m: where the camera is.
        forget: share of the states whose previous codes are hidden; a quarter as many get another state's, often of another hand: so
            the net leans neither on what it did before nor on which hand that was.
        own: share of the states whose previous codes are those of the hand's own encoder, as before the first chunk.
        code_noise: standard deviation of the noise on the previous codes, in standard deviations of the codes.
        seed: of weights, order and noise.
    """

    steps: int = 5000
    batch: int = 256
    learning_rate: float = 2e-3
    object_noise_m: float = 0.004
    depth_noise_m: float = 0.015
    camera_m: tuple[float, float, float] = (1.2, 0.0, 0.8)
    forget: float = 0.25
    own: float = 0.25
    code_noise: float = 0.1
    seed: int = 1


@dataclass(frozen=True)
class Sentences:
    """Token ids of every sentence of each task: (S, 24) per task."""

    tokens: tuple[Tensor, ...]

    @staticmethod
    def of(sentences: Sequence[Sequence[str]]) -> Sentences:
        """One list of sentences per task, in the order of ``TASKS``."""
        if len(sentences) != len(TASKS):
            raise ValueError(f"sentences of {len(sentences)} tasks, expected {TASKS}")
        return Sentences(tuple(torch.from_numpy(np.concatenate([tokenize(s) for s in group])) for group in sentences))

    def draw(self, task: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 24) a random sentence for each (B,) task."""
        out = torch.zeros((len(task), self.tokens[0].shape[1]), dtype=torch.int64)
        for index, ids in enumerate(self.tokens):
            rows = (task == index).nonzero().squeeze(1)
            out[rows] = ids[torch.randint(len(ids), (len(rows),), generator=generator)]
        return out


@dataclass(frozen=True)
class States:
    """Records as tensors, hands as codes.

    Attributes:
        objects: (N, 5, 3) [m]. there: (N, 5). tools: (N, 2, 5) x, y, z [m], cos, sin of the yaw. task: (N,).
        previous, measured: (N, 2, 6, D) of the chunk before, as the policy says them and as a hand's own encoder would.
        place: (N, 64, 2, 3) [m]. heading: (N, 64, 2, 2). codes: (N, 2, 13, D).
        used: (N, 2, D) which of a row's codes mean something.
    """

    objects: Tensor
    there: Tensor
    tools: Tensor
    task: Tensor
    previous: Tensor
    measured: Tensor
    place: Tensor
    heading: Tensor
    codes: Tensor
    used: Tensor

    @staticmethod
    def of(parts: Sequence[Records], codes: Mapping[str, HandCode], own: Mapping[str, HandCode] | None = None) -> States:
        """Encodes all hand joints with the codes of each part's hand; ``own`` encode what a policy is told before its first chunk."""
        pieces = [_piece(part, codes, own) for part in parts if len(part)]
        return States(**{f.name: torch.from_numpy(np.concatenate([p[f.name] for p in pieces])) for f in fields(States)})

    def __len__(self) -> int:
        return len(self.tools)


def _encoded(hands: np.ndarray, by_side: Sequence[HandCode]) -> np.ndarray:
    """(N, steps, 2, n) joints -> (N, 2, steps, D) codes."""
    n, steps = hands.shape[:2]
    sides = [c.encode(hands[:, :, i].reshape(n * steps, -1)).reshape(n, steps, c.dim) for i, c in enumerate(by_side)]
    return np.stack(sides, axis=1).astype(np.float32)


def _piece(records: Records, codes: Mapping[str, HandCode], own: Mapping[str, HandCode] | None) -> dict[str, np.ndarray]:
    by_side = [codes[f"{side}_{records.hand}"] for side in SIDES]
    previous = _encoded(records.previous, by_side)
    measured = previous if own is None else _encoded(records.previous, [own[f"{side}_{records.hand}"] for side in SIDES])
    yaw, turned = records.tools[..., 3:], records.paths[..., 3]
    return {
        "objects": records.objects, "there": records.there.astype(np.float32),
        "tools": np.concatenate([records.tools[..., :3], np.cos(yaw), np.sin(yaw)], axis=2), "task": records.task,
        "previous": previous, "measured": measured, "place": np.ascontiguousarray(records.paths[..., :3]),
        "heading": np.stack([np.cos(turned), np.sin(turned)], axis=-1), "codes": _encoded(records.hands, by_side),
        "used": np.tile(np.stack([c.used for c in by_side]).astype(np.float32), (len(records), 1, 1)),
    }


def fit_basis(parts: Sequence[Records], states: States, seed: int = 0) -> ChunkBasis:
    """The output's constants, from a sample of the labels."""
    rng = np.random.default_rng(seed)
    tools = np.concatenate([part.tools for part in parts])
    paths = np.concatenate([part.paths for part in parts])
    rows = rng.permutation(len(tools))[:30_000]
    dim, knots = states.codes.shape[-1], states.codes.shape[2]
    used = states.used[rows][:, :, None].expand(-1, -1, knots, -1).reshape(-1, dim).numpy()
    return ChunkBasis.fit(tools[rows], paths[rows], states.codes[rows].reshape(-1, dim).numpy(), used)


def train_trunk(
    states: States, sentences: Sentences, training: TrunkTraining, start: Trunk, kept: States | None = None
) -> tuple[Trunk, list[dict[str, float]]]:
    """Trains ``start``; returns the running average of the weights, in eval mode, and the curve.

    Args:
        states: to learn from.
        sentences: of each task.
        training: settings.
        start: a new trunk, or one to go on from.
        kept: states of other episodes, for the curve.
    """
    generator = torch.Generator().manual_seed(training.seed)
    trunk, average = start, copy.deepcopy(start)
    optimiser = torch.optim.AdamW(trunk.parameters(), lr=training.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=training.steps + 1, pct_start=0.03, cycle_momentum=False
    )
    curve: list[dict[str, float]] = []
    trunk.train()
    with progress("trunk", training.steps) as show:
        for step in range(training.steps):
            rows = torch.randint(len(states), (training.batch,), generator=generator)
            loss = _step(trunk, states, rows, sentences, training, generator, optimiser)
            schedule.step()
            _follow(average, trunk, min(0.998, step / (step + 10.0)))
            if (step + 1) % 250 == 0 or step + 1 == training.steps:
                curve.append({"step": step + 1, "loss": loss, **(chunk_error(average, kept, sentences) if kept is not None else {})})
                show(step + 1, " ".join(f"{k} {v:.4g}" for k, v in curve[-1].items() if k != "step"))
    return average.eval(), curve


def chunk_error(trunk: Trunk, states: States, sentences: Sentences, most: int = 4000) -> dict[str, float]:
    """Error against the expert over the first second: places mean and 95 % quantile [mm], headings [rad], codes."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(states), generator=generator)[:most]
    was_training = trunk.training
    trunk.eval()
    with torch.no_grad():
        place, heading, codes = trunk(
            states.objects[rows], states.there[rows], states.tools[rows], sentences.draw(states.task[rows], generator), states.previous[rows]
        )
        far = 1e3 * (place - states.place[rows])[:, :20].norm(dim=3).flatten()
        turn = (heading - states.heading[rows])[:, :20].norm(dim=3)
        off = ((codes - states.codes[rows]).abs() * states.used[rows].unsqueeze(2))[:, :, :6]
    trunk.train(was_training)
    return {
        "place_mm": float(far.mean()), "place_q95_mm": float(np.quantile(far.numpy(), 0.95)), "yaw_rad": float(turn.mean()),
        "code": float(off.sum() / states.used[rows].sum().clamp(min=1.0) / off.shape[2]),
    }


def trunk_loss(trunk: Trunk, found: tuple[Tensor, Tensor, Tensor], place: Tensor, heading: Tensor, codes: Tensor, used: Tensor) -> Tensor:
    """Places and headings (near steps count more) and codes, as far as they are used.

    Args:
        found: what the trunk gave. place, heading, codes, used: labels as in ``States``.
    """
    weight = torch.clamp(1.3 - torch.arange(STEPS) / 32.0, 0.15, 1.0)[None, :, None]
    far = (weight * torch.sqrt((found[0] - place).square().sum(dim=3) + 1e-6)).mean()
    turn = (weight * (found[1] - heading).abs().sum(dim=3)).mean()
    off = ((found[2] - codes) / trunk.code_std).square() * used.unsqueeze(2)
    return 20.0 * far + 1.0 * turn + 0.3 * off.sum() / (used.sum() * off.shape[2]).clamp(min=1.0)


def _step(
    trunk: Trunk, states: States, rows: Tensor, sentences: Sentences, training: TrunkTraining, generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
) -> float:
    n = len(rows)
    objects, tools = states.objects[rows], states.tools[rows]
    noisy = (torch.rand((n, 1, 1), generator=generator) > 0.33) * training.object_noise_m
    objects = objects + noisy * torch.randn(objects.shape, generator=generator) + _in_depth(objects, training, generator)
    tools = tools + 0.002 * torch.randn(tools.shape, generator=generator)
    previous = torch.where(torch.rand((n, 1, 1, 1), generator=generator) < training.own, states.measured[rows], states.previous[rows])
    previous = _half_forgotten(trunk, previous, training, generator)
    found = trunk(objects, states.there[rows], tools, sentences.draw(states.task[rows], generator), previous)
    loss = trunk_loss(trunk, found, states.place[rows], states.heading[rows], states.codes[rows], states.used[rows])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _in_depth(objects: Tensor, training: TrunkTraining, generator: torch.Generator) -> Tensor:
    """(B, 5, 3) errors along the line of sight, of half of the fruits."""
    sight = objects - torch.tensor(training.camera_m)
    sight = sight / sight.norm(dim=2, keepdim=True).clamp(min=1e-3)
    size = training.depth_noise_m * torch.randn((*objects.shape[:2], 1), generator=generator)
    some = (torch.rand(size.shape, generator=generator) < 0.5) & torch.tensor(IS_FRUIT)[:, None]
    return sight * size * some


def _half_forgotten(trunk: Trunk, previous: Tensor, training: TrunkTraining, generator: torch.Generator) -> Tensor:
    n = len(previous)
    shuffled = previous[torch.randperm(n, generator=generator)]
    kept = torch.where(torch.rand((n, 1, 1, 1), generator=generator) < 0.25 * training.forget, shuffled, previous)
    kept = kept + training.code_noise * trunk.code_std * torch.randn(previous.shape, generator=generator)
    return torch.where(torch.rand((n, 1, 1, 1), generator=generator) < training.forget, trunk.code_mean.expand_as(kept), kept)


def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for a, b in zip(average.parameters(), net.parameters(), strict=True):
            a.lerp_(b, 1.0 - keep)
