# SPDX-License-Identifier: Apache-2.0
"""`dex import`: other people's recordings through our policies."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  dex import lerobot cans --episode 0                          the policy of the cell it was exported from, on its first episode
  dex import lerobot cans --episode 0 --bundle my_pi0 --json   another bundle, or a description of a server; numbers as of dex eval
  dex import lerobot DIR --cell xarm_bimanual --unit deg       a dataset of somebody else, whose names are our joints
  dex import lerobot cans --episode 3 --keep bag               only write it as a recording

Needs: pip install -c constraints.txt -r requirements-lerobot.txt"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex import", description="Replays an episode of a LeRobot dataset (v3.0) through a policy, as dex eval does with a recording.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=["lerobot"])
    parser.add_argument("dataset", type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--episode", type=int, default=0, help="which episode (default: the first)")
    parser.add_argument("--cell", default="", help="cell whose joints the dataset names (default: the one it was exported from)")
    parser.add_argument("--unit", choices=["rad", "deg"], default="", help="of names that do not say it")
    parser.add_argument("--bundle", default="", help="policy to score (default: the cell's)")
    parser.add_argument("--instruction", default="", help="instead of the episode's task")
    parser.add_argument("--keep", type=Path, metavar="BAG", help="write the episode as a recording to this new folder, and score nothing")
    parser.add_argument("--json", action="store_true", help="print the whole result as one JSON object")
    parser.add_argument("--out", help="folder for eval.json and eval.png")
    options = parser.parse_args(list(argv))
    from dex_eval.lerobot.importing import cell_of, to_recording
    from dex_eval.lerobot.reading import open_dataset

    dataset = open_dataset(options.dataset)
    cell = cell_of(dataset, options.cell)
    if options.keep is not None:
        frames = to_recording(dataset, options.episode, cell, options.keep, options.unit)
        sys.stdout.write(f"{options.keep}: {frames} frames of episode {options.episode}, {dataset.task(options.episode)!r}\n")
        return 0
    from dex_bringup.cli import eval as scoring

    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / f"{options.dataset.name}_{options.episode}"
        to_recording(dataset, options.episode, cell, bag, options.unit)
        words = [str(bag), "--instruction", options.instruction or dataset.task(options.episode)]
        words += ["--bundle", options.bundle] if options.bundle else []
        words += ["--json"] if options.json else []
        words += ["--out", options.out] if options.out else []
        return scoring.main(words)
