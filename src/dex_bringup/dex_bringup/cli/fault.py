# SPDX-License-Identifier: Apache-2.0
"""`dex fault`: break one part of a running simulated cell on purpose, or play the whole matrix of faults."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dex_core.errors import ConfigError, DeadlineError, DexError

EXAMPLES = """examples:
  dex up faults:=left/arm/joint_states,action_chunk,right_hand     a cell in which these may be broken
  dex fault left/arm/joint_states stuck                            in a second terminal; then: ok
  dex fault right_hand off                                         its simulator drops the line and answers no more
  dex fault policy delayed --amount 2                              chunks come two seconds late
  dex fault run                                                    the matrix F1 to F41 on simulators; exit 1 where one is not as expected
  dex fault run F6 F13 --json
  dex fault run --list                                             what is played, at which level, and what is left out, with the reason"""

POLICY = "policy"


def main(argv: Sequence[str]) -> int:
    """Entry of the verb: 0 done, 1 a fault was not survived as expected or the cell refused, 2 wrong use."""
    if argv and argv[0] == "run":
        return _run_matrix(argv[1:])
    from dex_sim.fault import KINDS

    kinds = "\n".join(f"  {name:<13} {kind.does}" + (f" ({kind.amount}, {kind.default:g})" if kind.amount else "") for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="dex fault", description="Breaks one part of a running simulated cell that was started with faults:=..., in PX4's words.",
        epilog=f"types:\n{kinds}\n\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("component", help=f"a topic, an interface (left_hand), or {POLICY!r}: the chunks it sends")
    parser.add_argument("type", choices=list(KINDS), help="what happens to it")
    parser.add_argument("--amount", type=float, default=0.0, help="how much; 0: the type's own default")
    parser.add_argument("--namespace", default="", help="of the cell")
    options = parser.parse_args(list(argv))
    sys.stdout.write(inject(options.component, options.type, options.amount, options.namespace) + "\n")
    return 0


def inject(component: str, kind: str, amount: float = 0.0, namespace: str = "") -> str:
    """Puts a fault on one part of a running cell; returns what happens now.

    Raises:
        DexError: ``no_faults``: nobody offers it here; ``refused``: this part may not be broken, or not so.
    """
    from dex_bringup.client import CellClient

    with CellClient(namespace) as client:
        return inject_with(client, component, kind, amount)


def inject_with(client: object, component: str, kind: str, amount: float = 0.0) -> str:
    """As ``inject``, with a client that is there already."""
    from dex_msgs.srv import InjectFault
    from dex_ros import names

    topic = names.ACTION_CHUNK if component == POLICY else component
    device = "/" not in topic and topic not in (names.ACTION_CHUNK, names.DECODED_CHUNK, names.JOINT_COMMAND)
    service = names.SIM_INJECT if device else names.FAULTS_INJECT
    request = InjectFault.Request(component=topic, type=kind, amount=float(amount))
    try:
        response = client.call(InjectFault, service, request)  # type: ignore[attr-defined]
    except DeadlineError as error:
        raise DexError(
            f"nobody offers {service}: no cell runs here, or it was started without faults:={topic}; only a simulated cell may be, and only where "
            "that was asked for at its start", code="no_faults",
        ) from error
    if not response.success:
        raise ConfigError(response.message)
    return response.message


def _run_matrix(argv: Sequence[str]) -> int:
    from dex_bringup.fault.runner import main as run

    return run(argv)
