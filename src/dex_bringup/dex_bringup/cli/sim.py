# SPDX-License-Identifier: Apache-2.0
"""`dex sim`: the simulator of one device alone, for any client that speaks its wire."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

EXAMPLES = """examples:
  dex sim xarm                            an xArm7 controller at 127.0.0.12, for the vendor's SDK and examples
  dex sim xarm --port 50202 --hand leap   on another port, a LEAP hand on its flange
  dex sim leap --path /tmp/leap           a LEAP hand's Dynamixel bus on a pseudo-terminal
  dex sim inspire --side left --address 127.0.0.41:6000
  dex device state xarm7 --address 127.0.0.12:50202      in a second terminal"""


def main(argv: Sequence[str]) -> int:
    """Entry of the verb."""
    parser = argparse.ArgumentParser(
        prog="dex sim",
        description="Runs the simulator of one device, with its dynamics in MuJoCo, at the vendor's own wire, until Ctrl-C. "
        "Says where it listens and which vendor's client can be pointed at it. Exit code: 0 after Ctrl-C, 1 failed, 2 wrong use.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", help="arm or hand: its name, an alias, or a beginning that only one has")
    where = parser.add_argument_group("where it listens (default: where the simulated cell has it)")
    where.add_argument("--port", type=int, help="the same host, another port")
    where.add_argument("--address", default="", metavar="HOST[:PORT]", help="another host, and port")
    where.add_argument("--path", default="", help="of a serial line: where clients open it")
    parser.add_argument("--side", choices=("left", "right"), default="", help="left or right one (default right)")
    parser.add_argument("--hand", default="", help="mount this hand on the arm; it listens at its usual address")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="S", help="end by itself after this time")
    options = parser.parse_args(list(argv))
    from dex_bringup.device.choose import Chosen, Wanted, choose, load_alone, robot_of
    from dex_bringup.device.simulate import simulate, simulated_address

    robot = robot_of(options.device)
    cell = load_alone(robot, options.side, options.hand)
    name = next(iter(cell.interfaces))
    address = simulated_address(cell.address_of(name), options.address, options.port, options.path)
    chosen: Chosen = choose(robot.name, Wanted(options.side, address, options.hand))
    return simulate(chosen, _say, options.seconds)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
