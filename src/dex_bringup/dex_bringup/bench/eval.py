# SPDX-License-Identifier: Apache-2.0
"""Speed of dex eval against real time, on a given recording or on one made now."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_task

SPEED_GOAL = 10.0
SEED = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--bag", type=Path, help="recording (default: one is made: a cell is started and runs one goal)")
    parser.add_argument("--repeats", type=int, default=3, help="how often (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Evaluates the same recording several times."""
    from dex_eval.evaluate import evaluate

    bag = options.bag or _record(options.cell, say)
    results = []
    for number in range(options.repeats):
        results.append(evaluate(bag).result)
        say(f"run {number + 1}: {results[-1]['speed_x_real_time']:.1f} x real time")
    figures = {
        "recording_s": results[-1]["duration_s"],
        "instants": results[-1]["replayed"],
        "speed_x_real_time": percentile([r["speed_x_real_time"] for r in results], 50),
        "speed_without_loading": percentile([r["speed_without_loading"] for r in results], 50),
        "load_model_s": percentile([r["load_model_s"] for r in results], 50),
        "replay_inference_p50_ms": results[-1]["replay_inference_ms"]["p50"],
        "largest_difference_from_recorded_rad": results[-1]["largest_difference_from_recorded_rad"],
    }
    return Report("eval", figures, (Goal("speed_x_real_time", at_least=SPEED_GOAL, unit="x"),))


def _record(cell: str, say: Callable[[str], None]) -> Path:
    with LiveCell(cell, {"record": "true"}, say) as live:
        for seed in range(SEED, SEED + 3):
            live.attempt(seed, load_task("push_cans").instruction)
    return live.resolution.run_folder / "bag"
