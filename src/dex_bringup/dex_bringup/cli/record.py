# SPDX-License-Identifier: Apache-2.0
"""`dex record`: what is in a recording, and repair of one that was cut off."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  dex up record:=true                      make a recording (also: ros2 launch ... record:=true)
  dex record ~/.ros/dex/RUN/bag            what is in it
  dex record cut/bag --repair whole/bag    after a power cut: write what is readable as a whole recording

Recordings are MCAP folders: ros2 bag info/play, rosbags and Foxglove open them."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(prog="dex record", description="Says what a recording holds, or repairs it.", epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="recording folder, run folder or .mcap file")
    parser.add_argument("--repair", type=Path, metavar="NEW", help="write a whole copy to this new folder")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(list(argv))
    from dex_eval.bag import Recording, repair

    if options.repair is not None:
        sys.stdout.write(f"{repair(options.bag, options.repair)} messages written to {options.repair}\n")
        return 0
    recording = Recording(options.bag)
    if options.json:
        facts = {"path": str(recording.path), "duration_s": recording.duration_s, "truncated": recording.truncated, "topics": recording.counts,
                 "attachments": sorted(recording.attachments), "metadata": recording.metadata.get("dex", {})}
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return 0
    cut = "; its end was cut off, everything before is readable" if recording.truncated else ""
    sys.stdout.write(f"{recording.path}: {recording.duration_s:.1f} s{cut}\n")
    for topic, count in sorted(recording.counts.items()):
        sys.stdout.write(f"  {count:>7}  {topic}  ({recording.types[topic]})\n")
    return 0
