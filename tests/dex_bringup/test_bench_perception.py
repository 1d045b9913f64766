# SPDX-License-Identifier: Apache-2.0
"""Every stage that is there is run and judged by its own goals; one that cannot run is said, and misses a goal."""

from __future__ import annotations

import argparse
import importlib.util
import types

import pytest

from dex_bringup.bench import BENCHES, perception
from dex_bringup.bench.perception import PACKAGE, STAGES, Stage, run, run_stage
from dex_bringup.bench.report import Goal, Report
from dex_core.errors import DexError


def bench(figures: dict[str, float], goals: tuple[Goal, ...] = (), fails: Exception | None = None) -> types.ModuleType:
    module = types.ModuleType("bench")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--repeats", type=int, default=50)

    def measure(options: argparse.Namespace, say: object) -> Report:
        if fails is not None:
            raise fails
        return Report("bench", {**figures, "repeats": options.repeats, "cell": options.cell}, goals)

    module.add_arguments, module.run = add_arguments, measure  # type: ignore[attr-defined]
    return module


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    modules = {
        "fast": bench({"ms": 3.0}, (Goal("ms", at_most=5.0, unit="ms"),)), "slow": bench({"ms": 9.0}, (Goal("ms", at_most=5.0, unit="ms"),)),
        "bare": bench({}, fails=ModuleNotFoundError("no", name="torch")), "broken": bench({}, fails=DexError("no bundle", code="bundle_invalid")),
    }
    monkeypatch.setattr(perception, "STAGES", {name: Stage(name, name, ("--repeats", "2")) for name in (*modules, "absent")})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name.removeprefix(f"{PACKAGE}.") in modules else None)
    monkeypatch.setattr(importlib, "import_module", lambda name: modules[name.removeprefix(f"{PACKAGE}.")])
    return modules


def report(*names: str, quick: bool = False) -> Report:
    return run(argparse.Namespace(stages=names, quick=quick, cell="g1"), lambda _text: None)


def test_figures_and_goals_carry_their_stage(stages: dict[str, types.ModuleType]) -> None:
    found = report("fast", "slow")
    assert found.figures["fast_ms"] == 3.0 and found.figures["slow_ms"] == 9.0 and found.figures["slow_cell"] == "g1"
    assert len(found.missed) == 1 and found.missed[0].startswith("slow_ms at most 5 ms")
    assert found.figures["stages_not_run"] == 0


def test_quick_shortens_each_stage(stages: dict[str, types.ModuleType]) -> None:
    assert report("fast").figures["fast_repeats"] == 50 and report("fast", quick=True).figures["fast_repeats"] == 2


def test_what_cannot_run_is_said_and_missed(stages: dict[str, types.ModuleType]) -> None:
    found = report("absent", "bare", "broken", "fast")
    assert found.figures["fast_ms"] == 3.0 and found.figures["stages_not_run"] == 3
    assert [text.split(":")[0] for text in found.figures["not_run"].values()] == ["not_there", "not_installed", "bundle_invalid"]
    assert found.missed == ["stages_not_run at most 0: 3"]


def test_a_mistake_of_our_own_is_not_taken_for_a_missing_package(stages: dict[str, types.ModuleType]) -> None:
    stages["fast"].run = bench({}, fails=ModuleNotFoundError("typo", name="dex_core.cloud")).run  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError):
        report("fast")


def test_stages_are_benchmarks_by_themselves() -> None:
    for stage in STAGES.values():
        assert importlib.util.find_spec(f"{PACKAGE}.{stage.module}") is None or stage.module in BENCHES
    assert {"camera", "clouds", "stereo", "keypoints"} <= set(STAGES)


def test_an_option_that_a_stage_does_not_have_is_left_out(stages: dict[str, types.ModuleType]) -> None:
    assert run_stage(Stage("fast", ""), "g1", ("--quick", "--repeats", "3"), lambda _text: None).figures["repeats"] == 3


def test_a_real_stage_by_its_own_module() -> None:
    found = run_stage(Stage("stereo", "", ("--repeats", "1")), "xarm_bimanual", ("--repeats", "1"), lambda _text: None)
    assert found.figures["vga_half_match_ms"] > 0.0 and found.figures["vga_half_median_error_mm"] < 20.0
