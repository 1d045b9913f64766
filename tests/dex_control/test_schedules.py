# SPDX-License-Identifier: Apache-2.0
"""Whatever the schedule: what is late, doubled, out of order or of another goal is dropped and counted; a new goal begins with nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dex_control.gate import CommandMode
from dex_core.chunks import SCHEDULES
from dex_core.safety import Mode, Reason

NS = 1_000_000_000
HORIZON_S = 0.4
STANDING = ("synchronous",)


@pytest.fixture(params=SCHEDULES)
def name(request) -> str:
    return request.param


@pytest.fixture
def rig(cell, rig_of, name):
    control = dataclasses.replace(cell.control, schedule=name, execution_horizon_s=HORIZON_S)
    return rig_of(dataclasses.replace(cell, control=control))


def until_the_next_is_wanted(rig) -> None:
    """A cell that executes in turns is looked at when it stands; any other at any time."""
    ticks = (rig.gate.intake.track.ask_at_ns(0.0) - rig.now_ns) // 10_000_000 + 2
    rig.step(ticks if rig.gate.intake.track.asks_standing else 20)


def test_the_cell_file_chooses(rig, name):
    rig.start()
    assert isinstance(rig.gate.intake.track, SCHEDULES[name])


def test_chunk_after_chunk_is_followed_to_where_it_leads(rig):
    rig.start(move=0.05)
    for sequence in range(1, 4):
        until_the_next_is_wanted(rig)
        rig.send(rig.chunk(sequence, move=0.05))
        rig.step()
        assert rig.outcomes[-1].accepted and rig.gate.intake.sequence == sequence
        assert rig.outcomes[-1].seam is not None and rig.outcomes[-1].command_seam.position_jump_rad < 0.2
    assert rig.last.mode is CommandMode.TRACK and rig.gate.report().chunks_accepted == 4


def test_the_first_chunk_of_a_goal_begins_with_its_first_action_however_long_the_model_took(rig):
    began = rig.joints.copy()
    rig.start(move=0.3, stamp_ns=rig.wall_ns - NS)  # a third of it is past; were that skipped, the rest would begin 0.1 rad away
    assert rig.outcomes[-1].accepted and rig.outcomes[-1].steps_skipped == 0
    np.testing.assert_allclose(rig.gate.intake.track.plan.knots_rad[0], began, atol=1e-9)
    np.testing.assert_allclose(rig.last.command.position_rad, began, atol=0.01)
    until_the_next_is_wanted(rig)
    rig.send(rig.chunk(1, move=0.05, stamp_ns=rig.wall_ns - NS // 10))
    rig.step()
    assert rig.outcomes[-1].accepted
    assert (rig.outcomes[-1].steps_skipped == 0) is rig.gate.intake.track.asks_standing  # of a later chunk the past is skipped, unless the cell stood


def test_a_chunk_that_is_past_when_it_comes_is_dropped_and_counted(rig):
    rig.start(move=0.05)
    until_the_next_is_wanted(rig)
    before = rig.gate.intake.track.plan
    rig.send(rig.chunk(1, steps=10, stamp_ns=rig.wall_ns - NS))
    rig.step()
    assert rig.outcomes[-1].reason == "late" and rig.gate.report().chunks_late == 1
    assert rig.gate.intake.track.plan is before and rig.status.mode is Mode.RUNNING


def test_chunks_out_of_order_are_dropped_and_counted(rig):
    rig.start(move=0.05)
    until_the_next_is_wanted(rig)
    older, newer = rig.chunk(1, move=0.05), rig.chunk(2, move=0.05)
    rig.send(newer)
    plan = rig.gate.intake.track.plan
    rig.send(older)
    rig.step()
    assert [(o.sequence, o.accepted, o.reason) for o in rig.outcomes[-2:]] == [(2, True, ""), (1, False, "late")]
    assert rig.gate.intake.track.plan is plan and rig.gate.report().chunks_late == 1


def test_the_same_chunk_twice_counts_as_a_duplicate(rig):
    rig.start(move=0.05)
    until_the_next_is_wanted(rig)
    chunk = rig.chunk(1, move=0.05)
    for _ in range(2):
        rig.send(chunk)
        rig.step()
    assert rig.outcomes[-1].reason == "duplicate" and rig.gate.report().chunks_duplicate == 1
    assert rig.gate.intake.track.chunks == 2


def test_a_goal_that_is_preempted_leaves_nothing_behind(rig):
    rig.start("g1", move=0.3)
    rig.step(30)
    assert rig.gate.set_goal("g1", False, rig.now_ns).accepted
    assert rig.gate.set_goal("g2", True, rig.now_ns).accepted
    assert rig.gate.intake.track is None
    rig.send(rig.chunk(1, "g1"))
    rig.step()
    assert rig.outcomes[-1].reason == Reason.WRONG_GOAL
    rig.step(40)
    rig.send(rig.chunk(0, "g2", move=0.0))
    rig.step()
    assert rig.gate.intake.track.chunks == 1
    held = rig.joints.copy()
    rig.step(100)
    np.testing.assert_allclose(rig.joints, held, atol=0.02)


def test_after_a_stop_and_its_reset_nothing_of_the_goal_is_left(rig):
    rig.start(move=0.3)
    rig.step(30)
    rig.gate.stop()
    rig.step(100, until=lambda: rig.gate.reset(rig.now_ns).accepted)
    assert rig.gate.intake.track is None and not rig.gate.moving
    rig.step(20)
    assert rig.last.mode is CommandMode.IDLE


def test_without_another_chunk_the_cell_holds_when_nothing_is_left_to_wait_for(rig, name):
    rig.start(move=0.05, steps=20)
    rig.step(110)
    if name in STANDING:
        assert rig.status.mode is Mode.RUNNING and rig.at_rest(), "it stands and waits"
        rig.step(round(100 * rig.cell.control.first_chunk_timeout_s))
    assert rig.status.reason == Reason.CHUNK_STARVED


@pytest.mark.parametrize("name", STANDING, indirect=True)
def test_a_cell_that_executes_in_turns_refuses_what_was_observed_in_motion(rig):
    rig.start(move=0.1)
    rig.step(10)
    rig.send(rig.chunk(1, move=0.1))
    rig.step()
    assert rig.outcomes[-1].reason == "late" and "in motion" in rig.outcomes[-1].detail
    until_the_next_is_wanted(rig)
    assert rig.at_rest()
    seen = rig.chunk(2, move=0.1)
    rig.step(20)  # the policy thinks, the cell stands
    assert rig.at_rest()
    rig.send(seen)
    rig.step()
    assert rig.outcomes[-1].accepted and rig.outcomes[-1].steps_skipped == 0
    start = rig.gate.intake.track.plan
    assert start.start_ns >= rig.now_ns - 20_000_000, "its first action is due now"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_in_whatever_order_every_chunk_has_one_fate_and_no_command_breaks_a_limit(rig, seed):
    """Chunks up to half a second late, overtaken, doubled; the rig's spy looks at every command."""
    rng = np.random.default_rng(seed)
    rig.start(move=0.05)
    waiting, sent = [], 1
    for sequence in range(1, 16):
        waiting.append((rig.now_ns + int(rng.integers(0, 500)) * 1_000_000, rig.chunk(sequence, move=float(rng.uniform(-0.15, 0.15)))))
        if rng.uniform() < 0.2:
            waiting.append((rig.now_ns + 300_000_000, waiting[-1][1]))
        for _ in range(int(rng.integers(5, 25))):
            for due in [w for w in waiting if w[0] <= rig.now_ns]:
                waiting.remove(due)
                rig.send(due[1])
                sent += 1
            rig.step()
    report = rig.gate.report()
    assert report.chunks_accepted + report.chunks_late + report.chunks_duplicate + report.chunks_rejected == sent == len(rig.outcomes)
    followed = [o.sequence for o in rig.outcomes if o.accepted]
    assert followed == sorted(set(followed)) and len(followed) > 1
    assert rig.status.mode is Mode.RUNNING and report.chunks_late + report.chunks_duplicate > 0
