# SPDX-License-Identifier: Apache-2.0
"""From nothing to a bundle: right hands together, left hands into their space; or one more model of hand into a space that exists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dex_core.errors import DexError
from dex_learn.export import code_revision
from dex_learn.latent.bundle import Exported, described, manifest_of
from dex_learn.latent.hand import HANDS, LatentHand
from dex_learn.latent.mirror import start_as_twins, twins_of
from dex_learn.latent.net import LatentNets, Widths
from dex_learn.latent.scores import score
from dex_learn.latent.train import Trainer, Training

LEFT_SHARE = 0.2
"""Of the steps and minutes, for the left hands: they start as mirror images and have little left to learn."""


@dataclass(frozen=True)
class Recipe:
    """What to train and where.

    Attributes:
        hands: models.
        training: of the right hands; the left ones get ``LEFT_SHARE`` of its steps and minutes.
        widths: of the networks.
        device: cpu or cuda. work: folder of checkpoints, curves and weights.
        code: revision of the code that trains; git is asked where it is not given, before anything is trained.

    Raises:
        DexError: ``bad_argument``; ``code_unknown``, no revision was given and this is no git checkout.
    """

    hands: tuple[str, ...] = HANDS
    training: Training = Training()
    widths: Widths = Widths()
    device: str = "cpu"
    work: Path = Path("/tmp/dex_latents")
    code: str = ""

    def __post_init__(self) -> None:
        if len(self.hands) < 2 or len(set(self.hands)) != len(self.hands):
            raise DexError(f"hands {list(self.hands)}: a shared space needs at least two different ones of {list(HANDS)}", code="bad_argument")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise DexError("device cuda: this torch sees no GPU; allowed here: cpu", code="bad_argument")
        object.__setattr__(self, "code", code_revision(self.code))


@dataclass(frozen=True)
class Space:
    """A trained space: stacks of the right and of the left hands, curves of both trainings, and what was trained how."""

    right: LatentNets
    left: LatentNets
    curves: dict[str, dict[str, list[float]]]
    steps: int


def load_hands(names: Sequence[str], side: str) -> list[LatentHand]:
    """Hands by name or alias, once each."""
    hands = [LatentHand.load(name, side) for name in names]
    if len({h.name for h in hands}) != len(hands):
        raise DexError(f"hands {list(names)} name one model twice", code="bad_argument")
    return hands


def train_space(recipe: Recipe) -> Space:
    """Right hands together, then left hands beside them; goes on from the checkpoints in ``recipe.work``."""
    right = LatentNets(load_hands(recipe.hands, "right"), recipe.widths, recipe.training.seed).to(recipe.device)
    trainer = Trainer(right, recipe.training, checkpoint=recipe.work / "right.pt")
    right = trainer.run("right hands")
    left, fitted = fit_left(right, recipe)
    return Space(right, left, {"right hands": trainer.curves, "left hands": fitted.curves}, trainer.step + fitted.step)


def fit_left(right: LatentNets, recipe: Recipe, name: str = "left.pt", beside: LatentNets | None = None) -> tuple[LatentNets, Trainer]:
    """Left hands of the same models into the space of the right ones, which stays as it is.

    Args:
        right: whose models are wanted.
        name: of the checkpoint in the work folder.
        beside: all right hands of the space, where ``right`` is only some of them.
    """
    frozen = right if beside is None else beside
    left = LatentNets(load_hands([h.robot.name for h in right.hands], "left"), right.widths).to(recipe.device)
    twins = twins_of(left, frozen)
    start_as_twins(left, frozen, twins)
    trainer = Trainer(left, _shortened(recipe.training), frozen=frozen, twins=twins, checkpoint=recipe.work / name)
    return trainer.run("left hands"), trainer


def _shortened(training: Training) -> Training:
    return replace(
        training, steps=max(1, round(LEFT_SHARE * training.steps)), minutes=LEFT_SHARE * training.minutes, learning_rate=0.5 * training.learning_rate
    )


def score_space(space: Space) -> dict[str, Any]:
    """Scores of the right hands among each other, and of the left ones among each other."""
    return {"right": score(space.right), "left": score(space.left)}


def residual_q99(scores: dict[str, Any]) -> float:
    """The largest 99 % quantile of any hand."""
    return max(hand["residual_q99"] for side in scores.values() for hand in side["hands"].values())


def make_bundle(recipe: Recipe, folder: Path, notes: str) -> dict[str, Any]:
    """Trains, scores, exports and writes a bundle; returns the scores."""
    space = train_space(recipe)
    write_curves(recipe.work, space.curves)
    scores = score_space(space)
    exported = Exported()
    exported.add(space.right)
    exported.add(space.left)
    training = replace(recipe.training, steps=space.steps)
    manifest = manifest_of(exported, training, residual_q99(scores), notes, recipe.code)
    exported.write(folder, manifest, described({**scores, "onnx_parity": exported.parity}))
    return scores


def write_curves(work: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    """``curves.json`` in the work folder: training -> term of the loss -> values."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "curves.json").write_text(json.dumps(curves) + "\n")
