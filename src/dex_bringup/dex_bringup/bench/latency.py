# SPDX-License-Identifier: Apache-2.0
"""From camera stamp to the first command of the chunk, besides inference, over a few goals."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dex_bringup.bench.closed_loop import FIRST_UNSEEN_SEED, OVERHEAD_MS
from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_task
from dex_core.latency import durations_ms
from dex_core.latency.stages import STAGES
from dex_ros.convert import timing_from_msg


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--goals", type=int, default=3, help="how many goals (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Runs goals and splits every chunk's way into its stages."""
    task = load_task("push_cans")
    with LiveCell(options.cell, notify=say) as live:
        for seed in range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + options.goals):
            result = live.attempt(seed, task.instruction)
            say(f"seed {seed}: {result.outcome}")
        figures = live.figures()
        figures.update(stage_figures([timing_from_msg(report.timing) for report in live.chunks if report.accepted]))
    return Report("latency", figures, (Goal("overhead_p50_ms", at_most=OVERHEAD_MS, unit="ms"),))


def stage_figures(timings: list[dict[str, int]]) -> dict[str, float]:
    """Median and 95 % of each stage's own time [ms], from the stage before it that happened."""
    own = [durations_ms(timing) for timing in timings]
    return {
        f"{stage}_p{percent}_ms": percentile([o[stage] for o in own if stage in o], percent)
        for stage in STAGES if any(stage in o for o in own) for percent in (50, 95)
    }
