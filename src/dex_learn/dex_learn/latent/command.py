# SPDX-License-Identifier: Apache-2.0
"""``dex learn latents``: trains the latent space of the hands, or adds a hand to one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dex_core.config import find_share
from dex_core.errors import DexError

if TYPE_CHECKING:
    from dex_learn.latent.recipe import Recipe

WORDS = (
    "Trains the hands' latent space. One encoder and one decoder per hand and side, from random joint positions; all hands in one backward pass. "
    "Writes a bundle with golden cases, scores and, in the work folder, curves and pictures.\n"
    "Stop it at any time; the same line goes on where it stopped. A policy is pinned to the decoders it was trained with."
)
EXAMPLES = """example:
  python -m dex_learn.cli latents --out /tmp/hand_latents --minutes 40 --threads 2
  python -m dex_learn.cli latents --add leap --space /tmp/hand_latents --out /tmp/with_leap
  python -m dex_learn.cli latents --unit chunk --out /tmp/hand_chunks --minutes 10"""
DEFAULT_HANDS = "ability,inspire,xhand1,dexh13,leap"


def add_latents(commands: argparse._SubParsersAction) -> None:
    """Puts the command into the parser of ``dex learn``."""
    parser = commands.add_parser(
        "latents", help=WORDS.split(".")[0], description=f"{WORDS}\n\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(handler=latents)
    parser.add_argument("--hands", default=DEFAULT_HANDS, help="models, separated by commas (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/hand_latents; with --unit chunk it must be given)")
    parser.add_argument("--unit", choices=("frame", "chunk"), default="frame", help="what one latent is: a posture, or 64 of them (%(default)s)")
    parser.add_argument("--steps", type=int, default=40000, help="optimiser steps at most (%(default)s)")
    words = "time at most for the right hands; the left ones take a fifth more; 0: no limit (%(default)s)"
    parser.add_argument("--minutes", type=float, default=40.0, help=words)
    parser.add_argument("--batch", type=int, default=128, help="postures per hand and step (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and samples (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch computes (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/dex_latents"), help="folder for checkpoints, curves and pictures (%(default)s)")
    parser.add_argument("--code", default="", help="revision of the code, for the manifest; needed where the code is not in a git checkout")
    parser.add_argument("--add", metavar="HAND", help="train only this hand, into the space of --space, whose graphs do not change")
    parser.add_argument("--space", type=Path, help="bundle to add to, or to make chunks of (models/hand_latents)")
    parser.add_argument("--leave-out", default="", metavar="HANDS", help="with --add: models of the space to leave out of the new bundle")


def latents(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    _check(arguments)
    import torch

    from dex_learn.latent.pictures import draw_curves

    torch.set_num_threads(arguments.threads)
    recipe, out = _recipe(arguments), arguments.out or find_share("models") / "hand_latents"
    notes = "dex learn latents " + (f"--add {arguments.add}" if arguments.add else f"--unit {arguments.unit}")
    found = _run(arguments, recipe, out, notes)
    draw_curves(recipe.work)
    sys.stdout.write(json.dumps({"bundle": str(out), "curves": str(recipe.work / "curves.png"), "scores": found}, indent=1) + "\n")
    return 0


def _run(arguments: argparse.Namespace, recipe: Recipe, out: Path, notes: str) -> dict[str, Any]:
    space = arguments.space or find_share("models") / "hand_latents"
    if arguments.add:
        from dex_learn.latent.add import add_hand

        left_out = tuple(w for w in arguments.leave_out.split(",") if w)
        return add_hand(arguments.add, space, out, recipe, notes, left_out=left_out)
    if arguments.unit == "chunk":
        from dex_learn.latent.chunk_recipe import make_chunk_bundle

        return make_chunk_bundle(recipe, space, out, notes)
    from dex_learn.latent.recipe import make_bundle

    return make_bundle(recipe, out, notes)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from dex_learn.latent.recipe import Recipe
    from dex_learn.latent.train import Training

    training = Training(steps=arguments.steps, minutes=arguments.minutes, batch=arguments.batch, seed=arguments.seed)
    hands = tuple(word for word in arguments.hands.split(",") if word)
    return Recipe(hands=hands, training=training, device=arguments.device, work=arguments.work, code=arguments.code)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.threads < 1:
        raise DexError(f"--threads {arguments.threads}: at least 1", code="bad_argument")
    if arguments.leave_out and not arguments.add or arguments.space and not (arguments.add or arguments.unit == "chunk"):
        raise DexError("--leave-out goes with --add, --space with --add or --unit chunk", code="bad_argument")
    if arguments.unit == "chunk" and (arguments.add or arguments.out is None):
        raise DexError("--unit chunk needs --out, and hands cannot be added to such a space", code="bad_argument")
