# SPDX-License-Identifier: Apache-2.0
"""The `dex` command: verbs, one module each, imported only when chosen."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

VERBS = {
    "up": "start a cell and keep it running until Ctrl-C",
    "run": "give a running cell one instruction and wait for the result",
    "swap": "put another hand on one side of a running cell",
    "demo": "start the simulated cell, run the task, show the result",
    "record": "repair a recording that was cut off, or say what is in one",
    "eval": "replay a recording without a robot and score a model on it",
    "latency": "show where the time of each chunk goes, live or in a recording",
    "export": "write recordings as a LeRobot dataset",
    "import": "replay a LeRobot dataset through a policy and score it",
    "bundle": "verify and show model bundles",
    "serve": "offer model bundles to other machines by an existing inference server",
    "annotate": "write where the robots' keypoints are in recorded or live pictures (COCO)",
    "show": "look at a hand, an arm or a cell in a browser, or draw it",
    "sim": "run the simulator of one device alone, for the vendor's own client",
    "calibrate": "find where a camera is, with a printed board",
    "device": "read one device, move one joint of it, calibrate it",
    "doctor": "say what is installed, missing and reachable",
    "fault": "break one part of a simulated cell on purpose, or play the whole matrix of faults",
    "bench": "measure the stack against its goals",
    "learn": "make demonstrations, train, export and score models (needs torch)",
}

_HELP = """usage: dex VERB [...]

Runs dexterous-hand policies on robot cells, simulated unless told otherwise.

verbs:
{verbs}

examples:
  dex demo                                      see it work, no screen needed
  dex up record:=true                           start the cell, record everything
  dex run "Push the two tomato cans together"   in a second terminal
  dex swap left leap                            another hand on the left arm, policy untouched
  dex eval ~/.ros/dex/RUN/bag                   score the model on the recording
  dex show ability                              a hand in the browser, a slider per joint
  dex up sim:=false addresses:=left_arm=192.168.1.11,...   real hardware

Each verb has its own help: dex VERB --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code (0 done, 1 failed, 2 wrong use)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_HELP.format(verbs="\n".join(f"  {name:<9} {text}" for name, text in VERBS.items())) + "\n")
        return 0 if words else 2
    verb, *rest = words
    if verb not in VERBS:
        sys.stderr.write(f"dex: no verb is called {verb!r}; there is: {', '.join(VERBS)}\n")
        return 2
    return _run(importlib.import_module(f"dex_bringup.cli.{verb}"), verb, rest)


def _run(module: object, verb: str, rest: list[str]) -> int:
    from dex_core.errors import ConfigError, DexError

    try:
        return int(module.main(rest))  # type: ignore[attr-defined]
    except DexError as error:
        sys.stderr.write(f"dex {verb}: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndex {verb}: stopped\n")
        return 130
    except BrokenPipeError:
        return 0
