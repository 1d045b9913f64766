# SPDX-License-Identifier: Apache-2.0
"""`dex fault`: every fault of the matrix that needs no running cell is played here; the runner's verdicts; what `faults:=` may reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dex_bringup.cli.fault import main as fault_main
from dex_bringup.fault import matrix, runner
from dex_bringup.fault.matrix import LEFT_OUT, MATRIX, chosen
from dex_bringup.fault.play import LEVELS, Fault, Seen, Stage, Unexpected
from dex_bringup.fault.runner import FAILED, PASSED, UNSAFE, play
from dex_bringup.resolve import resolve
from dex_core.contracts.command_spy import CommandSpy
from dex_core.errors import ConfigError

ALONE = [fault for fault in MATRIX if fault.level != "live"]
CELL = "xarm_bimanual"


@pytest.fixture
def stage(command_spy: CommandSpy) -> Iterator[Stage]:
    stage = Stage(CELL, command_spy)
    yield stage
    stage.close()


def test_every_number_is_played_once_or_left_out_with_a_reason() -> None:
    played = [fault.number for fault in MATRIX]
    assert sorted([*played, *LEFT_OUT], key=lambda n: int(n[1:])) == [f"F{n}" for n in range(1, 42)]
    assert all(LEFT_OUT.values()) and {fault.level for fault in MATRIX} == set(LEVELS)


@pytest.mark.flaky(reruns=2, reruns_delay=1)
@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: fault.number)
def test_a_fault_is_survived_as_expected(fault: Fault, stage: Stage) -> None:
    played = play(fault, stage)
    assert played.verdict == PASSED, played.seen


def _bad_play(_stage: Stage) -> Seen:
    raise Unexpected("it moved on")


def _crash(_stage: Stage) -> Seen:
    raise ZeroDivisionError("a bug")


def _unsafe(stage: Stage) -> Seen:
    stage.spy.look("gate", ("a",), np.array([np.nan]))
    return Seen("looked well", 12.0)


@pytest.mark.parametrize(("function", "verdict", "words"), [
    (_bad_play, FAILED, "it moved on"), (_crash, FAILED, "ZeroDivisionError: a bug"), (_unsafe, UNSAFE, "a is nan"),
])
def test_what_is_not_as_expected_is_a_verdict(function: object, verdict: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fault, "play", lambda _self, stage: function(stage))  # type: ignore[operator]
    played = play(MATRIX[0], Stage(CELL, CommandSpy()))
    assert played.verdict == verdict and words in played.seen


def test_the_run_says_what_it_saw_and_fails_with_its_faults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault_main(["run", "F5", "F10", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in report["played"]] == ["F5", "F10"] and report["passed"] and report["commands"] > 0
    assert report["played"][0]["verdict"] == PASSED and report["left_out"] == LEFT_OUT
    monkeypatch.setattr(Fault, "play", lambda _self, stage: _bad_play(stage))
    assert fault_main(["run", "F5"]) == 1
    out = capsys.readouterr().out
    assert FAILED in out and "it moved on" in out and "0 of 1 as expected" in out


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert fault_main(["run", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"F{n} " in out for n in range(1, 42)) and "not played" in out


@pytest.mark.parametrize(("number", "words"), [("F99", "allowed: F1, F2"), ("F41", "dex bench soak")])
def test_a_fault_that_is_not_played_is_said_so(number: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        chosen([number])


def test_rows_are_wrapped_to_their_columns() -> None:
    row = runner.table_row(["F1", "gate", "x " * 40, "", "", "y " * 60, "12 ms", "passed"])
    assert len(row.splitlines()) > 1 and max(map(len, row.splitlines())) <= sum(runner.WIDTHS) + 2 * len(runner.WIDTHS)
    assert matrix.MATRIX[0].number == "F1"


# --- what faults:= reaches --------------------------------------------------------------------------------------------


def test_without_the_argument_nothing_can_be_faulted(tmp_path: Path) -> None:
    processes = resolve(CELL, {}, tmp_path).processes
    assert "faults" not in {process.name for process in processes}
    assert not any(process.remappings for process in processes)
    assert not any("faults" in process.parameters for process in processes)


def test_the_relay_takes_the_place_of_a_topic_by_remapping_alone(tmp_path: Path) -> None:
    plain = {process.name: process for process in resolve(CELL, {}, tmp_path).processes}
    faulted = {p.name: p for p in resolve(CELL, {"faults": "left/arm/joint_states,joint_command,right_hand"}, tmp_path).processes}
    assert faulted["left_arm"].remappings == (("left/arm/joint_states", "unfaulted/left/arm/joint_states"),)
    assert faulted["gate"].remappings == (("joint_command", "unfaulted/joint_command"),)
    assert faulted["faults"].parameters["topics"] == "left/arm/joint_states,joint_command"
    assert faulted["sim"].parameters["faults"] == "right_hand"
    changed = {"left_arm", "gate", "sim", "faults"}
    assert all(faulted[name] == plain[name] for name in plain if name not in changed)
    assert all(dict(faulted[name].parameters) == dict(plain[name].parameters) for name in ("left_arm", "gate"))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"faults": "nothing"}, "allowed: the interfaces"), ({"faults": "Left Arm"}, "relative topics and interfaces"),
    ({"faults": "heartbeats"}, "allowed: the interfaces"), ({"faults": "left_hand", "sim": "false"}, "simulated cell alone"),
])
def test_what_cannot_be_faulted_is_refused_at_the_start(arguments: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(CELL, arguments, tmp_path)
