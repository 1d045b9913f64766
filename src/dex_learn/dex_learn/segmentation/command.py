# SPDX-License-Identifier: Apache-2.0
"""``dex learn segmentation``: trains the small promptable segmenter, or scores one."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from dex_core.config import find_share
from dex_learn.arguments import add_learner, check_counts

WORDS = (
    "Trains the small promptable segmenter of clouds. Renders tabletop scenes with depth noise, clicks on what is seen in them, trains a network "
    "that says which points belong to the thing, and scores it on things that it never saw. Writes a bundle with golden cases and scores.\n"
    "Stop it at any time; the same line goes on where it stopped, and a larger --minutes or --steps goes on with a finished training."
)
EXAMPLES = """example:
  python -m dex_learn.cli segmentation --out /tmp/tabletop_segmentation --scenes 4000 --minutes 180 --threads 2
  python -m dex_learn.cli segmentation --out /tmp/quick --scenes 100 --unseen 50 --steps 200 --work /tmp/quick_work"""
UNSEEN_SEED = 900_001
"""Scenes that scores are of are drawn with this seed, whatever the training's."""


def add_segmentation(commands: argparse._SubParsersAction) -> None:
    """Puts the command into the parser of ``dex learn``."""
    parser = add_learner(commands, segmentation, WORDS, EXAMPLES, threads=2)
    parser.add_argument("--scenes", type=int, default=2000, help="rendered for training, 0.5 MB each (%(default)s)")
    parser.add_argument("--unseen", type=int, default=200, help="rendered for the scores (%(default)s)")
    parser.add_argument("--steps", type=int, default=100_000, help="optimiser steps at most (%(default)s)")
    parser.add_argument("--minutes", type=float, default=180.0, help="time of training at most; 0: no limit (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="clicks per step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="the largest (%(default)s)")


def segmentation(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    check_counts(arguments, "scenes", "unseen", "threads")
    import torch

    from dex_learn.export import code_revision
    from dex_learn.segmentation.answers import opened_by
    from dex_learn.segmentation.bundle import NAME, write
    from dex_learn.segmentation.pictures import draw_masks
    from dex_learn.segmentation.train import Trainer, Training
    from dex_learn.tabletop.store import stored_scenes

    code, work = code_revision(arguments.code), arguments.work
    torch.set_num_threads(arguments.threads)
    training = Training(
        steps=arguments.steps, minutes=arguments.minutes, batch=arguments.batch, learning_rate=arguments.learning_rate, seed=arguments.seed
    )
    trainer = Trainer(stored_scenes(work / "scenes", "varied", arguments.scenes), training, work / "network.pt")
    net = trainer.run()
    (work / "curves.json").write_text(json.dumps(trainer.curves) + "\n")
    unseen = stored_scenes(work / "scenes", "unseen", arguments.unseen, UNSEEN_SEED)
    found = scored(net, unseen)
    draw_masks(work / "masks.png", opened_by(net), unseen)
    provenance = {
        "trained_here": True, "steps": trainer.step, "seed": training.seed, "code": code,
        "data": f"{arguments.scenes} rendered tabletop scenes of the varied split of dex_learn.tabletop, depth noise low, typical and high",
        "notes": f"dex learn segmentation; {trainer.minutes:.0f} minutes, {trainer.settings}",
    }
    out = arguments.out or find_share("models") / NAME
    text, parity = write(out, net, unseen, provenance, found)
    sys.stdout.write(json.dumps({"bundle": str(out), "hash": text, "onnx_parity": parity, **found["scores"]}, indent=1) + "\n")
    return 0


def scored(net: Any, scenes: Any) -> dict[str, Any]:
    """Definitions and scores of a network on scenes that it was not trained on, with a progress bar."""
    from dex_learn.progress import progress
    from dex_learn.segmentation.answers import opened_by
    from dex_learn.segmentation.net import parameters_of
    from dex_learn.segmentation.scores import DEFINITIONS, score_scenes, summary

    with progress("scores", len(scenes)) as show:
        scores = score_scenes(opened_by(net), scenes, say=lambda done: show(done, ""))
    data = f"{len(scenes)} scenes of the unseen split, seed {UNSEEN_SEED}"
    return {"definitions": {"data": data, **DEFINITIONS}, "scores": {"parameters": parameters_of(net), **summary(scores)}}
