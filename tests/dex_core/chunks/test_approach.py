# SPDX-License-Identifier: Apache-2.0
"""A hand that stands far from its first chunk comes to it: slowly, without a step, to the very place; nothing else notices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.chunks import Approach, BlendLimits, Schedule, ScheduleSettings, Spline
from dex_core.chunks.schedule import Blending
from dex_core.errors import ShapeError
from dex_core.limits import JointLimits, Motion

NS = 1_000_000_000
TICK_NS = 10_000_000
DT_S = TICK_NS / NS
STEP_S = 0.05
NAMES = ("left_joint1", "left_index", "left_thumb", "right_index", "right_thumb")
HANDS = {"left_hand": slice(1, 3), "right_hand": slice(3, 5)}
LIMITS = JointLimits(NAMES, np.full(5, -2.0), np.full(5, 2.0), np.array([2.0, 8.0, 1.0, 8.0, 4.0]), np.full(5, 60.0), np.full(5, 4.0))
NEAR_RAD, SPEED_RAD_S = 0.5, 1.5


def made(speed_rad_s: float = SPEED_RAD_S) -> Approach:
    return Approach(LIMITS, HANDS, NEAR_RAD, speed_rad_s)


def wave(start_ns: int, amplitude: float, phase: float, rate: float, middle: float = 0.0) -> Spline:
    t = np.arange(64)[:, None] * STEP_S
    return Spline(start_ns, STEP_S, np.clip(middle + amplitude * np.sin(rate * t + phase + np.arange(5)), -2.0, 2.0))


def walk(approach: Approach, track: Schedule, motion: Motion, first_ns: int, ticks: int) -> tuple[np.ndarray, Motion]:
    """(ticks, n) positions after each tick, and the last motion."""
    way = []
    for k in range(1, ticks + 1):
        point = approach.toward(track.at(first_ns + k * TICK_NS), motion, DT_S)
        motion = Motion(point.position_rad, (point.position_rad - motion.position_rad) / DT_S)
        way.append(point.position_rad)
    return np.array(way), motion


def begun(plan: Spline, measured: np.ndarray, approach: Approach) -> Schedule:
    first = plan.at(0).position_rad
    approach.begin(first - measured)
    settings = ScheduleSettings(0.25, BlendLimits(LIMITS.velocity_rad_s, LIMITS.acceleration_rad_s2))
    return Blending(0, np.where(approach.pending, first, measured), settings)


measured_joints = st.lists(st.floats(-1.9, 1.9), min_size=4, max_size=4)


@settings(deadline=None, max_examples=60)
@given(
    hands=measured_joints, speed=st.floats(0.1, 4.0), phases=st.lists(st.floats(-3, 3), min_size=4, max_size=4), rate=st.floats(0.0, 4.0),
    replan=st.integers(5, 80),
)
def test_no_joint_is_faster_than_asked_until_it_is_there_whatever_chunks_come(hands, speed, phases, rate, replan):
    measured, approach = np.array([0.0, *hands]), made(speed)
    plan = wave(0, 0.8, phases[0], rate)
    measured[0] = plan.at(0).position_rad[0]
    track, motion, now = begun(plan, measured, approach), Motion.at_rest(measured), 0
    slow = np.minimum(speed, LIMITS.velocity_rad_s)
    for phase in phases:
        track.accept(wave(now, 0.8, phase, rate), now)
        for k in range(1, replan + 1):
            velocity = motion.velocity_rad_s
            way, motion = walk(approach, track, motion, now + (k - 1) * TICK_NS, 1)
            pending = approach.pending
            assert (np.abs(motion.velocity_rad_s[pending]) <= slow[pending] + 1e-9).all()
            change = np.abs(motion.velocity_rad_s - velocity)[pending] / DT_S
            assert (change <= LIMITS.acceleration_rad_s2[pending] * (1 + 1e-6)).all()
            np.testing.assert_array_equal(way[-1][~pending], track.at(now + k * TICK_NS).position_rad[~pending])
        now += replan * TICK_NS


@settings(deadline=None, max_examples=60)
@given(hands=measured_joints, goal=st.lists(st.floats(-2.0, 2.0), min_size=5, max_size=5), speed=st.floats(0.2, 10.0))
def test_it_ends_exactly_on_the_chunk_in_about_the_time_that_the_speed_needs(hands, goal, speed):
    approach, goal = made(speed), np.array(goal)
    measured = np.array([goal[0], *hands])
    plan = Spline(0, STEP_S, np.tile(goal, (64, 1)))
    track = begun(plan, measured, approach)
    track.accept(plan, 0)
    slow = np.minimum(speed, LIMITS.velocity_rad_s)
    pending, gap = approach.pending.copy(), np.abs(goal - measured)
    needs_s = np.where(pending, gap / slow + 2.0 * slow / LIMITS.acceleration_rad_s2 + 5 * DT_S, 0.0).max()
    way, _ = walk(approach, track, Motion.at_rest(measured), 0, max(1, int(np.ceil(needs_s / DT_S))))
    assert not approach.pending.any()
    np.testing.assert_array_equal(way[-1][pending], goal[pending])
    side = np.sign(goal - measured)
    assert (side[pending] * (goal - way)[:, pending] >= -1e-9).all(), "it does not overshoot"


def test_the_first_command_lies_where_the_fingers_are():
    approach, measured = made(), np.zeros(5)
    track = begun(Spline(0, STEP_S, np.tile([0.0, 1.8, 0.6, 0.1, 0.0], (64, 1))), measured, approach)
    way, _ = walk(approach, track, Motion.at_rest(measured), 0, 1)
    assert np.abs(way[0][1:3]).max() <= LIMITS.acceleration_rad_s2[1] * DT_S**2 + 1e-12


@settings(deadline=None)
@given(gap=st.lists(st.floats(-NEAR_RAD, NEAR_RAD), min_size=5, max_size=5))
def test_near_hands_are_passed_through_untouched(gap):
    approach, plan = made(), wave(0, 0.8, 0.3, 2.0)
    assert approach.begin(np.array(gap)) == ()
    point = plan.at(TICK_NS)
    assert approach.toward(point, Motion.at_rest(np.zeros(5)), DT_S) is point


def test_only_the_hand_that_is_far_approaches_and_an_arm_never_does():
    approach = made()
    assert approach.begin(np.array([3.0, 0.1, -0.6, 0.4, 0.4])) == ("left_hand",)
    assert list(approach.pending) == [False, True, True, False, False]
    approach.clear()
    assert not approach.pending.any()


def test_a_target_just_outside_its_range_is_reached_at_the_end_of_the_range():
    approach, measured = made(), np.zeros(5)
    outside = np.array([0.0, 2.01, 2.01, 0.0, 0.0])  # the position limit will clamp and report it
    track = begun(Spline(0, STEP_S, np.tile(outside, (64, 1))), measured, approach)
    walk(approach, track, Motion.at_rest(measured), 0, 250)
    assert not approach.pending.any()


@pytest.mark.parametrize("speed", [0.0, -1.0, np.nan, np.inf])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ShapeError, match="approach speed"):
        made(speed)
