# SPDX-License-Identifier: Apache-2.0
"""Every stage of perception in one report: what it costs in milliseconds and how good it is, each by its own benchmark."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dex_bringup.bench.report import Goal, Report
from dex_core.errors import DexError

Say = Callable[[str], None]
PACKAGE = "dex_bringup.bench"


@dataclass(frozen=True)
class Stage:
    """One stage: the benchmark that measures it, and the options that make it short with ``--quick``, where it has them."""

    module: str
    text: str
    quick: tuple[str, ...] = ()


STAGES: Mapping[str, Stage] = {
    "camera": Stage("camera", "a picture from its stamp to three subscribers", ("--seconds", "3")),
    "clouds": Stage("clouds", "depth to cloud, voxels, normals", ("--repeats", "10")),
    "stereo": Stage("stereo", "depth of a stereo pair", ("--repeats", "5")),
    "segmentation": Stage("segmentation", "one click to a mask over the cloud", ("--quick",)),
    "completion": Stage("completion", "half a cloud to a whole one", ("--quick",)),
    "keypoints": Stage("keypoints", "robot keypoints and which are seen", ("--poses", "10")),
}
"""In the order of the way of a picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    every = tuple(STAGES)
    parser.add_argument("--stages", nargs="+", choices=every, default=every, metavar="STAGE", help=f"of {', '.join(every)} (default all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, too few to judge the goals by")


def run(options: argparse.Namespace, say: Say) -> Report:
    """The stages in turn. One that cannot run here is said in ``not_run`` with the reason, and the goal that all ran is missed."""
    figures: dict[str, Any] = {}
    goals: list[Goal] = []
    not_run: dict[str, str] = {}
    for name in options.stages:
        stage = STAGES[name]
        say(f"{name}: {stage.text}")
        try:
            report = run_stage(stage, options.cell, stage.quick if options.quick else (), say)
        except DexError as error:
            not_run[name] = f"{error.code}: {error}"
            continue
        figures |= {f"{name}_{key}": value for key, value in report.figures.items()}
        goals += [replace(goal, figure=f"{name}_{goal.figure}") for goal in report.goals]
    figures |= {"stages_not_run": len(not_run), "not_run": not_run}
    return Report("perception", figures, [*goals, Goal("stages_not_run", at_most=0)])


def run_stage(stage: Stage, cell: str, words: Sequence[str], say: Say) -> Report:
    """One benchmark with its own defaults but for ``words``.

    Raises:
        DexError: code ``not_there``: this tree has no such benchmark; ``not_installed``: something that it needs is not installed; its own.
    """
    if importlib.util.find_spec(f"{PACKAGE}.{stage.module}") is None:
        raise DexError(f"there is no benchmark {stage.module!r}", code="not_there")
    try:
        module = importlib.import_module(f"{PACKAGE}.{stage.module}")
        parser = argparse.ArgumentParser(prog=f"dex bench {stage.module}")
        parser.add_argument("--cell", default=cell)
        module.add_arguments(parser)
        return module.run(parser.parse_known_args(list(words))[0], say)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0].startswith("dex_"):
            raise
        raise DexError(f"{stage.module} needs {error.name}, which is not installed", code="not_installed") from error
