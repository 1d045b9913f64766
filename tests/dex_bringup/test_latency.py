# SPDX-License-Identifier: Apache-2.0
"""`dex latency`, of a recording and live."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rclpy.context import Context
from rclpy.node import Node

from dex_bringup.cli import main
from dex_core.config import load_cell
from dex_eval.testing import fixture_cell, write_episode
from dex_msgs.msg import ChunkLatency, ChunkReport
from dex_ros import names, qos
from dex_ros.convert import timing_to_msg
from dex_ros.testing import ros_domain

MS = 1_000_000
STAGES = {"observed": 0, "observation_ready": 5, "inference_started": 6, "inferred": 26, "published": 28, "decoded": 40, "accepted": 41,
          "first_command": 50}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cell = fixture_cell(load_cell("xarm_bimanual"), tmp_path_factory.mktemp("bundles"))
    return write_episode(tmp_path_factory.mktemp("recording") / "bag", cell)


def test_a_recording_is_told_in_numbers(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", str(recording), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chunks"] == 5 and found["source"].endswith(".mcap")
    decoded, motion = found["stages"]["decoded"], found["stages"]["first_motion"]
    assert decoded["newest"]["p50_ms"] == decoded["since_start"]["p50_ms"] == pytest.approx(12.0) and decoded["budget_ms"] == 15.0
    assert motion["newest"]["count"] == 5 and found["stages"]["first_motion_from_rest"]["newest"]["count"] == 1
    assert found["stages"]["total"]["newest"]["p95_ms"] == pytest.approx(50.0) and found["worst"] in found["stages"]


def test_a_recording_is_told_to_people(recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["latency", str(recording)]) == 0
    text = capsys.readouterr().out
    assert "5 chunks" in text and "first_command" in text and "wait for the control tick" in text and "from rest" in text


@pytest.mark.parametrize("words", [["--json"], ["--seconds", "0"], ["--window", "0"], ["--seconds", "nan"]])
def test_wrong_use_says_what_is_allowed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["latency", *words])
    assert caught.value.code == 2 and "--seconds" in capsys.readouterr().err


class Gate(Node):
    """Tells of a chunk again and again."""

    def __init__(self, context: Context) -> None:
        super().__init__("gate", context=context)
        self.reports = self.create_publisher(ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self.latencies = self.create_publisher(ChunkLatency, names.CHUNK_LATENCY, qos.REPORT)

    def tell(self) -> None:
        timing = timing_to_msg({name: 10**18 + ms * MS for name, ms in STAGES.items()})
        moved = timing_to_msg({name: 10**18 + ms * MS for name, ms in {**STAGES, "first_motion": 90}.items()})
        self.reports.publish(ChunkReport(accepted=True, timing=timing))
        self.reports.publish(ChunkReport(accepted=False, reason="late", timing=timing))
        self.latencies.publish(ChunkLatency(timing=moved, motion=ChunkLatency.SEEN))
        self.latencies.publish(ChunkLatency(timing=timing, motion=ChunkLatency.NONE))


@pytest.fixture()
def gate() -> Iterator[Gate]:
    with ros_domain(64) as context:
        node = Gate(context)
        yield node
        node.destroy_node()


@pytest.mark.ros
def test_a_running_cell_is_told_in_numbers(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()

    def tell() -> None:
        while not done.wait(0.1):
            gate.tell()

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        assert main(["latency", "--seconds", "3", "--json"]) == 0
    finally:
        done.set()
        thread.join()
    found = json.loads(capsys.readouterr().out)
    assert found["chunks"] > 0 and found["stages"]["decoded"]["last_ms"] == pytest.approx(12.0)
    assert found["stages"]["first_motion"]["last_ms"] == pytest.approx(40.0)


@pytest.mark.ros
def test_a_silent_cell_is_a_failure(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", "--seconds", "0.2", "--json"]) == 1
    out = capsys.readouterr()
    assert json.loads(out.out)["chunks"] == 0 and "no accepted chunk" in out.err
