# SPDX-License-Identifier: Apache-2.0
"""``dex learn completion``: renders tables, trains the completion network, scores it on things it never saw, writes the bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dex_core.config import find_share
from dex_core.errors import DexError

WORDS = (
    "Trains the network that completes a thing from the side that was seen. Renders tables, trains, scores on unseen things, writes a bundle.\n"
    "Stop it at any time; the same line goes on where it stopped, and with more --minutes it trains on."
)
EXAMPLES = """example:
  python -m dex_learn.cli completion --scenes 400 --minutes 30 --out /tmp/completion
  python -m dex_learn.cli completion --scenes 2000 --minutes 600 --threads 2 --work ~/completion"""


def add_completion(commands: argparse._SubParsersAction) -> None:
    """Puts the command into the parser of ``dex learn``."""
    parser = commands.add_parser(
        "completion", help=WORDS.split(".")[0], description=f"{WORDS}\n\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(handler=completion)
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/tabletop_completion)")
    parser.add_argument("--scenes", type=int, default=1000, help="tables to render for training, 5 things each (%(default)s)")
    parser.add_argument("--unseen", type=int, default=60, help="tables with unseen things to score on (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training at most; the rate falls to nothing by then (%(default)s)")
    parser.add_argument("--steps", type=int, default=100000, help="optimiser steps at most (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="things per step (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and batches (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/dex_completion"), help="folder for rendered tables and checkpoints (%(default)s)")
    parser.add_argument("--code", default="", help="revision of the code, for the manifest; needed where the code is not in a git checkout")


def completion(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    if min(arguments.scenes, arguments.unseen, arguments.threads) < 1:
        raise DexError(f"scenes {arguments.scenes}, unseen {arguments.unseen}, threads {arguments.threads}: at least 1 each", code="bad_argument")
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
