# SPDX-License-Identifier: Apache-2.0
"""``dex learn picker``: trains the picker that turns words into a click."""

from __future__ import annotations

import argparse
import json
import sys

from dex_core.config import find_share
from dex_learn.arguments import add_learner, check_counts

WORDS = (
    "Trains the text-conditioned picker of the segmentation node. Renders tabletop scenes, makes up sentences about them, trains a small network "
    "that says whether words describe a thing, and scores it on scenes of the split that it never saw. Writes a bundle.\n"
    "Stop it at any time; the same line goes on where it stopped."
)
EXAMPLES = """example:
  python -m dex_learn.cli picker --out /tmp/tabletop_picker --scenes 3000 --steps 12000
  python -m dex_learn.cli picker --out /tmp/quick --scenes 200 --steps 500 --work /tmp/quick_work"""
UNSEEN_SEED = 900_001
"""Scenes that scores are of are drawn with this seed, whatever the training's."""


def add_picker(commands: argparse._SubParsersAction) -> None:
    """Puts the command into the parser of ``dex learn``."""
    parser = add_learner(commands, picker, WORDS, EXAMPLES)
    parser.add_argument("--scenes", type=int, default=3000, help="rendered for training (%(default)s)")
    parser.add_argument("--unseen", type=int, default=500, help="rendered for the scores (%(default)s)")
    parser.add_argument("--sentences", type=int, default=1000, help="of each kind, for the scores (%(default)s)")
    parser.add_argument("--steps", type=int, default=12000, help="optimiser steps (%(default)s)")


def picker(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    check_counts(arguments, "scenes", "unseen", "sentences", "steps", "threads")
    import torch

    from dex_learn.export import code_revision
    from dex_learn.picker.bundle import MARGIN, chances_of, export, write
    from dex_learn.picker.scores import DEFINITIONS, score
    from dex_learn.picker.tables import read_tables
    from dex_learn.picker.train import Trainer, Training
    from dex_learn.progress import progress

    code = code_revision(arguments.code)
    torch.set_num_threads(arguments.threads)
    cache = arguments.work / "tables"
    with progress("scenes to learn from", arguments.scenes) as told:
        tables = read_tables(cache, "train", arguments.scenes, arguments.seed, told)
    training = Training(steps=arguments.steps, seed=arguments.seed)
    net = Trainer(tables, training, arguments.work / "picker.pt").run()
    with progress("unseen scenes", arguments.unseen) as told:
        unseen = read_tables(cache, "unseen", arguments.unseen, UNSEEN_SEED, told)
    with progress("new scenes", arguments.unseen) as told:
        new = read_tables(cache, "train", arguments.unseen, UNSEEN_SEED, told)
    graph, cases, parity = export(net, tables)
    least = 0.5
    found = {
        "definitions": DEFINITIONS, "least": least, "margin": MARGIN, "unseen_scenes": len(unseen), "new_scenes": len(new), "parity": parity,
        "unseen": score(chances_of(graph), unseen, arguments.sentences, 1, least, MARGIN),
        "new": score(chances_of(graph), new, arguments.sentences, 1, least, MARGIN),
    }
    out = arguments.out or find_share("models") / "tabletop_picker"
    write(out, graph, cases, training, scenes=len(tables), scores=found, code=code, notes=f"dex learn picker --scenes {arguments.scenes}")
    sys.stdout.write(json.dumps({"bundle": str(out), "scores": found}, indent=1) + "\n")
    return 0
