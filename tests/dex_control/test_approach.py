# SPDX-License-Identifier: Apache-2.0
"""A goal whose first chunk lies far from the fingers: the hand comes to it slowly, the arm does not wait, real faults are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dex_control.gate import CommandMode
from dex_core.config import CellConfig, load_cell
from dex_core.safety import Mode, Reason
from dex_core.types import ActionSlice

DT_S = 0.01


@pytest.fixture(scope="module")
def leap() -> CellConfig:
    """A hand whose postures lie far from its home, on the left; the cell after a swap."""
    return load_cell("xarm_bimanual", left_hand="leap")


def posture(rig: Any, share: float) -> np.ndarray:
    """Where the rig stands, but the left hand's joints at ``share`` of their way from there to the end of their range [rad]."""
    goal, hand = rig.joints.copy(), rig.place("left_hand")
    goal[hand] += share * (rig.gate.limits.upper_rad[hand] - rig.joints[hand])
    return goal


def arm_goal(rig: Any, goal: str = "g1") -> None:
    rig.step(3)
    assert rig.gate.set_goal(goal, True, rig.now_ns).accepted


def still(rig: Any, goal: np.ndarray, steps: int = 64) -> np.ndarray:
    return np.tile(goal, (steps, 1))


def commands(rig: Any, first: int = 0) -> np.ndarray:
    """(T, n) positions that were commanded."""
    return np.array([tick.command.position_rad for tick in rig.spy.ticks[first:] if len(tick.command.position_rad)])


def test_a_far_hand_comes_slowly_and_exactly_to_its_chunk(rig_of, leap):
    rig = rig_of(leap)
    goal, hand = posture(rig, 0.8), rig.place("left_hand")
    assert np.abs(goal - rig.joints)[hand].max() > 1.0
    arm_goal(rig)
    begun = len(rig.spy.ticks)
    rig.send(rig.chunk(0, knots=still(rig, goal)))
    rig.step(250)
    assert rig.status.mode is Mode.RUNNING and rig.last.mode is CommandMode.TRACK
    way = commands(rig, begun)
    speed = np.abs(np.diff(way, axis=0)).max(axis=0)[hand] / DT_S
    assert speed.max() == pytest.approx(leap.control.hand_approach_rad_s, rel=1e-3)
    np.testing.assert_array_equal(way[-1][hand], goal[hand])
    assert not rig.gate.report().limits, "an approach is no limit that acts"
    [outcome] = rig.outcomes
    assert outcome.accepted and "left_hand began far" in outcome.detail and "1.5 rad/s" in outcome.detail


def test_the_first_command_lies_at_the_measured_fingers(rig_of, leap):
    rig = rig_of(leap)
    arm_goal(rig)
    before = rig.joints.copy()
    rig.send(rig.chunk(0, knots=still(rig, posture(rig, 0.8))))
    rig.step()
    hand = rig.place("left_hand")
    assert np.abs(rig.last.command.position_rad - before)[hand].max() <= (rig.gate.limits.acceleration_rad_s2[hand] * DT_S**2).max() + 1e-9


def test_the_arm_does_not_wait_for_the_fingers(rig_of, leap):
    ways = []
    for share in (0.0, 0.8):
        rig = rig_of(leap)
        arm_goal(rig)
        begun = len(rig.spy.ticks)
        chunk = rig.chunk(0, move=0.3)
        knots = np.concatenate([part.data for part in chunk.slices], axis=1)
        hand = rig.place("left_hand")
        knots[:, hand] = posture(rig, share)[hand]
        rig.send(rig.chunk(0, knots=knots))
        rig.step(60)
        ways.append(np.delete(commands(rig, begun), np.r_[hand], axis=1))
    np.testing.assert_array_equal(*ways)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_an_arm_that_is_far_is_refused_wherever_the_fingers_are(rig_of, leap, share):
    rig = rig_of(leap)
    arm_goal(rig)
    before, goal = rig.joints.copy(), posture(rig, share)
    goal[0] += 0.51
    rig.send(rig.chunk(0, knots=still(rig, goal)))
    rig.step(50)
    assert (rig.status.mode, rig.status.reason, rig.status.cause) == (Mode.HOLDING, Reason.FIRST_COMMAND_FAR, "left_joint1")
    np.testing.assert_allclose(rig.joints, before, atol=1e-12)


@pytest.mark.parametrize(
    ("fault", "reason"), [("another hand", "joint_names"), ("out of range", "limit"), ("leap", "limit"), ("missing", "incomplete")]
)
def test_real_faults_of_a_hand_are_refused_without_motion(rig_of, leap, fault, reason):
    rig = rig_of(leap)
    arm_goal(rig)
    before, hand = rig.joints.copy(), rig.place("left_hand")
    knots = still(rig, posture(rig, 0.8))
    if fault == "out of range":
        knots[:, hand.start + 1] = rig.gate.limits.upper_rad[hand.start + 1] + 0.1
    if fault == "leap":
        knots[30:, hand.start] -= 2.2
    chunk = rig.chunk(0, knots=knots)
    slices = {part.interface: part for part in chunk.slices}
    if fault == "another hand":
        other = load_cell("xarm_bimanual").interface("left_hand")
        slices["left_hand"] = ActionSlice("left_hand", "joint_position", np.tile(other.home, (64, 1)), other.names)
    if fault == "missing":
        del slices["left_hand"]
    rig.send(dataclasses.replace(chunk, slices=tuple(slices.values())))
    rig.step(30)
    assert rig.outcomes[-1].reason == reason and not rig.outcomes[-1].accepted
    np.testing.assert_allclose(rig.joints, before, atol=1e-6)


def test_chunks_that_come_meanwhile_are_approached_in_their_turn(rig_of, leap):
    rig = rig_of(leap)
    goal, hand = posture(rig, 0.8), rig.place("left_hand")
    arm_goal(rig)
    begun = len(rig.spy.ticks)
    for sequence in range(6):
        goal = goal.copy()
        goal[hand] -= 0.05
        rig.send(rig.chunk(sequence, knots=still(rig, goal)))
        rig.step(40)
        assert rig.outcomes[-1].accepted, rig.outcomes[-1]
    speed = np.abs(np.diff(commands(rig, begun), axis=0))[:, hand] / DT_S
    assert speed.max() <= leap.control.hand_approach_rad_s + 1e-6
    np.testing.assert_allclose(rig.last.command.position_rad[hand], goal[hand], atol=1e-6)


def test_a_chunk_that_contradicts_the_one_before_is_refused_during_the_approach_too(rig_of, leap):
    rig = rig_of(leap)
    arm_goal(rig)
    goal = posture(rig, 0.8)
    rig.send(rig.chunk(0, knots=still(rig, goal)))
    rig.step(20)
    goal[rig.place("left_hand").start + 1] -= 0.6
    rig.send(rig.chunk(1, knots=still(rig, goal)))
    rig.step(2)
    assert rig.outcomes[-1].reason == "too_far" and rig.status.mode is Mode.RUNNING


def test_after_a_stop_in_mid_approach_the_next_goal_begins_where_the_fingers_are(rig_of, leap):
    rig = rig_of(leap)
    goal, hand = posture(rig, 0.8), rig.place("left_hand")
    arm_goal(rig)
    rig.send(rig.chunk(0, knots=still(rig, goal)))
    rig.step(30)
    rig.gate.stop()
    rig.step(80)
    assert rig.gate.reset(rig.now_ns).accepted
    held = rig.joints.copy()
    assert 0.1 < np.abs(goal - held)[hand].max()
    arm_goal(rig, "g2")
    begun = len(rig.spy.ticks)
    rig.send(rig.chunk(0, "g2", knots=still(rig, goal)))
    rig.step(250)
    way = commands(rig, begun)
    assert np.abs(way[0] - held)[hand].max() < 0.05
    assert np.abs(np.diff(way, axis=0))[:, hand].max() / DT_S <= leap.control.hand_approach_rad_s + 1e-6
    np.testing.assert_array_equal(way[-1][hand], goal[hand])


def test_where_the_first_command_is_near_nothing_changes(rig_of, cell):
    ways = []
    for speed in (0.05, 10.0):
        rig = rig_of(dataclasses.replace(cell, control=dataclasses.replace(cell.control, hand_approach_rad_s=speed)))
        arm_goal(rig)
        begun = len(rig.spy.ticks)
        goal = rig.joints.copy()
        hand = rig.place("left_hand")
        goal[hand] = np.minimum(goal[hand] + 0.49, rig.gate.limits.upper_rad[hand])
        rig.send(rig.chunk(0, knots=still(rig, goal)))
        rig.step(100)
        assert rig.outcomes[-1].accepted and not rig.outcomes[-1].detail
        ways.append(commands(rig, begun))
    np.testing.assert_array_equal(*ways)
