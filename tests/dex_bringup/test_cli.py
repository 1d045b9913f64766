# SPDX-License-Identifier: Apache-2.0
"""The command line: help that teaches, verbs imported only when chosen, errors one can act on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from dex_bringup.arguments import declared_arguments
from dex_bringup.cli import VERBS, main
from dex_bringup.cli._arguments import parse_words
from dex_core.errors import ConfigError

HEAVY = ("rclpy", "numpy", "mujoco", "onnxruntime", "rich", "yaml", "dex_core")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; from dex_bringup.cli import main; main(['--help']); sys.exit(','.join(m for m in {HEAVY} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"dex --help imports {done.stderr}"
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "learn"])
def test_every_verb_teaches_by_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "examples:" in text and f"dex {verb}" in text


def test_unknown_verb_names_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "'fly'" in capsys.readouterr().err


def test_nothing_given_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


def test_up_help_shows_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["up", "--help"])
    text = capsys.readouterr().out
    assert all(f"{argument.name}:=" in text and argument.description in text for argument in declared_arguments())


def test_up_list_names_the_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--list", "record:=true", "namespace:=cell1"]) == 0
    text = capsys.readouterr().out
    assert "/cell1/gate" in text and "dex_eval" in text and "/cell1/recorder" in text


@pytest.mark.parametrize(("words", "part"), [
    (["hand:=claw"], "'inspire'"), (["sim:=false"], "no real address"), (["record"], "no cell is called 'record'"), (["mistake:=1"], "use_respawn"),
])
def test_wrong_arguments_of_up(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--list", *words]) == 2
    assert part in capsys.readouterr().err


def test_parse_words() -> None:
    assert parse_words(["a:=1", "b:=x:=y"]) == {"a": "1", "b": "x:=y"}
    with pytest.raises(ConfigError, match="twice"):
        parse_words(["a:=1", "a:=2"])
    with pytest.raises(ConfigError, match="name:=value"):
        parse_words(["a=1"])


def test_run_refuses_a_deadline_that_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("nan", "inf", "-1"):
        with pytest.raises(SystemExit) as caught:
            main(["run", "push", f"--deadline={value}"])
        assert caught.value.code == 2


def test_record_says_what_is_in_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dex_eval.bag_writer import BagWriter

    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/a", "std_msgs/msg/String", [])
    writer.write("/a", b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00", 1, 1)
    writer.close()
    assert main(["record", str(tmp_path)]) == 0
    assert "/a  (std_msgs/msg/String)" in capsys.readouterr().out
    assert main(["record", str(tmp_path), "--repair", str(tmp_path / "whole")]) == 0
    assert main(["record", str(tmp_path / "nothing")]) == 1


def test_a_sentence_names_the_task_whose_objects_it_speaks_of() -> None:
    from dex_bringup.cli.run import _task_of

    assert _task_of("put the lemon and the lime into the bowl ") == "reorganize_lemons"
    assert _task_of("Push the two tomato cans together") == "push_cans"
    assert _task_of("could you put the two fruits in the bowl?") == "reorganize_lemons"
    assert _task_of("Return to the rest pose") == ""


def test_a_goal_without_a_chunk_tells_no_latency() -> None:
    from dex_bringup.cli.run import plain, sentence
    from dex_bringup.client import TaskResult

    refused = TaskResult("REFUSED", "instruction_unknown", "policy: 'make coffee'", 0.0, 0, math.nan, math.nan)
    assert sentence(refused) == "REFUSED after 0.0 s, no chunk\n  instruction_unknown: policy: 'make coffee'"
    assert json.loads(json.dumps(plain(refused), allow_nan=False))["inference_p50_ms"] is None
    done = TaskResult("SUCCEEDED", "", "", 5.25, 7, 3.4, 41.0)
    assert sentence(done) == "SUCCEEDED after 5.2 s, 7 chunks, inference 3 ms, overhead 41 ms (medians)"
