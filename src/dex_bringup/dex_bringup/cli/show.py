# SPDX-License-Identifier: Apache-2.0
"""`dex show`: look at a hand, an arm or a cell in a browser, or as a picture."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """what you see:
  one slider per actuated joint, by name, inside its limits; coupled joints move along
  buttons open, close, home; boxes for collision shapes, fingertip frames (where inverse kinematics aims) and palm frames
  (red +X out of the palm, blue +Z along the fingers, green +Y to the thumb of a right hand)

name:=value, of a cell only, as of dex up:
  hand:= left_hand:= right_hand:= arm:= left_arm:= right_arm:=   another robot in that place

examples:
  dex show ability                                          the right hand in a browser
  dex show xhand --side left                                the left one; aliases count
  dex show xarm_bimanual left_hand:=ability right_hand:=leap   a cell with other hands
  dex show g1 --alone                                       the robot where a cell has the same name
  dex show leap --png leap.png --pose closed                a picture, no screen needed
  dex show ability leap shadow --png three.png              several in one picture
  dex show --family --png hands.png                         every hand there is, half closed
  dex show camera                                           what a running cell's camera sees, skeletons and masks drawn in; --help has more"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    if list(argv[:1]) == ["camera"]:
        from dex_bringup.show.camera import main as show_camera

        return show_camera(argv[1:])
    parser = argparse.ArgumentParser(
        prog="dex show", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Opens a hand, an arm or a cell in a browser and keeps it there until Ctrl-C, or draws it as a PNG. Moves no robot.",
    )
    parser.add_argument("words", nargs="*", metavar="NAME name:=value", help="hand, arm, cell or cell file; several only with --png")
    parser.add_argument("--side", choices=("left", "right"), default="right", help="which one of a hand (default %(default)s)")
    parser.add_argument("--pose", choices=("open", "half", "closed", "home"), help="posture (default home; half for several)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture instead of opening a browser")
    parser.add_argument("--size", default="1280x960", metavar="WxH", help="of one picture in pixels (default %(default)s)")
    parser.add_argument("--collision", action="store_true", help="in the picture: what the simulation touches instead of what it looks like")
    parser.add_argument("--family", action="store_true", help="every hand there is, with its name under it; needs --png")
    parser.add_argument("--alone", action="store_true", help="the robot, where a cell has the same name")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; 0.0.0.0 lets other machines look (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to serve on, or the next free one (default %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return _show(parser, parser.parse_intermixed_args(list(argv)))


def _show(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from dex_bringup.cli._arguments import parse_words
    from dex_bringup.show.subject import OVERRIDABLE, family, find_subject
    from dex_core.errors import ConfigError

    names = [word for word in options.words if ":=" not in word]
    overrides = parse_words(word for word in options.words if ":=" in word)
    unknown = [name for name in overrides if name not in OVERRIDABLE]
    if unknown:
        raise ConfigError(f"argument {unknown[0]!r} is not known; allowed: {list(OVERRIDABLE)}")
    if options.family == bool(names) or options.png is None and (options.family or len(names) > 1):
        parser.error("give one NAME, or several or --family together with --png FILE; dex show --help has examples")
    subjects = family(options.side) if options.family else [find_subject(name, options.side, overrides, alone=options.alone) for name in names]
    if options.png is None:
        return _serve(subjects[0], options)
    from dex_bringup.show.picture import parse_size, picture, portrait, save_picture

    size_wh = parse_size(options.size)
    drawn = picture(subjects[0], options.pose or "home", size_wh, collision=options.collision) if len(subjects) == 1 else portrait(
        subjects, options.pose or "half", collision=options.collision)
    save_picture(drawn, options.png)
    sys.stdout.write(f"{options.png}: {', '.join(subject.title for subject in subjects)}\n")
    return 0


def _serve(subject: object, options: argparse.Namespace) -> int:
    try:
        from dex_bringup.show.viewer import Viewer
    except ImportError as error:
        from dex_core.errors import DexError

        raise DexError(f"the browser view needs viser ({error}): make setup, or draw a picture with --png FILE") from error
    viewer = Viewer(subject, options.pose or "home", options.host, options.port)  # type: ignore[arg-type]
    opened = not options.no_browser and open_browser(viewer.url)
    sys.stdout.write(f"{viewer.subject.title}\n{viewer.url}{'' if opened else '  (no browser could be opened here: open this address in one)'}\n"
                     if not options.no_browser else f"{viewer.subject.title}\n{viewer.url}\n")
    sys.stdout.write("Ctrl-C ends it\n")
    sys.stdout.flush()
    try:
        threading.Event().wait()  # never set: Ctrl-C ends it
    except KeyboardInterrupt:
        return 0
    finally:
        viewer.close()


def open_browser(url: str) -> bool:
    """Whether a browser took the address. A text browser does not count: it would take over this terminal."""
    import os

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER") or sys.platform == "darwin"):
        return False
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
