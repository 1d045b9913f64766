# SPDX-License-Identifier: Apache-2.0
"""Benchmarks know their goals; a missing figure misses its goal."""

from __future__ import annotations

import argparse
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_bringup.bench import BENCHES
from dex_bringup.bench.report import Goal, Report, percentile
from dex_bringup.cli import main


@pytest.mark.parametrize(
    ("figures", "met"), [({"a": 3.0}, True), ({"a": 3.1}, False), ({}, False), ({"a": math.nan}, False), ({"a": None}, False), ({"a": "3"}, False)]
)
def test_goal_at_most(figures: dict, met: bool) -> None:
    assert Goal("a", at_most=3.0).met(figures) is met


def test_report_names_the_goal_that_is_missed() -> None:
    report = Report("x", {"a": 5.0, "b": 1}, (Goal("a", at_most=3.0, unit="ms"), Goal("b", at_least=1)))
    assert report.missed == ["a at most 3 ms: 5.0"]
    data = report.as_json()
    assert set(data) == {"name", "machine", "versions", "figures", "goals", "met"} and data["met"] is False
    assert "MISSED" in report.as_table() and "met" in report.as_table()
    json.dumps(data)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentile_lies_between_the_values(values: list[float], percent: float) -> None:
    assert min(values) <= percentile(values, percent) <= max(values)


def test_percentile_of_nothing_is_nan() -> None:
    assert math.isnan(percentile([], 50)) and math.isnan(percentile([math.nan], 50))


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", name, "--help"])
    assert caught.value.code == 0 and "--check" in capsys.readouterr().out


def test_period_figures() -> None:
    from dex_bringup.bench.control_jitter import period_figures

    figures = period_figures([0, 10_000_000, 20_000_000, 45_000_000], "gate", 10.0)
    assert figures["gate_periods"] == 3 and figures["gate_periods_doubled"] == 1
    assert figures["gate_period_p50_ms"] == 10.0 and figures["gate_period_max_ms"] == 25.0


def test_check_exits_one_and_names_the_goal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import dex_bringup.bench.latency as latency

    monkeypatch.setattr(
        latency, "run", lambda _options, _say: Report("latency", {"overhead_p50_ms": 50.0}, (Goal("overhead_p50_ms", at_most=40.0, unit="ms"),))
    )
    assert main(["bench", "latency", "--check"]) == 1
    assert "goal missed: overhead_p50_ms at most 40 ms: 50.0" in capsys.readouterr().err
    assert main(["bench", "latency"]) == 0


def test_closed_loop_sets_up_the_scene_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    import dex_bringup.bench.closed_loop as closed_loop
    from dex_bringup.client import TaskResult

    asked: list[tuple] = []

    class Cell:
        def __init__(self, *words: object) -> None:
            asked.append(words[:2])

        def __enter__(self) -> Cell:
            return self

        def __exit__(self, *_: object) -> None: ...

        def attempt(self, seed: int, instruction: str, task: str) -> TaskResult:
            asked.append((seed, instruction, task))
            return TaskResult("SUCCEEDED" if seed == 5 else "DEADLINE", "", "", 1.0, 2, 3.0, 4.0)

        def figures(self) -> dict:
            return {"overhead_p50_ms": 30.0}

    monkeypatch.setattr(closed_loop, "LiveCell", Cell)
    options = argparse.Namespace(cell="xarm_bimanual", task="reorganize-lemons", seeds=2, first_seed=5, bundle="mine", hand="leap")
    report = closed_loop.run(options, lambda _text: None)
    words = "Put the lemon and the lime into the bowl"
    assert asked == [("xarm_bimanual", {"bundle": "mine", "hand": "leap"}), (5, words, "reorganize_lemons"), (6, words, "reorganize_lemons")]
    assert report.figures["successes"] == 1 and list(report.figures["failures"]) == ["6"] and report.missed
