# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dex_core.safety as safety_package
from dex_core.errors import DexError
from dex_core.safety import MOVES, Mode, SafetyMachine, Trip

TRIP = Trip("policy_lost", "policy", "policy is silent")


def test_every_name_of_the_list_is_there():
    assert all(hasattr(safety_package, name) for name in safety_package.__all__)


def test_every_mode_has_a_row_and_running_is_left_only_for_a_stop_of_motion():
    assert set(MOVES) == set(Mode)
    assert Mode.IDLE not in MOVES[Mode.RUNNING] and Mode.RUNNING not in MOVES[Mode.IDLE]
    assert [mode for mode in Mode if Mode.RUNNING in MOVES[mode]] == [Mode.ARMED], "nothing runs that was not armed"
    assert all(Mode.RUNNING not in MOVES[mode] for mode in (Mode.STOPPED, Mode.FAULT))


@pytest.mark.parametrize("latch", ["hold", "stop", "fault"])
def test_a_latch_keeps_its_first_reason_until_reset_and_needs_a_new_goal(latch):
    machine = SafetyMachine()
    machine.arm("g1")
    getattr(machine, latch)(TRIP)
    machine.hold(Trip("camera_lost", "camera", ""))
    assert machine.status.latched and machine.status.reason == "policy_lost" and machine.status.goal_id == "g1"
    with pytest.raises(DexError, match="policy_lost"):
        machine.arm("g2")
    assert machine.reset() and machine.mode is Mode.IDLE and machine.status.goal_id == ""
    with pytest.raises(DexError, match="has ended"):
        machine.arm("g1")
    machine.arm("g2")


def test_an_ended_goal_settles_without_latch():
    machine = SafetyMachine()
    machine.arm("g1")
    assert machine.hold(Trip("goal_ended", "task", ""), latched=False)
    assert machine.settle() and machine.mode is Mode.IDLE


def test_a_fault_while_braking_latches():
    machine = SafetyMachine()
    machine.arm("g1")
    machine.hold(Trip("goal_ended", "task", ""), latched=False)
    assert machine.hold(TRIP) and machine.status.latched
    assert not machine.settle()


def test_one_goal_at_a_time_with_a_name():
    machine = SafetyMachine()
    with pytest.raises(DexError, match="empty"):
        machine.arm("")
    machine.arm("g1")
    with pytest.raises(DexError, match="armed"):
        machine.arm("g2")


def test_reset_without_latch_does_nothing():
    machine = SafetyMachine()
    machine.arm("g1")
    assert not machine.reset() and machine.mode is Mode.ARMED


def test_it_runs_once_it_is_armed_and_there_is_something_to_follow():
    machine = SafetyMachine()
    assert not machine.start() and machine.mode is Mode.IDLE
    machine.arm("g1")
    assert machine.start() and machine.status.goal_id == "g1" and machine.mode is Mode.RUNNING
    assert not machine.start(), "it runs already"
    with pytest.raises(DexError, match="running"):
        machine.arm("g2")


@given(events=st.lists(st.sampled_from(["arm", "start", "hold", "end", "settle", "stop", "fault", "reset"]), max_size=40))
def test_no_order_of_events_leaves_a_latch_or_the_table(events):
    machine = SafetyMachine()
    for k, event in enumerate(events):
        before = machine.status
        try:
            {
                "arm": lambda goal=f"g{k}": machine.arm(goal), "start": machine.start, "hold": lambda: machine.hold(TRIP), "settle": machine.settle,
                "end": lambda: machine.hold(TRIP, latched=False), "stop": lambda: machine.stop(TRIP),
                "fault": lambda: machine.fault(TRIP), "reset": machine.reset,
            }[event]()
        except DexError:
            assert event == "arm" and machine.status == before
        after = machine.status
        assert after.mode is before.mode or after.mode in MOVES[before.mode]
        if before.latched and event != "reset":
            assert after.latched
        if after.mode is Mode.RUNNING and before.mode is not Mode.RUNNING:
            assert event == "start" and before.mode is Mode.ARMED
        if after.mode is Mode.ARMED and before.mode is not Mode.ARMED:
            assert event == "arm"
        if after.mode in (Mode.STOPPED, Mode.FAULT):
            assert after.latched and after.reason
