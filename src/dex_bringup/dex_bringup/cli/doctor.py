# SPDX-License-Identifier: Apache-2.0
"""`dex doctor`: what is installed, missing, reachable."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

EXAMPLES = """examples:
  dex doctor                         this machine and the default cell
  dex doctor --reach my_cell.yaml    also try to reach the real robots (TCP connect only, nothing moves)
  dex doctor --ping 192.168.1.201 192.168.11.210:6000    how long the way to given devices takes
  dex doctor --json"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0 when nothing needed is missing."""
    parser = argparse.ArgumentParser(
        prog="dex doctor",
        description="Says what is installed, missing and reachable, and what to do about it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cell", nargs="?", default="xarm_bimanual", help="cell to look at (default %(default)s)")
    parser.add_argument("--reach", action="store_true", help="try to reach the cell's real devices")
    parser.add_argument(
        "--ping", nargs="+", default=[], metavar="HOST[:PORT]", help="measure the round trip to these addresses (TCP, nothing is sent)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(list(argv))
    from dex_bringup.doctor import examine

    findings = []
    for finding in examine(options.cell, options.reach, options.ping):
        findings.append(finding)
        if not options.json:
            sys.stdout.write(f"{finding.level:<8} {finding.topic:<24} {finding.text}\n")
    missing = [finding.topic for finding in findings if finding.level == "missing"]
    if options.json:
        sys.stdout.write(json.dumps({"missing": missing, "findings": [vars(f) for f in findings]}, indent=1) + "\n")
    elif missing:
        sys.stdout.write(f"missing: {', '.join(missing)}\n")
    return 1 if missing else 0
