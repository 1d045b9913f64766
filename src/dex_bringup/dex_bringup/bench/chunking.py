# SPDX-License-Identifier: Apache-2.0
"""All schedules of chunks over latencies of the policy, with and without spikes: the simulated cell in lockstep, the shipped policy, the gate."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dex_bringup.bench.chunking_cell import SPIKE_SHARE, SPIKE_TIMES, ChunkingCell, Episode, Setting
from dex_bringup.bench.chunking_figures import compared, draw, plain, row_of, table
from dex_bringup.bench.report import Goal, Report
from dex_core.chunks import SCHEDULES, Seam
from dex_core.config import EnsembleConfig, load_cell
from dex_core.config.strict import build
from dex_core.errors import DexError

LATENCIES_MS = (0, 50, 100, 200, 400, 800)
GOAL_LATENCY_MS = 200
SEEDS = (1000, 2000)
"""Of scores: nothing was trained on them."""
VELOCITY_STEP_RATIO = 0.1
TIME_LIMIT_S = {"push_cans": 20.0, "reorganize_lemons": 30.0}
QUICK_S = 2.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--task", default="push_cans", choices=tuple(TIME_LIMIT_S), help="task (default %(default)s)")
    parser.add_argument("--episodes", type=int, default=8, help="per schedule, latency and kind of latency (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=SEEDS[0], help=f"first scene (default %(default)s); up to {SEEDS[1] - 1}")
    parser.add_argument("--schedules", default=",".join(SCHEDULES), help="which (default %(default)s)")
    parser.add_argument("--latencies", default=",".join(map(str, LATENCIES_MS)), help="of the policy [ms] (default %(default)s)")
    parser.add_argument("--policy-ensemble", type=float, metavar="DECAY", help="mix chunks in the policy's spaces first (policy.ensemble.decay)")
    parser.add_argument("--steady", action="store_true", help=f"without spikes: one chunk in {1 / SPIKE_SHARE:.0f} {SPIKE_TIMES:g} times as late")
    parser.add_argument("--work", type=Path, help="JSON file that keeps the episodes; what is in it is not played again")
    parser.add_argument("--plot", type=Path, help="PNG file to draw into")
    parser.add_argument("--quick", action="store_true", help=f"the goal's two schedules at its latency, the first {QUICK_S} s of one scene")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Plays what was not played before.

    Raises:
        DexError: ``bad_argument``; a bundle that cannot be loaded; a file that cannot be written.
    """
    cell = load_cell(options.cell)
    if options.policy_ensemble is not None:
        if options.work is not None:
            raise DexError("--work keeps episodes of chunks as the policy said them; leave it out, or --policy-ensemble", code="bad_argument")
        cell = replace(cell, policy=replace(cell.policy, ensemble=build(EnsembleConfig, {"decay": options.policy_ensemble}, "--policy-ensemble")))
    settings, seeds, limit_s = _plan(options, cell.control.schedule)
    played = _kept(options.work)
    todo = [(setting, seed) for setting in settings for seed in seeds if str(seed) not in played.get(str(setting), {})]
    if todo:
        say(f"{len(settings)} settings, {len(seeds)} scenes each, {len(todo)} episodes to play")
        _play(ChunkingCell(cell), todo, options, limit_s, played)
    rows = [row_of(setting, [played[str(setting)][str(seed)] for seed in seeds]) for setting in settings]
    say(table(rows))
    if options.plot is not None:
        draw(options.plot, rows, f"{options.task}, {len(seeds)} scenes a point, {cell.policy.bundle}; dashed: {SPIKE_SHARE:.0%} of chunks take "
                                 f"{SPIKE_TIMES:g} times as long")
    figures: dict[str, Any] = {
        "task": options.task, "bundle": cell.policy.bundle, "episodes_per_setting": len(seeds), "first_seed": seeds.start,
        "replan_period_s": cell.policy.replan_period_s, "policy_ensemble": options.policy_ensemble, "schedule_of_the_cell": cell.control.schedule,
    }
    for schedule in dict.fromkeys(setting.schedule for setting in settings):
        if schedule != "synchronous":
            figures |= compared(rows, schedule, GOAL_LATENCY_MS)
    figures["settings"] = rows
    own = cell.control.schedule
    goals = (
        Goal(f"{own}_velocity_step_ratio", at_most=VELOCITY_STEP_RATIO), Goal(f"{own}_velocity_step_p95_ratio", at_most=VELOCITY_STEP_RATIO),
        Goal(f"{own}_success_gain", at_least=0.0),
    )
    return Report("chunking", figures, goals)


def _plan(options: argparse.Namespace, own: str) -> tuple[list[Setting], range, float]:
    if options.quick:
        return [Setting(name, 1e-3 * GOAL_LATENCY_MS) for name in dict.fromkeys(("synchronous", own))], range(SEEDS[0], SEEDS[0] + 1), QUICK_S
    schedules = [name for name in options.schedules.split(",") if name]
    unknown = sorted(set(schedules) - set(SCHEDULES))
    try:
        latencies_ms = [float(word) for word in options.latencies.split(",") if word]
    except ValueError as error:
        raise DexError(f"--latencies {options.latencies!r}: {error}", code="bad_argument") from error
    if unknown or not schedules:
        raise DexError(f"--schedules {options.schedules!r}: allowed: {list(SCHEDULES)}", code="bad_argument")
    if not latencies_ms or not all(0.0 <= latency < math.inf for latency in latencies_ms):
        raise DexError(f"--latencies {options.latencies!r}: expected milliseconds, 0 or more", code="bad_argument")
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    if not len(seeds) or seeds.start < SEEDS[0] or seeds.stop > SEEDS[1]:
        text = f"seeds {seeds.start} to {seeds.stop - 1}: expected at least one, all of {SEEDS[0]} to {SEEDS[1] - 1}; others are trained on"
        raise DexError(text, code="bad_argument")
    spikes = (False,) if options.steady else (False, True)
    settings = [Setting(name, 1e-3 * ms, spiked) for name in schedules for ms in latencies_ms for spiked in spikes if ms or not spiked]
    return settings, seeds, TIME_LIMIT_S[options.task]


def _play(
    cell: ChunkingCell, todo: list[tuple[Setting, int]], options: argparse.Namespace, limit_s: float, played: dict[str, dict[str, Episode]],
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=len(todo))
            for setting, seed in todo:
                bar.update(task, description=f"{setting}, seed {seed}")
                played.setdefault(str(setting), {})[str(seed)] = cell.play(setting, seed, options.task, limit_s)
                bar.advance(task)
                if options.work is not None:
                    _keep(options.work, played)
    finally:
        cell.close()


def _kept(path: Path | None) -> dict[str, dict[str, Episode]]:
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text())
    return {name: {seed: _episode(data) for seed, data in episodes.items()} for name, episodes in found.items()}


def _keep(path: Path, played: dict[str, dict[str, Episode]]) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps({name: plain(episodes) for name, episodes in played.items()}) + "\n")
    partial.rename(path)


def _episode(data: dict[str, Any]) -> Episode:
    return Episode(**{**data, "seams": tuple(Seam(*s) for s in data["seams"]), "plan_seams": tuple(Seam(*s) for s in data["plan_seams"])})
