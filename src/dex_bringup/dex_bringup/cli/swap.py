# SPDX-License-Identifier: Apache-2.0
"""`dex swap`: another hand on one side of a running cell."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

EXAMPLES = """examples:
  dex swap left leap                        the left hand is a LEAP hand from now on
  dex swap right xhand --namespace cell1
  dex swap left inspire --address 192.168.11.210:6000     real hardware, if the cell file has no address for it
  dex run "Push the two tomato cans together" --reset     the robot is stopped after a swap

Nothing may run; the robot is stopped first and moves again only after a reset and a new goal. The decoders and the driver of that side are
started anew, every other process stays, the policy untouched. If the new hand does not start, the old one comes back.
Works on a cell started by dex up; one started by ros2 launch is ended and started again with left_hand:=..."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0 only if the new hand is there."""
    what = "Puts another hand on one side of a running cell; policy and gate are not restarted."
    parser = argparse.ArgumentParser(prog="dex swap", description=what, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("left", "right"))
    parser.add_argument("hand", help="name or alias, e.g. inspire, ability, xhand, dexh13, leap")
    parser.add_argument("--address", default="", metavar="ADDR", help="real hardware: address of the new hand (default: that of the cell file)")
    parser.add_argument("--namespace", default="", help="namespace of the cell (default: none)")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="longest wait for an answer (default 120 s)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse_args(list(argv))
    if not 0.0 < options.timeout <= 3600.0:
        parser.error(f"--timeout is {options.timeout}; allowed: above 0, at most 3600 s")
    return _swap(options)


def _swap(options: argparse.Namespace) -> int:
    from dex_bringup.client import CellClient

    with CellClient(options.namespace.strip("/")) as client:
        answer = client.swap_hand(options.side, options.hand, options.address, options.timeout)
    if options.json:
        found = {"success": answer.success, "reason": answer.reason, "detail": answer.detail, "duration_s": answer.duration_s}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        words = answer.detail if answer.success else f"refused or failed [{answer.reason}]: {answer.detail}"
        sys.stdout.write(f"{words} ({answer.duration_s:.1f} s)\n")
    return 0 if answer.success else 1
