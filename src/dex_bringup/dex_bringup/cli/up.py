# SPDX-License-Identifier: Apache-2.0
"""`dex up`: start a cell and keep it running."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dex_bringup.cli._arguments import cell_parser, parse_words
from dex_bringup.resolve import DEFAULT_CELL

EXAMPLES = """  dex up                                     the simulated cell
  dex up record:=true seed:=7                record it; cans placed by seed 7
  dex up rviz:=true namespace:=cell1         with RViz, under /cell1
  dex up my_cell.yaml sim:=false             a real cell with its addresses in the file
  dex up --list                              say which processes would start, start none"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = cell_parser(
        "up",
        "Starts every process of a cell, waits until all are active, and keeps them until Ctrl-C. "
        "Ctrl-C stops the robot first, then the processes. Exit code: 0 after Ctrl-C, 1 failed, 2 wrong use, 3 runs already.",
        EXAMPLES,
    )
    parser.add_argument("words", nargs="*", metavar="[CELL] name:=value", help=f"cell name or YAML file (default {DEFAULT_CELL}), then arguments")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="longest wait for all nodes to be active (default 60 s)")
    parser.add_argument("--list", action="store_true", help="print the processes and end")
    options = parser.parse_intermixed_args(list(argv))
    cell = options.words.pop(0) if options.words and ":=" not in options.words[0] else DEFAULT_CELL
    arguments = parse_words(options.words)
    if options.list:
        return _list(cell, arguments)
    from dex_bringup.up import run_cell

    return run_cell(cell, arguments, _show, options.timeout)


def _show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _list(cell: str, arguments: dict[str, str]) -> int:
    from pathlib import Path

    from dex_bringup.arguments import check_arguments
    from dex_bringup.resolve import processes_of, resolve_cell

    values = check_arguments(arguments)
    for process in processes_of(resolve_cell(cell, values), values, Path("RUN_FOLDER")):
        _show(f"{process.package:<15} {process.executable:<13} {process.full_name}")
    return 0
