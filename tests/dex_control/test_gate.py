# SPDX-License-Identifier: Apache-2.0
"""Requests to the gate, and the gate without any nodes around it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dex_control.gate import CommandMode, Gate, watched_nodes
from dex_core.safety import Mode, Reason
from dex_core.types import ActionChunk, ActionSlice, JointState

NS = 1_000_000_000


def test_the_whole_cell_is_watched(cell):
    assert [w.node for w in watched_nodes(cell)] == [
        "policy", "left_decoder", "right_decoder", "camera", "left_arm", "right_arm", "left_hand", "right_hand", "task",
    ]


def test_in_lockstep_no_heartbeats_are_needed(cell):
    gate, now = Gate(cell, watched=()), NS
    joints = np.array([q for i in cell.interfaces.values() for q in i.home])

    def feed() -> None:
        start = 0
        for name, part in cell.interfaces.items():
            n = len(part.names)
            gate.on_joint_state(name, JointState(part.names, joints[start : start + n], np.zeros(n), np.zeros(n), now), now)
            start += n

    feed()
    assert gate.set_goal("g", True, now).accepted
    assert gate.tick(now + NS // 100).mode is CommandMode.HOLD
    assert gate.status.mode is Mode.ARMED


def test_no_state_no_goal(cell):
    gate = Gate(cell, watched=())
    reply = gate.set_goal("g", True, NS)
    assert (reply.accepted, reply.reason) == (False, Reason.STATE_STALE) and "left_arm" in reply.detail


def test_the_same_goal_may_be_armed_twice_and_another_not(rig):
    rig.start("g1")
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    assert rig.gate.set_goal("g2", True, rig.now_ns).reason == Reason.BUSY
    assert rig.gate.set_goal("g2", False, rig.now_ns).reason == Reason.WRONG_GOAL
    assert rig.status.goal_id == "g1"


def test_a_new_goal_may_begin_while_the_last_one_still_brakes(rig):
    rig.start("g1", move=0.35)
    rig.step(100)
    assert rig.gate.set_goal("g1", False, rig.now_ns).accepted
    rig.step(2)
    assert rig.gate.set_goal("g2", True, rig.now_ns).accepted
    rig.send(rig.chunk(0, "g2"))
    rig.step(50)
    assert rig.status.goal_id == "g2" and rig.last.mode is CommandMode.TRACK


def test_chunks_of_a_goal_that_was_preempted_move_nothing(rig):
    """F28: its id is the epoch; whatever their number, they are refused, before and after the new goal's own first chunk."""
    rig.start("g1", move=0.1)
    rig.step(50)
    rig.gate.set_goal("g1", False, rig.now_ns)
    rig.step(30)
    assert rig.gate.set_goal("g2", True, rig.now_ns).accepted
    rig.step()
    still = rig.last.command.position_rad.copy()
    for sequence in (0, 1, 2, 99):
        rig.send(rig.chunk(sequence, "g1", move=0.3))
    rig.step(20)
    assert [o.reason for o in list(rig.outcomes)[-4:]] == [Reason.WRONG_GOAL] * 4 and rig.status.mode is Mode.ARMED
    np.testing.assert_allclose(rig.last.command.position_rad, still, atol=1e-3)
    rig.send(rig.chunk(0, "g2", move=0.0))
    rig.send(rig.chunk(5, "g1", move=0.3))
    rig.step(20)
    assert rig.status.mode is Mode.RUNNING and rig.status.goal_id == "g2" and rig.outcomes[-1].reason == Reason.WRONG_GOAL
    assert not rig.gate.set_goal("g1", True, rig.now_ns).accepted, "an id is good for one goal"


def test_ending_a_goal_that_does_not_run_is_harmless(rig):
    rig.step(2)
    assert rig.gate.set_goal("g1", False, rig.now_ns).accepted
    assert rig.status.mode is Mode.IDLE


def test_no_reset_while_it_brakes(rig):
    rig.start(move=0.35)
    rig.step(100)
    rig.gate.stop()
    rig.step()
    assert rig.gate.reset(rig.now_ns).reason == Reason.MOVING
    rig.step(40)
    assert rig.gate.reset(rig.now_ns).accepted


def test_a_stop_is_idempotent_and_works_in_idle(rig):
    rig.step(2)
    assert rig.gate.stop().accepted and rig.gate.stop().accepted
    assert rig.step().mode is CommandMode.STOP


def test_a_cell_measured_outside_its_range_cannot_be_armed(rig):
    rig.joints[1] = rig.gate.limits.upper_rad[1] + 0.3
    rig.step(3)
    reply = rig.gate.set_goal("g1", True, rig.now_ns)
    assert reply.reason == Reason.FIRST_COMMAND_FAR and "left_joint2" in reply.detail


def test_a_joint_pushed_out_of_reach_while_running_is_a_fault(rig):
    rig.start()
    rig.joints[1] = rig.gate.limits.upper_rad[1] + 0.3
    tick = rig.step()
    assert (rig.status.mode, rig.status.reason, tick.mode) == (Mode.FAULT, Reason.LIMIT_STEP, CommandMode.STOP)


def test_another_model_in_the_middle_of_a_goal_is_refused(rig):
    rig.start()
    rig.send(dataclasses.replace(rig.chunk(1), bundle_hash="another"))
    rig.step()
    assert rig.outcomes[-1].reason == "bundle_changed"


def test_timing_is_kept_and_completed(rig):
    rig.start()
    [outcome] = [o for o in rig.outcomes if o.accepted]
    assert set(outcome.timing_ns) == {"observed", "accepted"}
    assert outcome.seam.position_jump_rad == pytest.approx(0.0, abs=1e-3)


def test_decoded_parts_arrive_later_within_the_join_timeout(rig):
    rig.start()
    whole = rig.chunk(1)
    for count, slices in enumerate((whole.slices[:2], whole.slices[2:3], whole.slices[3:])):
        rig.send(ActionChunk(whole.stamp_ns, "g1", 1, 0.05, 1.0, slices, "hash"))
        rig.step()
        assert rig.gate.intake.sequence == (1 if count == 2 else 0)
    rig.send(ActionChunk(rig.wall_ns, "g1", 2, 0.05, 1.0, whole.slices[:2], "hash"))
    rig.step(20)
    assert rig.outcomes[-1].reason == "incomplete" and "right_hand" in rig.outcomes[-1].detail


def test_starving_after_a_refusal_says_what_was_refused(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    rig.send(rig.chunk(0, knots=rig.joints + 9.0 * np.arange(64)[:, None]))
    rig.step(502)
    assert rig.status.reason == Reason.CHUNK_STARVED and "refused [limit]" in rig.status.detail


def blind(whole: ActionChunk) -> ActionChunk:
    """What a policy that knows no joint sends: poses for arms, latents for hands."""
    spaces = {"arm": ("wrist_pose", 9), "hand": ("latent", 32)}
    slices = []
    for s in whole.slices:
        space, width = spaces[s.interface.split("_")[1]]
        slices.append(ActionSlice(s.interface, space, np.zeros((s.steps, width))))
    return dataclasses.replace(whole, slices=tuple(slices))


def of_side(whole: ActionChunk, side: str) -> ActionChunk:
    return dataclasses.replace(whole, slices=tuple(s for s in whole.slices if s.interface.startswith(side)))


def test_chunks_whose_every_slice_is_decoded_are_followed(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    for sequence in range(3):
        whole = rig.chunk(sequence)
        rig.send(blind(whole))
        rig.step()
        for side in ("left", "right"):
            rig.send(of_side(whole, side))
        rig.step(50)
        assert rig.gate.intake.sequence == sequence and rig.last.mode is CommandMode.TRACK
    assert all(outcome.accepted for outcome in rig.outcomes)


@pytest.mark.parametrize("speaks", [("left",), ()])
def test_a_decoder_that_lives_but_decodes_nothing_is_named_and_ends_in_a_hold(rig, speaks):
    rig.start(move=0.05)
    for sequence in range(1, 4):
        whole = rig.chunk(sequence)
        rig.send(blind(whole))
        for side in speaks:
            rig.send(of_side(whole, side))
        rig.step(40)
        assert rig.outcomes[-1].reason == "incomplete" and "right_decoder" in rig.outcomes[-1].detail
    assert rig.status.mode is Mode.FAULT and rig.status.latched and rig.status.reason == Reason.CHUNK_REJECTED
    assert rig.status.cause == ("right_decoder" if speaks else "left_decoder") and "right_decoder" in rig.status.detail
    rig.step(200, until=rig.at_rest)
    held = rig.joints.copy()
    rig.step(50)
    np.testing.assert_allclose(rig.joints, held, atol=1e-3)


def test_a_first_chunk_that_nobody_decodes_moves_nothing(rig):
    rig.step(3)
    assert rig.gate.set_goal("g1", True, rig.now_ns).accepted
    before = rig.joints.copy()
    rig.send(blind(rig.chunk(0)))
    rig.step(510)
    assert rig.status.reason == Reason.CHUNK_STARVED and "left_decoder" in rig.status.detail and "right_decoder" in rig.status.detail
    np.testing.assert_allclose(rig.joints, before, atol=1e-6)


def test_the_death_of_a_decoder_in_mid_chunk_holds_at_once(rig):
    rig.start()
    whole = rig.chunk(1)
    rig.send(blind(whole))
    rig.send(of_side(whole, "left"))
    rig.silent.add("right_decoder")
    rig.step(20)
    assert (rig.status.reason, rig.status.cause) == (Reason.DECODER_LOST, "right_decoder")
