# SPDX-License-Identifier: Apache-2.0
"""`dex bench`: measure the stack against its goals."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from dex_bringup.bench import BENCHES

EXAMPLES = """examples:
  dex bench closed-loop --task push-cans --seeds 20
  dex bench control-jitter --check          exit 1 and name the goal when one is missed
  dex bench latency --json | jq .figures.overhead_p50_ms"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0, or 1 with --check when a goal is missed."""
    parser = argparse.ArgumentParser(prog="dex bench", description="Measures the stack; every benchmark knows its goals.", epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    benches = parser.add_subparsers(title="benchmarks", metavar="NAME", dest="bench", required=True)
    chosen = argv[0] if argv and argv[0] in BENCHES else None
    for name, text in BENCHES.items():
        sub = benches.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one object {name, machine, versions, figures, goals, met}")
        sub.add_argument("--check", action="store_true", help="exit 1 and name the goal where one is not met")
        sub.add_argument("--cell", default="xarm_bimanual", help="cell name or YAML file (default %(default)s)")
        if name == chosen:
            module = importlib.import_module(f"dex_bringup.bench.{name.replace('-', '_')}")
            module.add_arguments(sub)
    options = parser.parse_args(list(argv))
    report = module.run(options, _say)
    sys.stdout.write((json.dumps(_plain(report.as_json()), indent=1) if options.json else report.as_table()) + "\n")
    if options.check and report.missed:
        sys.stderr.write("".join(f"goal missed: {text}\n" for text in report.missed))
        return 1
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _plain(value: Any) -> Any:
    """NaN has no place in JSON: null instead."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
