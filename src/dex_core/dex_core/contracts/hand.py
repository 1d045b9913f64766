# SPDX-License-Identifier: Apache-2.0
"""What every hand must do, as tests to inherit and as a table on the command line.

In a test file, for a hand that ``config/hands`` or a folder of DEX_SHARE_PATH describes:

    class TestMyHand(HandContract):
        @pytest.fixture(params=("left", "right"))
        def case(self, request):
            return HandCase("my_hand", request.param, reference=Path("my_hand_right.urdf"))

Without a test file: ``python -m dex_core.contracts.hand my_hand [--side right] [--reference my_hand_{side}.urdf]`` prints the same
checks as a table and ends with 1 when one fails; ``pytest --pyargs dex_core.contracts.hand_suite -k my_hand`` runs them as tests.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dex_core.config import load_robot
from dex_core.contracts import hand_checks, hand_grasp, hand_twins
from dex_core.contracts.hand_case import FAILED, PASSED, REPORTED, SKIPPED, HandCase, Outcome
from dex_core.errors import DexError

CHECKS: dict[str, Callable[[HandCase], Outcome]] = {
    "order by name": hand_checks.order_by_name,
    "radians": hand_checks.radians,
    "hardware round trip": hand_checks.hardware_round_trip,
    "limits": hand_checks.limits,
    "coupling closure": hand_checks.coupling_closure,
    "palm frame": hand_checks.palm_frame,
    "closes to the palm": hand_checks.closes_to_the_palm,
    "NaN refused": hand_checks.non_finite_refused,
    "fingers consistent": hand_checks.fingers_consistent,
    "fingers side by side": hand_checks.fingers_side_by_side,
    "equals reference": hand_twins.equals_reference,
    "grasp frame": hand_grasp.grasp_frame_as_computed,
    "IK round trip": hand_checks.ik_round_trip,
    "mirror symmetry": hand_twins.mirror_symmetry,
    "fist collisions": hand_checks.fist_collisions,
}
"""Name of a check -> the check, in the order of the table."""


def run_check(name: str, case: HandCase) -> Outcome:
    """One check; an error this project raises on purpose is a failure with that error's words."""
    try:
        return CHECKS[name](case)
    except DexError as error:
        return Outcome(FAILED, f"{type(error).__name__}: {error}")


class HandContract:
    """One test per check. A subclass gives the fixture ``case``."""

    def test_order_by_name(self, case: HandCase) -> None:
        self._run("order by name", case)

    def test_radians(self, case: HandCase) -> None:
        self._run("radians", case)

    def test_hardware_round_trip(self, case: HandCase) -> None:
        self._run("hardware round trip", case)

    def test_limits(self, case: HandCase) -> None:
        self._run("limits", case)

    def test_coupling_closure(self, case: HandCase) -> None:
        self._run("coupling closure", case)

    def test_palm_frame(self, case: HandCase) -> None:
        self._run("palm frame", case)

    def test_closes_to_the_palm(self, case: HandCase) -> None:
        self._run("closes to the palm", case)

    def test_nan_is_refused(self, case: HandCase) -> None:
        self._run("NaN refused", case)

    def test_fingers_consistent(self, case: HandCase) -> None:
        self._run("fingers consistent", case)

    def test_fingers_side_by_side(self, case: HandCase) -> None:
        self._run("fingers side by side", case)

    def test_equals_reference(self, case: HandCase) -> None:
        self._run("equals reference", case)

    def test_grasp_frame(self, case: HandCase) -> None:
        self._run("grasp frame", case)

    def test_ik_round_trip(self, case: HandCase) -> None:
        self._run("IK round trip", case)

    def test_mirror_symmetry(self, case: HandCase) -> None:
        self._run("mirror symmetry", case)

    def test_fist_collisions(self, case: HandCase) -> None:
        self._run("fist collisions", case)

    def _run(self, name: str, case: HandCase) -> None:
        outcome = run_check(name, case)
        if outcome.status == SKIPPED:
            import pytest  # the command line of this module works without it

            pytest.skip(outcome.detail)
        assert outcome.status in (PASSED, REPORTED), f"{case.name} {case.side}, {name}: {outcome.detail}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table of checks of one hand. Returns 1 when a check failed, 2 when there is no such hand."""
    parser = argparse.ArgumentParser(prog="python -m dex_core.contracts.hand", description="Checks a hand against the contract of all hands.")
    parser.add_argument("name", help="a hand of config/hands (also under DEX_SHARE_PATH), or its alias")
    parser.add_argument("--side", choices=("left", "right"), help="only this side; default: every side it has")
    parser.add_argument("--reference", help="published URDF to compare with; {side} is replaced")
    options = parser.parse_args(arguments)
    try:
        robot = load_robot(options.name)
        sides = (options.side,) if options.side else robot.sides
        if robot.kind != "hand":
            raise DexError(f"{options.name!r} is of kind {robot.kind!r}, not a hand")
    except DexError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    failed = False
    for side in sides:
        reference = Path(options.reference.format(side=side)) if options.reference else None
        case = HandCase(robot.name, side, reference)
        outcomes = {name: run_check(name, case) for name in CHECKS}
        failed |= any(outcome.status == FAILED for outcome in outcomes.values())
        _print_table(case, outcomes)
    return int(failed)


def _print_table(case: HandCase, outcomes: dict[str, Outcome]) -> None:
    from rich.console import Console  # the tests to inherit need no terminal
    from rich.table import Table

    table = Table(title=f"{case.name} {case.side}", title_justify="left")
    for column in ("check", "result", "found"):
        table.add_column(column)
    colour = {PASSED: "green", FAILED: "bold red", REPORTED: "cyan", SKIPPED: "yellow"}
    for name, outcome in outcomes.items():
        table.add_row(name, f"[{colour[outcome.status]}]{outcome.status}[/]", outcome.detail.replace("[", "\\["))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
