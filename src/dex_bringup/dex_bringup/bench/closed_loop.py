# SPDX-License-Identifier: Apache-2.0
"""Success of the task over unseen seeds: one cell, one goal per seed, judged by the simulator."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

from dex_bringup.arguments import OWN
from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_task

FIRST_UNSEEN_SEED = 100_000
SUCCESS_RATE = 0.9
OVERHEAD_MS = 40.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--task", default="push-cans", help="task, as in config/tasks (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="how many scenes (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=FIRST_UNSEEN_SEED, help="first scene; training never uses seeds from %(default)s on")
    parser.add_argument("--bundle", default="", help="model bundle (default: the cell's)")
    parser.add_argument("--hand", default=OWN, help="hand on every arm (default: the cell's)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Brings the cell up once and attempts every seed."""
    task = load_task(options.task.replace("-", "_"))
    results = []
    with LiveCell(options.cell, {"bundle": options.bundle, "hand": options.hand}, say) as live:
        for number, seed in enumerate(range(options.first_seed, options.first_seed + options.seeds), start=1):
            result = live.attempt(seed, task.instruction, task=task.name)
            results.append((seed, result))
            done = sum(r.succeeded for _, r in results)
            say(f"seed {seed}: {result.outcome} {result.reason} {result.duration_s:.1f} s; {done} of {number}")
        figures = live.figures()
    good = [result.duration_s for _, result in results if result.succeeded]
    failures = {str(seed): f"{r.outcome} {r.reason} {r.detail}".strip() for seed, r in results if not r.succeeded}
    figures = {
        "seeds": options.seeds, "first_seed": options.first_seed, "successes": len(good),
        "outcomes": dict(Counter(result.outcome for _, result in results)), "failures": failures,
        "duration_p50_s": percentile(good, 50), "duration_max_s": max(good, default=float("nan")), **figures,
    }
    goals = (Goal("successes", at_least=SUCCESS_RATE * options.seeds), Goal("overhead_p50_ms", at_most=OVERHEAD_MS, unit="ms"))
    return Report("closed-loop", figures, goals)
