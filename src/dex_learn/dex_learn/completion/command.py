# SPDX-License-Identifier: Apache-2.0
"""``dex learn completion``: renders tables, trains the completion network, scores it on things it never saw, writes the bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dex_core.config import find_share
from dex_learn.arguments import add_learner, check_counts

WORDS = (
    "Trains the network that completes a thing from the side that was seen. Renders tables, trains, scores on unseen things, writes a bundle.\n"
    "Stop it at any time; the same line goes on where it stopped, and with more --minutes it trains on."
)
EXAMPLES = """example:
  python -m dex_learn.cli completion --scenes 400 --minutes 30 --out /tmp/completion
  python -m dex_learn.cli completion --scenes 2000 --minutes 600 --threads 2 --work ~/completion"""


def add_completion(commands: argparse._SubParsersAction) -> None:
    """Puts the command into the parser of ``dex learn``."""
    parser = add_learner(commands, completion, WORDS, EXAMPLES)
    parser.add_argument("--scenes", type=int, default=1000, help="tables to render for training, 5 things each (%(default)s)")
    parser.add_argument("--unseen", type=int, default=60, help="tables with unseen things to score on (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training at most; the rate falls to nothing by then (%(default)s)")
    parser.add_argument("--steps", type=int, default=100000, help="optimiser steps at most (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="things per step (%(default)s)")


def completion(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    check_counts(arguments, "scenes", "unseen", "threads")
    import torch

    from dex_learn.completion import bundle, data
    from dex_learn.completion.scores import score
    from dex_learn.completion.train import Trainer, Training
    from dex_learn.export import code_revision

    code = code_revision(arguments.code, Path(__file__))
    torch.set_num_threads(arguments.threads)
    training = Training(steps=arguments.steps, minutes=arguments.minutes, batch=arguments.batch, seed=arguments.seed)
    unseen = data.load(data.make(arguments.work / "tables", "unseen", arguments.unseen))
    pairs = data.load(data.make(arguments.work / "tables", "varied", arguments.scenes))
    trainer = Trainer(pairs, training, arguments.work / "checkpoint.pt")
    net = trainer.run()
    graph, _, _ = bundle.export(net, unseen)
    found = score(bundle.runner(graph), unseen)
    out = arguments.out or find_share("models") / bundle.NAME
    words = f"{len(pairs)} things on {arguments.scenes} rendered tables (dex_learn.tabletop, split varied)"
    bundle.write(out, net, unseen, training, trainer.step, words, found, code)
    sys.stdout.write(json.dumps({"bundle": str(out), "steps": trainer.step, "scores": found}, indent=1) + "\n")
    return 0
