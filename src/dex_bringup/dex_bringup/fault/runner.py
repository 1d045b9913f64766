# SPDX-License-Identifier: Apache-2.0
"""`dex fault run`: plays the matrix and prints what was expected beside what was seen."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dex_bringup.fault.matrix import LEFT_OUT, chosen
from dex_bringup.fault.play import LEVELS, Fault, Stage
from dex_core.contracts.command_spy import CommandSpy, spying
from dex_core.errors import DexError

PASSED, FAILED, UNSAFE = "passed", "FAILED", "UNSAFE"
HEAD = ("fault", "level", "what goes wrong", "injected", "expected", "seen", "hold", "verdict")
WIDTHS = (5, 6, 24, 20, 28, 50, 8, 7)


@dataclass(frozen=True)
class Played:
    """One fault that was played: what was seen, how long to the hold [ms], how many commands were looked at, and the verdict."""

    fault: Fault
    seen: str
    hold_ms: float | None
    commands: int
    seconds: float
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Flat, for a file."""
        return {**asdict(self.fault), **{key: value for key, value in asdict(self).items() if key != "fault"}}


def play(fault: Fault, stage: Stage) -> Played:
    """Plays one fault and judges it; a command that was unsafe outweighs what was seen."""
    spy = stage.spy
    began, before = time.monotonic(), spy.seen
    hold_ms, verdict = None, PASSED
    try:
        seen = fault.play(stage)
        text, hold_ms = seen.text, seen.hold_ms
    except DexError as error:
        text, verdict = f"[{error.code}] {error}", FAILED
    except Exception as error:  # noqa: BLE001 - what a fault brings down is a verdict, not the end of the run
        text, verdict = f"{type(error).__name__}: {error}", FAILED
    try:
        spy.require_safe()
    except AssertionError as error:
        text, verdict = str(error), UNSAFE
    return Played(fault, " ".join(text.split()), hold_ms, spy.seen - before, time.monotonic() - began, verdict)


def spied_stage(spy: CommandSpy) -> Any:
    """Puts the spy behind every gate, driver and joint that runs in this process."""
    from dex_control.gate import Gate
    from dex_core.devices.limited import Limited
    from dex_sim.plant import KinematicPlant

    return spying(spy, gates=[Gate], limited=[Limited], plants=[KinematicPlant])


def table_row(cells: Sequence[str]) -> str:
    """One row of the table, its cells wrapped."""
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, WIDTHS, strict=True)]
    lines = max(len(column) for column in columns)
    rows = [[column[k] if k < len(column) else "" for column in columns] for k in range(lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, WIDTHS, strict=True)).rstrip() for row in rows)


def row_of(played: Played) -> str:
    """One fault as a row."""
    fault, hold = played.fault, "" if played.hold_ms is None else f"{played.hold_ms:.0f} ms"
    return table_row((fault.number, fault.level, fault.title, fault.injected, fault.expected, played.seen, hold, played.verdict))


def main(argv: Sequence[str]) -> int:
    """Entry of `dex fault run`: 0 when every fault was survived as expected, else 1."""
    levels = "\n".join(f"  {name:<7} {text}" for name, text in LEVELS.items())
    parser = argparse.ArgumentParser(
        prog="dex fault run", description="Plays the faults F1 to F41 on simulators, each with its expected result; every command is looked at.",
        epilog=f"levels:\n{levels}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("numbers", nargs="*", metavar="F6", help="which; default: all")
    parser.add_argument("--list", action="store_true", help="say what is played and what is left out, and why")
    parser.add_argument("--level", choices=list(LEVELS), action="append", help="only these levels; may be given again")
    parser.add_argument("--cell", default="xarm_bimanual", help="cell name or YAML file (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one object instead of the table")
    options = parser.parse_args(list(argv))
    faults = [fault for fault in chosen(options.numbers) if not options.level or fault.level in options.level]
    if options.list:
        sys.stdout.write(_listed(faults) + "\n")
        return 0
    return _play_all(faults, options.cell, options.json)


def _listed(faults: Sequence[Fault]) -> str:
    rows = [f"{f.number:<4} {f.level:<7} {f.title}; injected: {f.injected}; expected: {f.expected}" for f in faults]
    return "\n".join([*rows, *(f"{number:<4} not played: {why}" for number, why in LEFT_OUT.items())])


def _play_all(faults: Sequence[Fault], cell: str, as_json: bool) -> int:
    spy, results = CommandSpy(), []
    stage = Stage(cell, spy, lambda text: sys.stderr.write(f"{text}\n"))
    if not as_json:
        sys.stdout.write(table_row(HEAD) + "\n")
    try:
        with spied_stage(spy):
            for fault in sorted(faults, key=lambda f: f.level == "live"):
                results.append(play(fault, stage))
                if not as_json:
                    sys.stdout.write(row_of(results[-1]) + "\n")
                    sys.stdout.flush()
    finally:
        stage.close()
    missed = [played for played in results if played.verdict != PASSED]
    if as_json:
        out = {"played": [played.as_json() for played in results], "left_out": LEFT_OUT, "commands": spy.seen, "passed": not missed}
        sys.stdout.write(json.dumps(out, indent=1) + "\n")
    else:
        left = "".join(f"{number} not played: {why}\n" for number, why in LEFT_OUT.items())
        sys.stdout.write(f"{left}{len(results) - len(missed)} of {len(results)} as expected; {spy.seen} commands looked at, {spy.unsafe} unsafe\n")
    return 1 if missed else 0
