# SPDX-License-Identifier: Apache-2.0
"""`dex demo`: start the simulated cell, run the task, show the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

EXAMPLES = """examples:
  dex demo                    two cans are pushed together; needs no screen
  dex demo --seed 100003      cans elsewhere
  DEX_RUN_DIR=out dex demo    recording and pictures in ./out

Exit code: 0 only if the task succeeded."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex demo",
        description="Starts the simulated cell, recorded, and lets the exported model push two cans together.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cell", default="xarm_bimanual", help="cell name or YAML file (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="where the cans stand and what the scene looks like (default %(default)s)")
    parser.add_argument("--deadline", type=float, default=0.0, metavar="S", help="give up after so many seconds (default: the cell's)")
    parser.add_argument("--bundle", default="", help="model bundle (default: the cell's)")
    parser.add_argument("--instruction", default="", help="another instruction (default: the task's)")
    options = parser.parse_args(list(argv))
    from rich.console import Console

    from dex_bringup.demo import Demo, run_demo

    return run_demo(Demo(options.cell, options.seed, options.deadline, options.bundle, options.instruction), Console())
