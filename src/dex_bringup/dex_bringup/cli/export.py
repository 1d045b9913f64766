# SPDX-License-Identifier: Apache-2.0
"""`dex export`: recordings in other people's formats, and a cell as other people's robot."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

EXAMPLES = """examples:
  dex export lerobot ~/.ros/dex/RUN/bag --out cans            one recording, an episode per goal
  dex export lerobot RUN1/bag RUN2/bag --out cans --fps 20    several of the same cell, at another rate
  dex export lerobot BAG --out cans --pictures png            every pixel as it was (large)
  dex export lerobot-robot --cell xarm_bimanual --out teleop  the cell as a robot of lerobot's own tools

The first needs: pip install -c constraints.txt -r requirements-lerobot.txt"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex export", description="Writes recordings as a dataset that the lerobot package loads (format v3.0), or a cell as its robot.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=["lerobot", "lerobot-robot"])
    parser.add_argument("bags", type=Path, nargs="*", metavar="BAG", help="recording folder, run folder or .mcap file")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written; must not exist")
    parser.add_argument("--cell", default="", help="lerobot-robot: which cell")
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="lerobot-robot: where lerobot's process listens (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=0, help="frames per second (default: the camera's rate)")
    parser.add_argument("--limit-ms", type=float, default=0.0, help="how far a sample may be from its frame (default: 0.6 of a frame)")
    parser.add_argument("--task", default="", help="instruction for the whole recording, instead of those of its goals")
    parser.add_argument("--pictures", choices=["av1", "h264", "png"], default="av1", help="how pictures are stored")
    parser.add_argument("--min-s", type=float, default=1.0, help="leave shorter stretches out")
    parser.add_argument("--strict", action="store_true", help="refuse a recording with a gap instead of ending the episode there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(list(argv))
    if not 0 <= options.fps <= 1000 or not options.limit_ms >= 0.0:
        parser.error(f"--fps {options.fps} --limit-ms {options.limit_ms}: allowed 0 to 1000 frames per second, and no negative limit")
    if bool(options.bags) != (options.format == "lerobot") or bool(options.cell) != (options.format == "lerobot-robot"):
        parser.error("lerobot takes recordings, lerobot-robot a --cell")
    return _robot(options) if options.cell else _dataset(options)


def _robot(options: argparse.Namespace) -> int:
    """The description that lerobot's process is called by, and the cell that calls it at every picture."""
    from dex_core.config import load_cell
    from dex_policy.foreign.describe import calling_cell, describe_cell, write_description

    cell, robot, file = load_cell(options.cell), (options.out / "robot").resolve(), (options.out / "cell.yaml").resolve()
    write_description(describe_cell(cell, options.url), robot)
    calling_cell(cell, robot).save(file)
    sys.stdout.write(f"{robot}: for lerobot, --robot.type=dex --robot.description={robot}\n{file}: for dex up {file}\n")
    return 0


def _dataset(options: argparse.Namespace) -> int:
    from dex_eval.lerobot import Choices, export

    choices = Choices(options.fps, options.limit_ms * 1e-3, options.task, options.pictures, options.min_s, options.strict)
    report = export(options.bags, options.out, choices)
    if options.json:
        sys.stdout.write(json.dumps(asdict(report), indent=1) + "\n")
        return 0
    sys.stdout.write(f"{report.root}: {len(report.episodes)} episodes, {report.frames} frames at {report.fps} per second\n")
    for e in report.episodes:
        worst = max(e["farthest_ms"].items(), key=lambda item: item[1])
        sys.stdout.write(f"  {e['episode']:>4}  {e['frames'] / report.fps:7.1f} s  {e['task']!r}, farthest sample {worst[1]} ms ({worst[0]})\n")
    for gap in report.gaps:
        sys.stdout.write(f"  gap at {gap['at_s']} s: nothing of {gap['stream']} near\n")
    if report.too_short:
        sys.stdout.write(f"  {report.too_short} stretches shorter than {options.min_s} s left out\n")
    return 0
