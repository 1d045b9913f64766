# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.errors import DexError
from dex_core.safety import Mode, SafetyStatus
from dex_policy.task import Ending, Outcome, TaskRun, checked_deadline_s, checked_keepalive_s, may_run, watched_nodes

NS = 1_000_000_000


def make(judged: str = "push_cans") -> TaskRun:
    run = TaskRun("g", "push", 0, 10 * NS, judged)
    run.armed(0)
    return run


def running() -> TaskRun:
    run = make()
    assert run.on_safety(SafetyStatus(Mode.RUNNING, goal_id="g")) is None
    return run


@given(st.floats())
def test_deadline_is_finite_and_bounded(value: float) -> None:
    try:
        seconds = checked_deadline_s(value, 40.0)
    except DexError as error:
        assert error.code == "deadline_invalid" and not 0.0 <= value <= 3600.0
    else:
        assert 0.0 < seconds <= 3600.0


def test_success_must_last() -> None:
    run = running()
    run.on_judge("push_cans", True, 1.0, NS)
    assert run.on_time(NS + NS // 10) is None and run.stage == "settling"
    run.on_judge("push_cans", False, 0.9, NS + NS // 5)
    assert run.on_time(NS + NS // 2) is None and run.stage == "running"
    run.on_judge("push_cans", True, 1.0, 2 * NS)
    ending = run.on_time(2 * NS + NS // 2)
    assert ending is not None and ending.outcome is Outcome.SUCCEEDED


def test_success_counts_only_where_judged() -> None:
    run = make(judged="")
    run.on_safety(SafetyStatus(Mode.RUNNING, goal_id="g"))
    run.on_judge("push_cans", True, 1.0, 0)
    assert run.on_time(5 * NS) is None and math.isnan(run.progress)
    ending = run.on_time(10 * NS)
    assert ending is not None and ending.outcome is Outcome.DEADLINE


def test_the_state_before_arming_is_no_reason_to_stop() -> None:
    run = make()
    assert run.on_safety(SafetyStatus()) is None
    assert run.on_safety(SafetyStatus(Mode.HOLDING, goal_id="old", reason="goal_ended")) is None
    assert run.on_safety(SafetyStatus(Mode.RUNNING, goal_id="g")) is None


def test_gate_that_never_runs_the_goal() -> None:
    run = make()
    assert run.on_time(NS // 2) is None
    ending = run.on_time(2 * NS)
    assert ending is not None and ending.reason == "gate_lost"


@pytest.mark.parametrize("mode", [Mode.HOLDING, Mode.STOPPED, Mode.FAULT])
def test_leaving_running_carries_the_gates_reason(mode: Mode) -> None:
    ending = running().on_safety(SafetyStatus(mode, True, "g", "driver_lost", "left_arm", "left_arm is silent"))
    assert ending is not None and ending == (Outcome.ABORTED, "driver_lost", "left_arm: left_arm is silent")


def test_starved_because_the_policy_sees_nothing() -> None:
    run = running()
    run.on_policy("g", "camera_lost", "no picture for 1 s")
    ending = run.on_safety(SafetyStatus(Mode.HOLDING, True, "g", "chunk_starved", "policy", "no chunk"))
    assert ending is not None and ending.reason == "camera_lost" and "no picture" in ending.detail
    run = running()
    run.on_policy("other", "camera_lost", "x")
    ending = run.on_safety(SafetyStatus(Mode.HOLDING, True, "g", "chunk_starved", "policy", "no chunk"))
    assert ending is not None and ending.reason == "chunk_starved"


def test_chunks_of_this_goal_are_counted() -> None:
    run = running()
    run.on_chunk("other", True, 1.0, 1.0)
    run.on_chunk("g", False, 1.0, 1.0)
    assert run.chunks == 0 and math.isnan(run.inference_p50_ms)
    for k in (1.0, 5.0, 3.0):
        run.on_chunk("g", True, k, 2 * k)
    assert (run.chunks, run.stage, run.inference_p50_ms, run.overhead_p50_ms) == (3, "running", 3.0, 6.0)


def test_the_judge_of_another_scene_says_nothing_of_this_goal() -> None:
    run = running()
    run.on_judge("reorganize_lemons", True, 1.0, NS)
    assert run.on_time(2 * NS) is None and math.isnan(run.progress)
    run.on_judge("push_cans", True, 1.0, 2 * NS)
    run.on_judge("reorganize_lemons", True, 1.0, 2 * NS + NS // 10)
    assert run.on_time(3 * NS) is None, "the scene was exchanged before the success had lasted"


def test_everyone_needed_is_watched() -> None:
    nodes = [w.node for w in watched_nodes(load_cell("xarm_bimanual"))]
    assert nodes[0] == "gate" and {"policy", "camera", "left_decoder", "right_decoder", "left_arm", "right_hand"} <= set(nodes)


@pytest.mark.parametrize("seconds", [-1.0, 0.1, 61.0, math.inf, math.nan])
def test_a_keepalive_that_makes_no_sense_is_refused(seconds: float) -> None:
    with pytest.raises(DexError, match="keepalive_s") as info:
        checked_keepalive_s(seconds)
    assert info.value.code == "keepalive_invalid" and not may_run(0.0, seconds)
    assert checked_keepalive_s(0.0) == 0.0 and may_run(10.0, 2.0) and not may_run(-1.0, 2.0)


def test_a_client_that_asked_to_be_missed_is_missed() -> None:
    run = TaskRun("g", "push", NS, 100 * NS, judged="", keepalive_s=2.0)
    assert run.client_lost(3 * NS) is None
    lost = run.client_lost(3 * NS + 1)
    assert lost is not None and (lost.outcome, lost.reason) == (Outcome.ABORTED, "client_lost")
    run.on_client(3 * NS)
    run.on_client(2 * NS)  # an older word changes nothing
    assert run.client_lost(5 * NS) is None and run.client_lost(6 * NS) is not None
    assert TaskRun("g", "push", 0, NS, judged="").client_lost(10**15) is None, "nobody asked"


@pytest.mark.parametrize("reason", ["model_failed", "internal_error"])
def test_a_model_that_failed_ends_its_goal_at_once(reason: str) -> None:
    run = TaskRun("g", "push", 0, NS, judged="")
    assert run.on_policy("other", reason, "x") is None and run.on_policy("g", "camera_lost", "y") is None
    ending = run.on_policy("g", reason, "MemoryError()")
    assert ending == Ending(Outcome.ABORTED, "policy_lost", "policy: MemoryError()")
