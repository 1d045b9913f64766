# SPDX-License-Identifier: Apache-2.0
"""`dex show camera`: what a running cell's camera sees, with skeletons, masks and boxes, in a browser or as one picture."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dex_bringup.annotate.live import LiveSamples
    from dex_bringup.show.camera_view import CameraView

EXAMPLES = """what you see:
  21 points of each hand (thumb orange, index green, middle blue, ring violet, little pink; filled: seen, open: hidden), the joints of each arm,
  each robot's visible part as a mask with a box, and the object that the segmentation found
  below: how old the picture is, and what is missing when none comes

examples:
  dex show camera                                  of the running default cell, at 10 pictures a second
  dex show camera left_hand:=leap --rate 5         as the cell was started
  dex show camera --save now.png                   one picture, no screen needed"""
SILENT_S = 1.0
JPEG_QUALITY = 85


def main(argv: Sequence[str]) -> int:
    """Entry, with the words after ``dex show camera``."""
    parser = argparse.ArgumentParser(
        prog="dex show camera", description="Shows a running cell's camera with what is known of its robots drawn in, until Ctrl-C. Moves nothing.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="name:=value", help="hand:= left_hand:= right_hand:= arm:= ... as of dex up")
    parser.add_argument("--cell", default="xarm_bimanual", help="cell name or YAML file (default %(default)s)")
    parser.add_argument("--camera", default="", help="of a cell with several (default: its first)")
    parser.add_argument("--namespace", default="", help="of the cell")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="pictures a second, at most (default %(default)s)")
    parser.add_argument("--no-masks", action="store_true", help="points and boxes alone: less work")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write one picture (PNG) and end")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="with --save: longest wait (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 lets other machines look (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to serve on, or the next free one (default %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(list(argv))
    if not 0.1 <= options.rate <= 60.0 or not 0.0 < options.timeout <= 600.0:
        parser.error("allowed: --rate 0.1 to 60, --timeout above 0 to 600")
    return _show(options)


def _show(options: argparse.Namespace) -> int:
    from dex_bringup.annotate.intake import Intake
    from dex_bringup.annotate.live import LiveSamples
    from dex_bringup.cli._arguments import parse_words
    from dex_bringup.show.camera_view import CameraView
    from dex_core.config import load_cell
    from dex_perception.keypoints.annotator import Annotator
    from dex_perception.keypoints.assemble import Limits
    from dex_perception.keypoints.visibility import tolerance_of

    cell = load_cell(options.cell, **parse_words(options.words))
    intake = Intake(cell, options.camera, Limits(patience_s=0.2), masks=False)
    view = CameraView(intake, Annotator(cell, tolerance_of(intake.config.driver), masks=not options.no_masks))
    with LiveSamples(intake, options.namespace.strip("/")) as source:
        return _save(source, view, options) if options.save is not None else _serve(source, view, options)


def _save(source: LiveSamples, view: CameraView, options: argparse.Namespace) -> int:
    from PIL import Image

    from dex_bringup.show.picture import save_picture

    save_picture(Image.fromarray(view.picture(source.next(options.timeout)[-1])), options.save)
    sys.stdout.write(f"{options.save}\n" + "".join(f"  {what}: {text}\n" for what, text in view.status.items()))
    return 0


def _serve(source: LiveSamples, view: CameraView, options: argparse.Namespace) -> int:
    from dex_bringup.cli.show import open_browser
    from dex_bringup.show.camera_page import CameraPage

    page = CameraPage(f"dex show camera {source.intake.camera}", options.host, options.port)
    try:
        opened = not options.no_browser and open_browser(page.url)
        hint = "" if opened or options.no_browser else "  (no browser could be opened here: open this address in one)"
        sys.stdout.write(f"{page.url}{hint}\nCtrl-C ends it\n")
        sys.stdout.flush()
        watch(source, view, lambda picture: page.put(_jpeg(picture), view.status), options.rate)
    except KeyboardInterrupt:
        return 0
    finally:
        page.close()
    return 0


def watch(
    source: LiveSamples, view: CameraView, put: Callable[[NDArray[np.uint8]], None], rate_hz: float, going: Callable[[], bool] = lambda: True,
) -> None:
    """Draws the newest sample at most ``rate_hz`` times a second, and once a second that none comes, while ``going()``."""
    from dex_core.errors import DeadlineError

    due_s = 0.0
    while going():
        try:
            sample = source.next(SILENT_S)[-1]
        except DeadlineError:
            put(view.silent(source.missing))
            continue
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = max(due_s + 1.0 / rate_hz, now_s - 0.5 / rate_hz)
            put(view.picture(sample))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return data.tobytes()
