# SPDX-License-Identifier: Apache-2.0
"""Depth of a rectified stereo pair on a drawn table whose depth is known, at the sizes a ZED gives."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dex_bringup.bench.report import Report
from dex_perception.cameras.stereo_bench import stereo_figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--repeats", type=int, default=20, help="runs of each case (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Every case; no goal is set for it."""
    say("draws a table and matches it")
    return Report("stereo", {key.removeprefix("stereo_"): value for key, value in stereo_figures(options.repeats).items()})
