# SPDX-License-Identifier: Apache-2.0
"""Trains the trunk on labelled states: true can positions with noise of the size that vision makes, no pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dex_core.config import CellConfig
from dex_core.text import tokenize
from dex_learn.latents import LATENT_DIM
from dex_learn.policy_net import STEPS, ChunkBasis, Trunk
from dex_learn.progress import progress
from dex_learn.records import HAND_STEPS, TASKS, Records

POSE_STEPS = (2, 7, 13, 20, 35)


@dataclass(frozen=True)
class TrunkTraining:
    """How the trunk is trained.

    Attributes:
        steps, batch: optimiser steps and states per step.
        learning_rate: of AdamW, rises for 3 % of the steps, then falls along a cosine.
        can_noise_m: standard deviation of the error added to the true can positions (a third of the states gets none).
        forget: share of the states whose previous latents are hidden, a further quarter of the rest gets another state's:
            so the net cannot lean on copying what it did before.
        seed: of weights, order and noise.
    """

    steps: int = 5000
    batch: int = 384
    learning_rate: float = 2e-3
    can_noise_m: float = 0.005
    forget: float = 0.3
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
    """Records as tensors, hands as latents: previous (N, 2, 4, 32), hands (N, 2, 8, 32)."""

    cans: Tensor
    joints: Tensor
    task: Tensor
    previous: Tensor
    arms: Tensor
    hands: Tensor

    @staticmethod
    def of(records: Records, encoder: nn.Module) -> States:
        """Encodes all hand joints with the frozen hand encoder (the same on both sides)."""
        def latents(hands: np.ndarray) -> Tensor:
            n, steps = hands.shape[:2]
            with torch.no_grad():
                z = encoder(torch.from_numpy(hands.reshape(-1, 6).astype(np.float32)))
            return z.reshape(n, steps, 2, LATENT_DIM).permute(0, 2, 1, 3).contiguous()

        return States(
            torch.from_numpy(records.cans), torch.from_numpy(records.joints), torch.from_numpy(records.task), latents(records.previous),
            torch.from_numpy(records.arms), latents(records.hands),
        )

    def __len__(self) -> int:
        return len(self.joints)


def fit_basis(states: States) -> ChunkBasis:
    """The output's constants, from the labels."""
    rows = slice(0, 40_000)
    return ChunkBasis.fit(states.joints[rows].numpy(), states.arms[rows].numpy(), states.hands[rows].reshape(-1, LATENT_DIM).numpy())


def train_trunk(
    cell: CellConfig, states: States, sentences: Sentences, training: TrunkTraining, start: Trunk | None = None, kept: States | None = None
) -> tuple[Trunk, list[dict[str, float]]]:
    """Trains from scratch or goes on from ``start``; returns the running average of the weights, in eval mode, and the curve.

    Args:
        cell: whose kinematics are built in.
        states: to learn from.
        sentences: of each task.
        training: settings.
        start: go on from here.
        kept: states of other episodes, for the curve.
    """
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    trunk = start or Trunk(cell, fit_basis(states))
    average = copy.deepcopy(trunk)
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


def chunk_error(trunk: Trunk, states: States, sentences: Sentences) -> dict[str, float]:
    """Error against the expert over the first second: hands' place [mm] mean and 95 % quantile, arm joints [rad], latents."""
    generator = torch.Generator().manual_seed(0)
    trunk.eval()
    with torch.no_grad():
        arms, hands = trunk.knots(states.cans, sentences.draw(states.task, generator), states.joints, states.previous)
        place, label = (trunk.chain(trunk.mirrored(x[:, :20:4].reshape(-1, 14)))[:, :3, 3] for x in (arms, states.arms))
        far = 1e3 * (place - label).norm(dim=1)
    trunk.train()
    return {
        "place_mm": float(far.mean()), "place_q95_mm": float(np.quantile(far.numpy(), 0.95)),
        "joint_rad": float((arms - states.arms)[:, :20].abs().mean()), "latent": float((hands - states.hands).abs().mean()),
    }


def trunk_loss(trunk: Trunk, arms: Tensor, hands: Tensor, label_arms: Tensor, label_hands: Tensor) -> Tensor:
    """Joints (near steps count more), the hands' poses through the arms' kinematics, latents."""
    weight = torch.clamp(1.3 - torch.arange(STEPS) / 32.0, 0.15, 1.0)[None, :, None]
    joint = (weight * nn.functional.smooth_l1_loss(arms, label_arms, beta=0.02, reduction="none")).mean()
    steps = list(POSE_STEPS)
    pose = trunk.chain(trunk.mirrored(torch.cat([arms[:, steps].reshape(-1, 14), label_arms[:, steps].reshape(-1, 14)])))
    half = len(pose) // 2
    off = pose[:half] - pose[half:]  # (B steps sides, 4, 4)
    near = weight[0, steps, 0].repeat_interleave(2).repeat(len(arms))
    place = (near * torch.sqrt(off[:, :3, 3].square().sum(dim=1) + 1e-6)).mean()
    turn = (near * off[:, :3, :2].abs().sum(dim=(1, 2))).mean()
    latent = ((hands - label_hands) / trunk.hand_std).square().mean()
    return 10.0 * joint + 10.0 * place + 1.0 * turn + 0.3 * latent


def _step(
    trunk: Trunk, states: States, rows: Tensor, sentences: Sentences, training: TrunkTraining, generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
) -> float:
    cans, joints, task, previous = states.cans[rows], states.joints[rows], states.task[rows], states.previous[rows]
    n = len(rows)
    noisy = (torch.rand((n, 1), generator=generator) > 0.33) * training.can_noise_m
    cans = cans + noisy * torch.randn(cans.shape, generator=generator)
    seen = joints + 0.002 * torch.randn(joints.shape, generator=generator)
    chance = torch.rand((n, 1, 1, 1), generator=generator)
    swapped = torch.where(torch.rand((n, 1, 1, 1), generator=generator) < 0.25, previous[torch.randperm(n, generator=generator)], previous)
    previous = torch.where(chance < training.forget, torch.zeros(()), swapped)
    arms, hands = trunk.knots(cans, sentences.draw(task, generator), seen, previous)
    loss = trunk_loss(trunk, arms, hands, states.arms[rows], states.hands[rows])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for a, b in zip(average.parameters(), net.parameters(), strict=True):
            a.lerp_(b, 1.0 - keep)


__all__ = ["HAND_STEPS", "Sentences", "States", "TrunkTraining", "chunk_error", "fit_basis", "train_trunk", "trunk_loss"]
