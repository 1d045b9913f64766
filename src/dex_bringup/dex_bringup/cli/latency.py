# SPDX-License-Identifier: Apache-2.0
"""`dex latency`: where the time of each chunk goes, from the camera to the joints, live or in a recording."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from dex_core.latency import LatencyBook

EXAMPLES = """examples:
  dex latency                            a running cell, until Ctrl-C
  dex latency --seconds 30 --json        the same for scripts: one object after 30 s
  dex latency ~/.ros/dex/RUN             a recording

Each row is a stage's own time: from the stage before it to it. Budgets are policy.latency_budget_ms (exposure to first command) and
policy.stage_budgets_ms of the cell. Motion after the first command is told by the state node (monitor:=true); "from rest" counts only chunks before
which the joints stood still.

Exit code: 0 shown, 1 no chunk came, or the recording is refused, 2 wrong use."""
REFRESH_S = 0.5
TOLERATED = 0.05
EXPLAINED_COLUMNS = 124
"""A narrower terminal gets the numbers alone."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex latency", description="Shows how long each stage of the action chunks takes, against its budget.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="recording folder, run folder or .mcap file (default: the running cell)")
    parser.add_argument("--cell", default="", help="cell name or YAML file whose budgets count (default: the recorded one; live: xarm_bimanual)")
    parser.add_argument("--namespace", default="", help="of a live cell")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long to watch a live cell (default: until Ctrl-C)")
    parser.add_argument("--window", type=int, default=512, metavar="N", help="how many chunks are the newest (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one object {source, chunks, worst, stages} at the end")
    options = parser.parse_args(list(argv))
    if not options.seconds > 0.0 or options.window < 1:
        parser.error("allowed: --seconds above 0, --window from 1")
    if options.run is None and options.json and math.isinf(options.seconds):
        parser.error("--json of a live cell needs --seconds")
    book, source = (_recorded if options.run is not None else _live)(options)
    if options.json:
        sys.stdout.write(json.dumps({"source": source, **book.as_json()}, indent=1) + "\n")
    elif options.run is not None and book.chunks:
        console = _console()
        console.print(_table(book, source, console.width))
    if not book.chunks:
        sys.stderr.write(f"dex latency: {source} shows no accepted chunk\n")
    return 0 if book.chunks else 1


def _recorded(options: argparse.Namespace) -> tuple[LatencyBook, str]:
    from dex_core.config import load_cell
    from dex_eval.bag import Recording
    from dex_eval.episode import TYPES, Episode, check_types, decode, recorded_cell
    from dex_ros import names
    from dex_ros.latency import book_of, note_motion, note_report

    recording = Recording(options.run)
    episode = Episode(recording, load_cell(options.cell) if options.cell else recorded_cell(recording))
    book = book_of(episode.cell.policy, options.window)
    notes = {names.CHUNK_REPORT: note_report, names.CHUNK_LATENCY: note_motion}
    short = {episode.topic(name): name for name in notes}
    check_types(episode, {topic: TYPES[name] for topic, name in short.items()})
    for message in recording.messages(frozenset(short)):
        name = short[message.topic]
        notes[name](book, decode(message, TYPES[name]))
    return book, str(recording.path)


def _live(options: argparse.Namespace) -> tuple[LatencyBook, str]:
    from rich.live import Live

    from dex_bringup.client import CellClient
    from dex_core.config import load_cell
    from dex_msgs.msg import ChunkLatency, ChunkReport
    from dex_ros import names, qos
    from dex_ros.latency import book_of, note_motion, note_report

    book, namespace = book_of(load_cell(options.cell or "xarm_bimanual").policy, options.window), options.namespace.strip("/")
    source = f"the cell in namespace /{namespace}" if namespace else "the running cell"
    end_s = time.monotonic() + options.seconds
    with CellClient(namespace) as client:
        client.node.create_subscription(ChunkReport, names.CHUNK_REPORT, lambda m: note_report(book, m), qos.REPORT)
        client.node.create_subscription(ChunkLatency, names.CHUNK_LATENCY, lambda m: note_motion(book, m), qos.REPORT)
        console = _console()
        with Live(_table(book, source, console.width), console=console, auto_refresh=False, transient=options.json) as live:
            try:
                while (left_s := end_s - time.monotonic()) > 0.0:
                    client.spin(min(REFRESH_S, left_s))
                    if not options.json:
                        live.update(_table(book, source, console.width), refresh=True)
            except KeyboardInterrupt:
                pass
    return book, source


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _table(book: LatencyBook, source: str, width: int) -> Table:
    """The book as people read it, in ``width`` columns; a row is red where more than one chunk in twenty is over its budget."""
    from rich.table import Table

    from dex_core.latency.book import FROM_REST, OVERHEAD, TOTAL
    from dex_core.latency.stages import WORDS

    words = {**WORDS, TOTAL: "exposure to first command", OVERHEAD: "of it besides the model", FROM_REST: "the same, from rest"}
    worst = f"; worst: {book.worst()}" if book.worst() else ""
    title = f"{source}: {book.chunks} chunks{worst}" if book.chunks else f"{source}: waiting for a chunk"
    table = Table(title=title, title_justify="left", caption="milliseconds, of the newest chunks; share over budget", caption_justify="left")
    explained = width >= EXPLAINED_COLUMNS
    for name in ("stage", *(["spent on"] if explained else [])):
        table.add_column(name, no_wrap=True)
    for name in ("p50", "p95", "p99", "budget", "over", "last"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stage in book.stages.items():
        newest = stage.newest
        style = "red" if newest.over > TOLERATED else "bold" if name in (TOTAL, OVERHEAD) else ""
        numbers = [f"{value:.1f}" for value in (newest.p50_ms, newest.p95_ms, newest.p99_ms)]
        row = [name, *([words[name]] if explained else []), *numbers, f"{stage.budget_ms:g}", f"{newest.over:.0%}", f"{stage.last_ms:.1f}"]
        table.add_row(*row, style=style, end_section=name in ("first_command", OVERHEAD))
    return table
