# SPDX-License-Identifier: Apache-2.0
"""`dex device`: one device at a time, simulated or real, without a cell around it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dex_bringup.device.choose import Chosen

EXAMPLES = """examples:
  dex device list --cell my_cell.yaml --real              devices of a cell, where they are, who has them
  dex device state inspire --side left --address 127.0.0.21:6000
  dex device state left_hand --cell my_cell.yaml --real --watch
  dex device jog xarm7 joint4 --by 0.1 --address 192.168.1.201
  dex device calibrate leap zero --side left --address /dev/serial/by-id/usb-FTDI_...
  dex device save inspire --side left --address 192.168.11.210:6000"""
WATCH_PERIOD_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex device",
        description="Reads one device, moves one joint of it slowly, calibrates it. A device is an interface of a cell (left_arm) or a robot's "
        "name with its address. A device that a running cell owns is refused. Exit code: 0 done, 1 failed, 2 wrong use.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = _sub(verbs, "list", "devices of a cell, their addresses and owners; the drivers installed", named=False)
    listing.add_argument("--json", action="store_true", help="one JSON object")
    state = _sub(verbs, "state", "joints, health, currents and touch; moves nothing and enables nothing")
    state.add_argument("--watch", action="store_true", help="again and again until Ctrl-C")
    state.add_argument("--json", action="store_true", help="one JSON object, one a line with --watch")
    jog = _sub(verbs, "jog", "move one joint slowly, after you typed its name")
    jog.add_argument("joint", help="name, with or without the side's prefix")
    jog.add_argument("--to", type=float, metavar="RAD", help="goal")
    jog.add_argument("--by", type=float, metavar="RAD", help="distance from where it is measured")
    jog.add_argument("--speed", type=float, default=0.1, metavar="RAD/S", help="top speed (default %(default)s)")
    calibrate = _sub(verbs, "calibrate", "run a calibration that the device keeps itself")
    calibrate.add_argument("what", nargs="?", default="", help="which one; left out: say which there are")
    save = _sub(verbs, "save", "let the device store its settings")
    for confirmed in (jog, calibrate, save):
        confirmed.add_argument("--yes", action="store_true", help="do not ask (for scripts)")
    options = parser.parse_args(list(argv))
    return {"list": _list, "state": _state, "jog": _jog, "calibrate": _calibrate, "save": _save}[options.verb](options)


def _sub(verbs: argparse._SubParsersAction, name: str, text: str, named: bool = True) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    if named:
        sub.add_argument("name", help="interface of the cell, or a robot's name")
        sub.add_argument("--address", default="", help="where it is: HOST, HOST:PORT, or the path of a serial port")
        sub.add_argument("--side", choices=("left", "right"), default="", help="of a robot by name (default right)")
        sub.add_argument("--serial-number", default="", help="refuse a device with another one")
        sub.add_argument("--unit-id", type=int, help="on a shared bus")
        sub.add_argument("--baud", type=int, help="of a serial port")
    sub.add_argument("--cell", default="", help="cell name or YAML file (default xarm_bimanual)")
    sub.add_argument("--real", action="store_true", help="the cell's real addresses; without it the simulated ones")
    return sub


def _list(options: argparse.Namespace) -> int:
    from dex_bringup.device.show import device_rows, drivers_text
    from dex_core.config import load_cell

    rows = device_rows(load_cell(options.cell or "xarm_bimanual", simulated=not options.real))
    if options.json:
        _say(json.dumps(rows, indent=1))
        return 0
    _say(f"{'name':<12}{'robot':<10}{'transport':<15}{'address':<34}{'driver':<16}owner")
    for row in rows:
        _say(f"{row['name']:<12}{row['robot']:<10}{row['transport']:<15}{row['address']:<34}{row['driver']:<16}{row['owner']}")
    _say(drivers_text())
    return 0


def _state(options: argparse.Namespace) -> int:
    from dex_bringup.device.session import open_device
    from dex_bringup.device.show import as_text, readings

    chosen = _chosen(options)
    with open_device(chosen) as device:
        while True:
            found = readings(device.device, chosen.interface, device.read())
            clear = "\033[H\033[J" if options.watch and sys.stdout.isatty() and not options.json else ""
            _say(clear + (json.dumps(found) if options.json else as_text(found)))
            if not options.watch:
                return 0
            time.sleep(WATCH_PERIOD_S)


def _jog(options: argparse.Namespace) -> int:
    from dex_bringup.device import jog
    from dex_bringup.device.session import ask, enabled, open_device

    chosen = _chosen(options)
    with open_device(chosen) as device:
        interface = chosen.interface
        move = jog.plan(
            interface, options.joint, device.read().position_rad, to_rad=options.to, by_rad=options.by, speed_rad_s=options.speed,
        )
        _say(f"{chosen.name}, {interface.robot.name} at {chosen.address}\n{move.words()}\nKeep the emergency stop within reach; Ctrl-C holds.")
        if not options.yes and not ask("the joint", move.joint):
            return 1
        with enabled(device):
            measured = jog.run(device, interface, move)
        _say(f"{move.joint} is at {measured[move.index]:.4f} rad")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from dex_bringup.device.care import calibration_of

    chosen = _chosen(options)
    return _care(chosen, calibration_of(chosen.cell.driver_of(chosen.name), options.what), options.yes)


def _save(options: argparse.Namespace) -> int:
    from dex_bringup.device.care import save_of

    chosen = _chosen(options)
    return _care(chosen, save_of(chosen.cell.driver_of(chosen.name)), options.yes)


def _care(chosen: Chosen, care: object, yes: bool) -> int:
    from dex_bringup.device.session import ask, claimed

    _say(f"{chosen.name}, {chosen.interface.robot.name} at {chosen.address}: {care.what}")  # type: ignore[attr-defined]
    if not yes and not ask("the device", chosen.name):
        return 1
    with claimed(chosen):
        _say(care.run(chosen.interface, chosen.address))  # type: ignore[attr-defined]
    return 0


def _chosen(options: argparse.Namespace) -> Chosen:
    from dex_bringup.device.choose import Wanted, choose

    wanted = Wanted(
        options.side, options.address, serial_number=options.serial_number, unit_id=options.unit_id, baud=options.baud,
    )
    return choose(options.name, wanted, options.cell, options.real)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
