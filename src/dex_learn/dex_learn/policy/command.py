# SPDX-License-Identifier: Apache-2.0
"""``dex learn policy COMMAND``: everything that made ``models/xl_vla_tabletop`` and the comparison with its baselines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dex_core.config import find_share

if TYPE_CHECKING:
    from dex_learn.policy.recipe import Recipe
    from dex_learn.policy.workshop import Workshop

DEFAULT_WORK = "/tmp/dex_learn_policy"
ALL_KINDS = "latents,joints,retarget"
Handler = Callable[[argparse.Namespace], int]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Registers ``policy`` and its commands."""
    parser = commands.add_parser(
        "policy", help="the hand-agnostic policy and its baselines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_all, _add_demos, _add_train, _add_round, _add_export, _add_score, _add_compare):
        add(stages)


def _add(stages: argparse._SubParsersAction, name: str, handler: Handler, words: str, example: str) -> argparse.ArgumentParser:
    parser = stages.add_parser(
        name, help=words.split(".")[0], description=f"{words}\n\nexample:\n  dex learn policy {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    parser.add_argument("--cell", default="xarm_bimanual", help="cell under config/cells, or a YAML file (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path(DEFAULT_WORK), help="folder for raw data and checkpoints, gigabytes (%(default)s)")
    parser.add_argument("--latents", type=Path, help="bundle of the latent space (models/hand_latents)")
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (%(default)s)")
    return parser


def _add_code(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--code", default="", help="revision of the code, for the manifest; needed where the code is not in a git checkout")


def _add_scoring(parser: argparse.ArgumentParser, episodes: int) -> None:
    parser.add_argument("--episodes", type=int, default=episodes, help="unseen episodes per task and hand (%(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000, help="first seed (%(default)s); training seeds are refused")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds from picture to effect (%(default)s)")
    parser.add_argument("--replan", type=float, default=0.8, help="seconds between pictures (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the scores here too")


def _add_all(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "all", _all,
        "Makes the policy and its baselines from nothing. Demonstrations, pictures, eyes, trunks, a round in which the policy acts and the expert "
        "labels, export and the bundle.\nStop it at any time; the same line goes on where it stopped.",
        "all --work /tmp/dex_learn_policy --out /tmp/xl_vla_tabletop",
    )
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/xl_vla_tabletop)")
    _add_code(parser)
    parser.add_argument("--kinds", default=ALL_KINDS, help="which policies, the first one plays the rounds (%(default)s)")
    parser.add_argument("--small", action="store_true", help="a little of everything: tries the recipe in minutes")


def _add_demos(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "demos", _demos,
        "Collects demonstrations and draws pictures. The scripted expert acts, is disturbed on purpose, and labels every state it comes through; "
        "pictures are drawn of such states and of made-up ones, under random light, colours and camera poses.",
        "demos --task push_cans --hand leap --episodes 40",
    )
    parser.add_argument("--episodes", type=int, default=160, help="episodes per task and hand (%(default)s)")
    parser.add_argument("--task", help="only this task")
    parser.add_argument("--hand", help="only this hand")
    parser.add_argument("--stills", type=int, default=1500, help="made-up pictures per hand (%(default)s)")
    parser.add_argument("--pictures", type=int, default=60, help="pictures per file of 20 episodes (%(default)s)")


def _add_train(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "train", _train, "Trains the eyes on the pictures, or a trunk on the labelled states. Curves are kept beside the checkpoints.",
        "train --only trunk --kind latents --steps 2000 --go-on",
    )
    parser.add_argument("--only", choices=("eyes", "trunk"), required=True, help="which part")
    parser.add_argument("--kind", choices=ALL_KINDS.split(","), default="latents", help="of hand codes (%(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="optimiser steps (%(default)s)")
    parser.add_argument("--copies", type=int, default=2, help="shifted, relabelled copies of each state (%(default)s)")
    parser.add_argument("--go-on", action="store_true", help="go on from the last checkpoint at a lower rate instead of from scratch")


def _add_round(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "round", _round,
        "One DAgger round. The policy acts in lockstep with latency and replanning as in the cell, the expert labels what it visits.",
        "round --number 1 --episodes 40 --eyes",
    )
    parser.add_argument("--number", type=int, required=True, help="of the round, from 1; decides its seeds")
    parser.add_argument("--kind", choices=ALL_KINDS.split(","), default="latents", help="who acts (%(default)s)")
    parser.add_argument("--episodes", type=int, default=40, help="per task and hand (%(default)s)")
    parser.add_argument("--eyes", action="store_true", help="let it see pictures; else it is told the true places with errors")


def _add_export(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "export", _export, "Writes the graphs for the comparison and the bundle of the latent policy. Checks that ONNX and torch agree.",
        "export --out /tmp/xl_vla_tabletop",
    )
    parser.add_argument("--out", type=Path, help="folder of the bundle (models/xl_vla_tabletop)")
    _add_code(parser)
    parser.add_argument("--kinds", default=ALL_KINDS, help="which graphs (%(default)s)")
    parser.add_argument("--scores", type=Path, help="JSON written by the score command, to go into the bundle")
    parser.add_argument("--notes", default="", help="for the manifest's training record")


def _add_score(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "score", _score,
        "Scores the bundle in lockstep on seeds it never saw, with every hand. Pictures, observation, network and decoders are those of the robot; "
        "time stands still while it thinks, and the chunk takes effect after a fixed latency.",
        "score --episodes 20 --json /tmp/scores.json",
    )
    parser.add_argument("--bundle", type=Path, help="folder of the bundle (models/xl_vla_tabletop)")
    _add_scoring(parser, 20)


def _add_compare(stages: argparse._SubParsersAction) -> None:
    parser = _add(
        stages, "compare", _compare,
        "Plays the latent policy and its baselines with every hand and task on unseen seeds. "
        "Goes on where it was stopped; prints figures and the table.",
        "compare --episodes 20 --json /tmp/cross_hand.json",
    )
    _add_scoring(parser, 20)
    parser.add_argument("--kinds", default=ALL_KINDS, help="which policies (%(default)s)")


def _shop(arguments: argparse.Namespace) -> Workshop:
    import torch

    from dex_learn.policy.workshop import Workshop

    torch.set_num_threads(arguments.threads)
    return Workshop(arguments.work, arguments.cell, arguments.latents)


def _out(given: Path | None) -> Path:
    return given or find_share("models") / "xl_vla_tabletop"


def _kinds(arguments: argparse.Namespace) -> list[str]:
    return [kind.strip() for kind in arguments.kinds.split(",") if kind.strip()]


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from dex_learn.policy.recipe import Recipe

    if not arguments.small:
        return Recipe(seed=arguments.seed)
    return Recipe(episodes=20, stills=250, vision_steps=60, trunk_steps=100, more_steps=50, round_episodes=20, seed=arguments.seed)


def _all(arguments: argparse.Namespace) -> int:
    from dex_learn.export import code_revision
    from dex_learn.policy.recipe import export, learn

    code = code_revision(arguments.code)
    shop, recipe = _shop(arguments), _recipe(arguments)
    learn(shop, _kinds(arguments), recipe)
    notes = "dex learn policy all; " + ", ".join(f"{k} {v}" for k, v in recipe.__dict__.items())
    folder = _out(arguments.out)
    _say(f"{folder}: {export(shop, folder, arguments.seed, code, notes)}")
    return 0


def _demos(arguments: argparse.Namespace) -> int:
    from dex_core.errors import DexError
    from dex_learn.policy.compare import DEMONSTRATED, HANDS
    from dex_learn.policy.recipe import make_demos

    shop = _shop(arguments)
    chosen = [(t, h) for t, h in DEMONSTRATED if arguments.task in (None, t) and arguments.hand in (None, h)]
    if not chosen:
        raise DexError(f"no demonstrations of {arguments.task} with {arguments.hand}; there are {list(DEMONSTRATED)}")
    make_demos(shop, arguments.episodes, chosen)
    shop.draw_stills(HANDS, arguments.stills, arguments.seed)
    shop.draw(arguments.pictures, arguments.seed)
    _say(f"{len(shop.files())} files of episodes, {len(shop.picture_files())} of pictures in {shop.folder}; next:  dex learn policy train")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from dex_learn.policy.recipe import train_eyes, train_hands

    shop = _shop(arguments)
    if arguments.only == "eyes":
        train_eyes(shop, arguments.steps, arguments.seed, go_on=arguments.go_on)
    else:
        train_hands(shop, arguments.kind, arguments.steps, arguments.copies, arguments.seed, go_on=arguments.go_on)
    _say(json.dumps({name: curve[-1] for name, curve in shop.curves().items()}, indent=1))
    return 0


def _round(arguments: argparse.Namespace) -> int:
    from dex_learn.policy.recipe import play_round

    play_round(_shop(arguments), arguments.kind, arguments.number, arguments.episodes, eyes=arguments.eyes)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dex_learn.export import code_revision
    from dex_learn.policy.recipe import export, export_kind

    code = code_revision(arguments.code)
    shop, scores = _shop(arguments), json.loads(arguments.scores.read_text()) if arguments.scores else None
    for kind in _kinds(arguments):
        _say(str(export_kind(shop, kind)))
    folder = _out(arguments.out)
    _say(f"{folder}: {export(shop, folder, arguments.seed, code, arguments.notes, scores)}")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from dex_learn.policy.contest import score_bundle

    _write(score_bundle(_out(arguments.bundle), _settings(arguments), arguments.cell), arguments.json)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from dex_learn.policy.compare import run_contest, summary, table
    from dex_learn.policy.contest import contest_player

    shop = _shop(arguments)
    path = shop.folder / f"contest_{arguments.first_seed}_{arguments.episodes}.json"
    results = run_contest(path, contest_player(shop, _settings(arguments)), _kinds(arguments))
    _write({"figures": summary(results), "results": results}, arguments.json, quiet=True)
    _say(table(results) + "\n" + json.dumps(summary(results), indent=1))
    return 0


def _settings(arguments: argparse.Namespace):  # noqa: ANN202 - the type needs MuJoCo
    from dex_learn.policy.score import ScoreSettings

    seeds = range(arguments.first_seed, arguments.first_seed + arguments.episodes)
    return ScoreSettings(seeds, latency_s=arguments.latency, replan_s=arguments.replan)


def _write(value: object, path: Path | None, *, quiet: bool = False) -> None:
    text = json.dumps(value, indent=1)
    if path:
        path.write_text(text + "\n")
    if not quiet:
        _say(text)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
