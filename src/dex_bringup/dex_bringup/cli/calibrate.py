# SPDX-License-Identifier: Apache-2.0
"""`dex calibrate`: where a camera is, by a board on the flange or before it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dex_bringup.calibrate.gather import Gathered
    from dex_perception.calibrate import Calibration

EXAMPLES = """examples:
  dex calibrate board --pdf board.pdf                                    print it at 100 %, measure the ruler on it
  dex calibrate camera front --arm left_arm --setup eye-to-hand           with the cell running; move the arm by hand or jog
  dex calibrate camera front --arm left_arm --setup eye-to-hand --from ~/calibration/front
  dex calibrate camera wrist --cell my_cell.yaml --setup eye-in-hand --from RUN/bag --yes
  dex calibrate prove --setup eye-in-hand --joint-noise-deg 0.02          how exact it would be, on drawn pictures"""
SETUPS = ("eye-in-hand", "eye-to-hand")
DOUBTS = (
    ("error of the lens", "floor_px", 0.6, "px: calibrate the lens itself first"),
    ("spread of the board", "spread_mm", 4.0, "mm over the views: board or camera is loose, or the arm's model is off"),
    ("deviation of the camera", "deviation_mm", 2.0, "mm: more views, more tilt"),
    ("deviation of the camera", "deviation_deg", 0.3, "deg: more views, more tilt"),
)
"""What is said of a result: words, field, most that is usual, and what to do."""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex calibrate", description="Finds where a camera is, with a ChArUco board. Moves nothing. Exit code: 0 done, 1 failed, 2 wrong use.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_board(verbs.add_parser("board", help="draw a board to print", description="Draws a board in its true size, with a ruler."))
    _add_camera(verbs.add_parser("camera", help="calibrate a camera of a cell", description="Collects views, calibrates, writes the cell's file."))
    _add_prove(verbs.add_parser("prove", help="calibrate a drawn rig whose truth is known", description="Draws pictures with noise and calibrates."))
    options = parser.parse_args(list(argv))
    return {"board": _board, "camera": _camera, "prove": _prove}[options.verb](options)


def _add_board(sub: argparse.ArgumentParser) -> None:
    _board_option(sub)
    sub.add_argument("--pdf", type=Path, help="file to write")
    sub.add_argument("--png", type=Path, help="the same as a picture of 600 dots per inch")
    sub.add_argument("--paper", default="a4", help="a4, a3, a2 or letter (default %(default)s)")


def _add_camera(sub: argparse.ArgumentParser) -> None:
    _board_option(sub)
    sub.add_argument("camera", nargs="?", default="", help="of the cell; its only one when left out")
    sub.add_argument("--setup", choices=SETUPS, required=True, help="camera on the flange and the board standing, or the other way round")
    sub.add_argument("--cell", default="xarm_bimanual", help="cell name or YAML file, which is written (default %(default)s)")
    sub.add_argument("--arm", default="", help="interface that carries the camera or the board, e.g. left_arm")
    sub.add_argument("--side", choices=("left", "right"), default="", help="of a body with two arms")
    sub.add_argument("--from", dest="source", type=Path, metavar="PATH", help="a folder with session.yaml or a recording; else the running cell")
    sub.add_argument("--folder", type=Path, help="where views of a running cell are kept (default ~/.ros/dex/calibration/...)")
    sub.add_argument("--namespace", default="", help="of the running cell")
    sub.add_argument("--yes", action="store_true", help="write without asking")
    sub.add_argument("--dry-run", action="store_true", help="show what would be written")
    sub.add_argument("--json", action="store_true", help="print the result as one object")


def _add_prove(sub: argparse.ArgumentParser) -> None:
    _board_option(sub)
    sub.add_argument("--setup", choices=SETUPS, default=SETUPS[0], help="default %(default)s")
    sub.add_argument("--views", type=int, default=20, help="default %(default)s")
    sub.add_argument("--joint-noise-deg", type=float, default=0.02, help="how wrong every joint reads, one sigma (default %(default)s)")
    sub.add_argument("--pixel-noise", type=float, default=3.0, help="sigma in grey levels (default %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="default %(default)s")
    sub.add_argument("--json", action="store_true", help="print the result as one object")


def _board_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--board", default="7x5,30mm,22mm,5X5_100", help="columns x rows, square, marker, dictionary (default %(default)s)")


def _board(options: argparse.Namespace) -> int:
    from dex_core.errors import ConfigError
    from dex_perception.calibrate import Board

    board, paths = Board.parse(options.board), [p for p in (options.pdf, options.png) if p is not None]
    if not paths:
        raise ConfigError("give --pdf FILE or --png FILE")
    for path in paths:
        board.print_to(path, options.paper)
        _say(f"{path}: print at 100 %, check that the ruler is 100 mm, glue it on something flat; then use  --board {board}")
    return 0


def _camera(options: argparse.Namespace) -> int:
    from dex_bringup.calibrate.carrier import Carrier
    from dex_bringup.calibrate.cellfile import change_of
    from dex_bringup.device.session import ask
    from dex_core.config import load_cell
    from dex_perception.calibrate import Setup, calibrate

    cell = load_cell(options.cell)
    camera = cell.camera(options.camera)
    carrier = Carrier(cell, options.arm, options.side)
    gathered = _gather(options, carrier, cell.camera_scope(camera), f"{cell.name}_{camera}")
    collector = gathered.collector
    _note(f"{len(collector.views)} views" + "".join(f", {count} {code}" for code, count in gathered.refused.most_common()))
    found = calibrate(collector.views, collector.board, collector.intrinsics, Setup(options.setup))
    written = carrier.written(found)
    change = change_of(options.cell, camera, written)
    _show(found, {"pose": {"xyz_m": written.pose.xyz_m, "rpy_rad": written.pose.rpy_rad}, "mounted_on": written.mounted_on}, options.json)
    _note(change.diff or f"{change.path}: nothing to change")
    if options.dry_run or not change.diff or not (options.yes or ask("the camera", camera)):
        return 0
    change.write()
    _note(f"{change.path} written")
    return 0


def _gather(options: argparse.Namespace, carrier: object, scope: str, name: str) -> Gathered:
    from dex_bringup.calibrate import gather
    from dex_bringup.calibrate.pairs import Topics
    from dex_perception.calibrate import Board

    topics, board = Topics.of(carrier.interface, scope), Board.parse(options.board)  # type: ignore[attr-defined]
    if options.source is None:
        folder = options.folder or Path.home() / ".ros/dex/calibration" / f"{name}_{time.strftime('%Y%m%d_%H%M%S')}"
        return gather.from_cell(topics, carrier, board, folder, options.namespace, _note)  # type: ignore[arg-type]
    if gather.is_session(options.source):
        return gather.from_folder(options.source, carrier, _note)  # type: ignore[arg-type]
    return gather.from_recording(options.source, topics, carrier, board, _note)  # type: ignore[arg-type]


def _prove(options: argparse.Namespace) -> int:
    import numpy as np

    from dex_perception.calibrate import Board, Setup
    from dex_perception.calibrate.poses import angle, distance
    from dex_perception.calibrate.synthetic import example_rig, prove

    setup = Setup(options.setup)
    noise = {"joint_noise_rad": float(np.radians(options.joint_noise_deg)), "noise": options.pixel_noise}
    rig = example_rig(Board.parse(options.board), on_flange=setup is Setup.IN_HAND, **noise)
    found = prove(rig, options.views, np.random.default_rng(options.seed))
    error = {"true_error_mm": 1e3 * distance(found.camera, rig.camera), "true_error_deg": float(np.degrees(angle(found.camera, rig.camera)))}
    _show(found, error, options.json)
    return 0


def _show(found: Calibration, more: dict, as_json: bool) -> None:
    if as_json:
        _say(json.dumps(found.figures() | more, indent=1))
        return
    figures = found.figures() | more
    width = max(map(len, figures))
    _say("\n".join(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}" for name, value in figures.items()))
    for name, (mm, deg) in found.methods.items():
        _say(f"closed form {name}: {mm:.2f} mm and {deg:.3f} deg from the result")
    for words, field, most, unit in DOUBTS:
        if getattr(found, field) > most:
            _say(f"doubtful: {words} is {getattr(found, field):.2f}, more than {most:g} {unit}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()
