# SPDX-License-Identifier: Apache-2.0
"""``python -m dex_learn.cli COMMAND`` (or ``dex learn COMMAND``): everything that made the models under models/."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dex_core.config import find_share, load_cell
from dex_core.errors import DexError
from dex_learn.latent.command import add_latents
from dex_learn.policy.command import add_commands as add_policy_commands

if TYPE_CHECKING:
    from dex_learn.workshop import Workshop

DEFAULT_WORK = "/tmp/dex_learn"
Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.handler(arguments))
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "rich"):
            raise
        _say(f"{error.name} is not installed; learning needs it:  .venv/bin/pip install -r requirements-learn.txt", sys.stderr)
        return 2
    except DexError as error:
        _say(f"error: {error}", sys.stderr)
        return 1


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="dex learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_latents(commands)
    for add in (_add_push_cans, _add_demos, _add_train, _add_dagger, _add_export, _add_score):
        add(commands)
    add_policy_commands(commands)
    return parser


def _add(commands: argparse._SubParsersAction, name: str, handler: Handler, words: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=words.split(".")[0], description=f"{words}\n\nexample:\n  {example}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(handler=handler)
    parser.add_argument("--cell", default="xarm_bimanual", help="cell under config/cells, or a YAML file (%(default)s)")
    return parser


def _add_shop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path(DEFAULT_WORK), help="folder for raw data and checkpoints, gigabytes (%(default)s)")
    parser.add_argument("--latents", type=Path, help="latent bundle to train in (the cell's, under models/)")
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (%(default)s)")


def _add_push_cans(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "push-cans", _push_cans,
        "Makes the push-cans policy from nothing. Demonstrations, pictures, training, rounds in which the policy acts and the expert labels, "
        "export and scores: about an hour on two free cores.\nStop it at any time; the same line goes on where it stopped.",
        "python -m dex_learn.cli push-cans --work /tmp/dex_learn --out /tmp/push_cans",
    )
    _add_shop(parser)
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/push_cans)")
    parser.add_argument("--episodes", type=int, default=100, help="unseen episodes to score (%(default)s)")
    parser.add_argument("--small", action="store_true", help="a little of everything: tries the recipe in minutes")


def _add_demos(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "demos", _demos,
        "Collects demonstrations and draws pictures of them. The scripted expert pushes, is disturbed on purpose, and labels every state it "
        "comes through; then states are drawn under random light, colours and camera poses.",
        "python -m dex_learn.cli demos --episodes 40 --pictures 500",
    )
    _add_shop(parser)
    parser.add_argument("--episodes", type=int, default=460, help="episodes, seeds from 0, at most 1000 (%(default)s)")
    parser.add_argument("--pictures", type=int, default=5000, help="pictures, 150 kB each (%(default)s)")


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "train", _train,
        "Trains the image encoder on the pictures and the trunk on the labelled states. Needs demos first. Curves are kept beside the checkpoints.",
        "python -m dex_learn.cli train --only trunk --trunk-steps 1500 --go-on",
    )
    _add_shop(parser)
    parser.add_argument("--only", choices=("vision", "trunk"), help="train this part alone")
    parser.add_argument("--vision-steps", type=int, default=1500, help="optimiser steps of the image encoder (%(default)s)")
    parser.add_argument("--trunk-steps", type=int, default=2500, help="optimiser steps of the trunk (%(default)s)")
    parser.add_argument("--copies", type=int, default=3, help="shifted, relabelled copies of each state (%(default)s)")
    parser.add_argument("--go-on", action="store_true", help="go on from the last checkpoint at a lower rate instead of from scratch")


def _add_dagger(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "dagger", _dagger,
        "One DAgger round. The policy acts in lockstep with latency and replanning as in the cell, the expert labels what it visits, "
        "the trunk is trained on.",
        "python -m dex_learn.cli dagger --round 1 --episodes 120",
    )
    _add_shop(parser)
    parser.add_argument("--round", type=int, required=True, help="number of the round, from 1; decides its seeds")
    parser.add_argument("--episodes", type=int, default=120, help="episodes (%(default)s)")
    parser.add_argument("--eyes", action="store_true", help="let it see pictures; else it is told the cans' true places with errors")
    parser.add_argument("--trunk-steps", type=int, default=2500, help="optimiser steps afterwards, 0: none (%(default)s)")
    parser.add_argument("--copies", type=int, default=3, help="shifted, relabelled copies of each state (%(default)s)")


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "export", _export, "Writes the bundle from the last checkpoints. Checks that ONNX and torch agree.",
        "python -m dex_learn.cli export --out /tmp/push_cans",
    )
    _add_shop(parser)
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/push_cans)")
    parser.add_argument("--scores", type=Path, help="JSON written by the score command, to go into the bundle")
    parser.add_argument("--notes", default="", help="for the manifest's training record")


def _add_score(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "score", _score,
        "Scores an exported policy in lockstep on seeds it never saw. Pictures, observation, network and decoders are those of the robot; "
        "time stands still while it thinks, and the chunk takes effect after a fixed latency.",
        "python -m dex_learn.cli score --episodes 20 --latency 0.15 --json /tmp/scores.json",
    )
    _add_shop(parser)
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (models/push_cans)")
    parser.add_argument("--episodes", type=int, default=100, help="episodes (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000, help="first seed (%(default)s); training seeds are refused")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds from picture to effect (%(default)s)")
    parser.add_argument("--replan", type=float, default=0.8, help="seconds between pictures (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the scores here too")


def _shop(arguments: argparse.Namespace) -> Workshop:
    import torch

    from dex_learn.workshop import Workshop

    torch.set_num_threads(arguments.threads)
    return Workshop(load_cell(arguments.cell), arguments.work, arguments.latents)


def _bundle_folder(given: Path | None) -> Path:
    return given or find_share("models") / "push_cans"


def _push_cans(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import Recipe, push_cans

    small = Recipe(
        demos=20, pictures=500, pictures_more=0, vision_steps=60, vision_more=0, trunk_steps=100, trunk_more=50, copies=1, rounds=1, episodes=20,
        seed=arguments.seed,
    )
    recipe = small if arguments.small else Recipe(seed=arguments.seed)
    _say(json.dumps(push_cans(_shop(arguments), _bundle_folder(arguments.out), recipe, arguments.episodes), indent=1))
    return 0


def _demos(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import make_demos

    shop = _shop(arguments)
    make_demos(shop, arguments.episodes)
    shop.draw(arguments.pictures, arguments.seed)
    _say(f"{len(shop.records())} labelled states and {arguments.pictures} pictures in {shop.folder}; next:  python -m dex_learn.cli train")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import train_eyes, train_hands

    shop = _shop(arguments)
    if arguments.only != "trunk":
        train_eyes(shop, arguments.vision_steps, arguments.seed, go_on=arguments.go_on)
    if arguments.only != "vision":
        train_hands(shop, arguments.trunk_steps, arguments.copies, arguments.seed, go_on=arguments.go_on)
    _say(json.dumps({name: curve[-1] for name, curve in shop.curves().items()}, indent=1))
    return 0


def _dagger(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import dagger_round, train_hands

    shop = _shop(arguments)
    dagger_round(shop, arguments.round, arguments.episodes, eyes=arguments.eyes)
    if arguments.trunk_steps:
        train_hands(shop, arguments.trunk_steps, arguments.copies, arguments.seed + arguments.round, go_on=True)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import export

    scores = json.loads(arguments.scores.read_text()) if arguments.scores else None
    folder = _bundle_folder(arguments.out)
    _say(f"{folder}: {export(_shop(arguments), folder, arguments.seed, arguments.notes, scores)}")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from dex_learn.recipe import score

    bundle = _bundle_folder(arguments.bundle)
    found = score(_shop(arguments), bundle, arguments.episodes, arguments.first_seed, latency_s=arguments.latency, replan_s=arguments.replan)
    text = json.dumps(found, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    _say(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
