# SPDX-License-Identifier: Apache-2.0
"""One latent policy on every hand, beside the same network on padded joints and beside retargeting from one hand: success in lockstep."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dex_bringup.bench.report import Goal, Report
from dex_core.errors import DexError

PUSH_MEAN, LEMONS_MEAN, UNSEEN_OVER_SEEN = 0.9, 0.7, 0.8
GOALS = (
    Goal("latents_push_cans_mean", at_least=PUSH_MEAN), Goal("latents_reorganize_lemons_mean", at_least=LEMONS_MEAN),
    Goal("latents_unseen_over_seen", at_least=UNSEEN_OVER_SEEN), Goal("latents_above_best_baseline", at_least=1e-9),
    Goal("latents_above_best_baseline_unseen", at_least=1e-9),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--work", type=Path, default=Path("/tmp/dex_learn_policy"), help="folder of  dex learn policy all  (%(default)s)")
    parser.add_argument("--latents", type=Path, help="bundle of the latent space (models/hand_latents)")
    parser.add_argument("--seeds", type=int, default=20, help="episodes per policy, task and hand (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000, help="first scene (default %(default)s); training seeds are refused")
    parser.add_argument("--kinds", default="latents,joints,retarget", help="which policies (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Plays what was not played before in that folder; needs the graphs that  dex learn policy all  leaves there.

    Raises:
        DexError: torch is not installed, or a graph is missing.
    """
    try:
        from dex_learn.policy.compare import run_contest, summary, table
        from dex_learn.policy.contest import contest_player
        from dex_learn.policy.score import ScoreSettings
        from dex_learn.policy.workshop import Workshop
    except ModuleNotFoundError as error:
        raise DexError(f"{error.name} is not installed; learning needs it:  .venv/bin/pip install -r requirements-learn.txt") from error
    shop = Workshop(options.work, options.cell, options.latents)
    settings = ScoreSettings(range(options.first_seed, options.first_seed + options.seeds))
    path = options.work / f"contest_{options.first_seed}_{options.seeds}.json"
    results = run_contest(path, contest_player(shop, settings), [kind for kind in options.kinds.split(",") if kind])
    say(table(results))
    figures = {
        "seeds": options.seeds, "first_seed": options.first_seed, "latency_s": settings.latency_s, "replan_s": settings.replan_s, **summary(results),
    }
    figures["results"] = {
        f"{kind} {task} {hand}": f"{s['successes']}/{s['episodes']}" for kind, tasks in results.items() for task, hands in tasks.items()
        for hand, s in hands.items()
    }
    return Report("cross-hand", figures, GOALS)
