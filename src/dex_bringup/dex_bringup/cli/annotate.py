# SPDX-License-Identifier: Apache-2.0
"""`dex annotate`: robot keypoints of a recording or a running cell as a COCO file and a video."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dex_bringup.annotate.files import AnnotationFiles
    from dex_bringup.annotate.intake import Intake
    from dex_core.config import CameraConfig, CellConfig
    from dex_perception.keypoints.annotator import Annotator
    from dex_perception.keypoints.assemble import Limits

EXAMPLES = """what comes out:
  DIR/annotations.json   COCO keypoints: 21 points of each hand, every joint of each arm; visibility 0 no such point or outside the picture,
                         1 hidden, 2 seen; masks as run lengths, boxes, points in the camera's frame, stamp and lens of each picture
  DIR/images/*.png       the pictures as they were
  DIR/overlay.mp4        skeletons, masks and boxes over them

examples:
  dex annotate ~/.ros/dex/RUN/bag -o set1               a recording; the cell is read from it
  dex annotate RUN/bag -o set1 --every 5 --no-video     each fifth picture
  dex annotate --live -o set2 --seconds 30              a running cell
  dex annotate --check set1                             is it what trainers expect?

A picture whose joints were not measured before AND after it, or whose camera's place is unknown, is left out and counted.
Exit code: 0 annotated, 1 nothing was, or the source is refused, 2 wrong use."""
SILENT_S = 10.0


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex annotate", description="Writes where the robots' keypoints are in pictures, by forward kinematics, and which of them are seen.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="BAG name:=value", help="recording folder, run folder or .mcap file; left_hand:= ... with --live")
    parser.add_argument("--live", action="store_true", help="a running cell in place of a recording")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--check", type=Path, metavar="DIR", help="only check a folder that was written")
    parser.add_argument("--cell", default="", help="cell name or YAML file (default: the recorded one; live: xarm_bimanual)")
    parser.add_argument("--camera", default="", help="of a cell with several (default: its first)")
    parser.add_argument("--namespace", default="", help="of a live cell")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each n-th picture of a recording (default all)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to watch a live cell (default %(default)s)")
    parser.add_argument("--max-gap", type=float, default=0.1, metavar="S", help="longest gap of joint states that is bridged (default %(default)s)")
    parser.add_argument("--depth-tolerance", type=float, metavar="MM", help="a depth this much nearer hides the robot (default: by camera)")
    parser.add_argument("--no-video", action="store_true", help="no overlay.mp4")
    parser.add_argument("--no-masks", action="store_true", help="no masks; boxes around the points then: several times faster")
    parser.add_argument("--json", action="store_true", help="print the result as one object")
    options = parser.parse_args(list(argv))
    if options.check is not None:
        return _check(options)
    _check_use(parser, options)
    result = _live(options) if options.live else _recorded(options)
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if options.json else _text(result))
    return 0 if result["annotated"] else 1


def _check_use(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    bags = [word for word in options.words if ":=" not in word]
    if options.out is None or len(bags) != (0 if options.live else 1):
        parser.error("give a recording, or --live, and -o DIR; dex annotate --help has examples")
    if not options.live and len(bags) != len(options.words):
        parser.error("name:=value is for --live: a recording says itself which cell it is of")
    if options.every < 1 or not 0.0 < options.max_gap <= 10.0 or not 0.0 < options.seconds <= 86_400.0:
        parser.error("allowed: --every from 1, --max-gap above 0 to 10 s, --seconds above 0")
    if options.depth_tolerance is not None and not 0.0 <= options.depth_tolerance <= 1000.0:
        parser.error(f"--depth-tolerance is {options.depth_tolerance}; allowed: 0 to 1000 mm")


def _check(options: argparse.Namespace) -> int:
    from dex_perception.keypoints.coco_check import check_folder

    counts = check_folder(options.check)
    sys.stdout.write(json.dumps(counts) + "\n" if options.json else f"{options.check}: {', '.join(f'{n} {what}' for what, n in counts.items())}\n")
    return 0


def _recorded(options: argparse.Namespace) -> dict[str, Any]:
    from dex_bringup.annotate.files import AnnotationFiles
    from dex_bringup.annotate.recorded import RecordedSamples
    from dex_core.config import load_cell

    with _bar("annotating", 1.0) as tell:
        cell = load_cell(options.cell) if options.cell else None
        source = RecordedSamples(Path(options.words[0]), cell, options.camera, _limits(options), options.every, tell)
        about = {"source": str(options.words[0]), "cell": source.cell.name, "camera": source.intake.camera}
        with AnnotationFiles(options.out, _annotator(source.cell, source.intake.config, options), _rate(options, source.rate_hz), about) as files:
            started_s = time.monotonic()
            for sample in source:
                files.add(sample)
    return _result(files, source.intake, options, time.monotonic() - started_s)


def _live(options: argparse.Namespace) -> dict[str, Any]:
    from dex_bringup.annotate.files import AnnotationFiles
    from dex_bringup.annotate.intake import Intake
    from dex_bringup.annotate.live import LiveSamples
    from dex_bringup.cli._arguments import parse_words
    from dex_core.config import load_cell

    cell = load_cell(options.cell or "xarm_bimanual", **parse_words(options.words))
    intake = Intake(cell, options.camera, _limits(options))
    about = {"source": "live", "cell": cell.name, "camera": intake.camera}
    annotator = _annotator(cell, intake.config, options)
    with LiveSamples(intake, options.namespace.strip("/")) as source, _bar("annotating", 1.0) as tell:
        samples = source.next(SILENT_S)  # before anything is written
        with AnnotationFiles(options.out, annotator, _rate(options, intake.config.rate_hz), about) as files:
            started_s = time.monotonic()
            while True:
                for sample in samples:
                    files.add(sample)
                gone_s = time.monotonic() - started_s
                tell(min(1.0, gone_s / options.seconds))
                if gone_s >= options.seconds:
                    break
                samples = source.next(SILENT_S)
    return _result(files, intake, options, time.monotonic() - started_s)


def _annotator(cell: CellConfig, camera: CameraConfig, options: argparse.Namespace) -> Annotator:
    from dex_perception.keypoints.annotator import Annotator
    from dex_perception.keypoints.visibility import DepthTolerance, tolerance_of

    given = options.depth_tolerance
    return Annotator(cell, tolerance_of(camera.driver) if given is None else DepthTolerance(given * 1e-3), masks=not options.no_masks)


def _limits(options: argparse.Namespace) -> Limits:
    from dex_perception.keypoints.assemble import Limits

    return Limits(max_gap_s=options.max_gap)


def _rate(options: argparse.Namespace, rate_hz: float) -> float:
    return 0.0 if options.no_video else rate_hz


def _result(files: AnnotationFiles, intake: Intake, options: argparse.Namespace, wall_s: float) -> dict[str, Any]:
    return {
        "folder": str(options.out), "annotated": files.annotated, "skipped": dict(intake.assembler.skipped), "refused": dict(intake.refused),
        "newest_problem": intake.assembler.newest_problem or intake.newest_refusal, "points": dict(files.points), "wall_s": round(wall_s, 2),
    }


def _text(r: dict[str, Any]) -> str:
    skipped = ", ".join(f"{count} {code}" for code, count in r["skipped"].items()) or "none"
    lines = [
        f"{r['folder']}: {r['annotated']} pictures annotated in {r['wall_s']:.1f} s; left out: {skipped}",
        f"points: {r['points']['visible']} seen, {r['points']['hidden']} hidden; {r['points']['without_depth']} where the camera knew no depth",
    ]
    if r["refused"] or not r["annotated"]:
        lines.append(f"messages not understood: {r['refused'] or 'none'}; last: {r['newest_problem'] or 'nothing'}")
    return "\n".join(lines) + "\n"


@contextmanager
def _bar(title: str, total: float) -> Iterator[Any]:
    """A progress bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(TextColumn(title), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(), console=console,
                  disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda share: bar.update(task, completed=share)
