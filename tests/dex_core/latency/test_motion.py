# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.latency import MotionFinder, MotionKind
from dex_core.latency.motion import FLOOR_RAD

MS = 1_000_000
T0 = 5_000 * MS
"""First command."""
NAMES = {"left_arm": ("left_joint1", "left_joint2"), "left_hand": ("left_thumb",)}
ALL = tuple(name for names in NAMES.values() for name in names)


def play(finder, target, *, lag_ms=30, before=lambda t: np.zeros(3), noise=0.0, step=0.0, until_ms=700, mute=(), start_ms=-600, idle=False):
    """Commands follow ``target(t [ms])`` from T0 on, measurements follow the commands by ``lag_ms``; both every 10 ms."""
    rng = np.random.default_rng(0)

    def at(t_ms):
        return np.asarray(target(t_ms) if t_ms >= 0 else before(t_ms), float)

    for t in range(start_ms, until_ms, 10):
        if t >= 0 or not idle:
            finder.commanded(T0 - MS + t * MS, ALL, at(t))
        q = at(t + 3 - lag_ms) + rng.normal(0.0, noise, 3) if noise else at(t + 3 - lag_ms)
        q = np.round(q / step) * step if step else q
        for interface, names in NAMES.items():
            if interface not in mute:
                columns = [ALL.index(n) for n in names]
                finder.measured(interface, T0 + (t + 3) * MS, names, q[columns])


def ramp(speed, joint=0):
    out = np.zeros(3)
    out[joint] = speed * 1e-3
    return lambda t: out * (t + 10)


def test_the_first_motion_from_rest_is_the_robots_own_lag():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0))
    found = finder.find(T0, None, T0 + 700 * MS)
    assert found.kind is MotionKind.SEEN and found.joint == "left_joint1" and found.from_rest
    assert 30 * MS <= found.stamp_ns - T0 <= 45 * MS


def test_the_earliest_joint_of_any_device_counts():
    finder = MotionFinder(NAMES)
    play(finder, lambda t: [0.005e-3 * (t + 10), 0.0, 0.5e-3 * (t + 10)])
    assert finder.find(T0, None, T0 + 700 * MS).joint == "left_thumb"


def test_nothing_is_said_too_early_and_nothing_is_made_up():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), until_ms=20)
    assert finder.find(T0, None, T0 + 20 * MS) is None
    finder = MotionFinder(NAMES)
    play(finder, lambda t: np.zeros(3))
    assert finder.find(T0, None, T0 + 400 * MS) is None
    assert finder.find(T0, None, T0 + 700 * MS).kind is MotionKind.NONE


def test_a_robot_that_does_not_follow_is_missed():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), lag_ms=10_000)
    found = finder.find(T0, None, T0 + 700 * MS)
    assert found.kind is MotionKind.MISSED and found.stamp_ns == 0 and found.from_rest


def test_a_joint_that_moves_the_other_way_does_not_count():
    finder = MotionFinder(NAMES)
    for t in range(-300, 700, 10):
        finder.commanded(T0 - MS + t * MS, ALL, np.array([max(0, t) * 1e-3, 0, 0]))
        for interface, names in NAMES.items():
            finder.measured(interface, T0 + t * MS, names, np.array([-max(0, t) * 1e-3, 0][: len(names)]))
    assert finder.find(T0, None, T0 + 700 * MS).kind is MotionKind.MISSED


@pytest.mark.parametrize(("noise", "step"), [(1e-3, 0.0), (0.0, 2e-3), (5e-4, 1e-3)])
def test_noise_and_coarse_encoders_are_no_motion(noise, step):
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), noise=noise, step=step, lag_ms=60, start_ms=-2500)
    found = finder.find(T0, None, T0 + 700 * MS)
    assert found.kind is MotionKind.SEEN and found.joint == "left_joint1" and found.stamp_ns - T0 >= 50 * MS


def test_a_motion_below_the_threshold_is_none():
    finder = MotionFinder(NAMES)
    play(finder, lambda t: np.full(3, 0.5 * FLOOR_RAD))
    assert finder.find(T0, None, T0 + 700 * MS).kind is MotionKind.NONE


def test_on_the_way_already_is_not_from_rest():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), before=lambda t: np.array([1e-3 * (t + 10), 0, 0]))
    found = finder.find(T0, None, T0 + 700 * MS)
    assert found.kind is MotionKind.SEEN and not found.from_rest and found.stamp_ns - T0 <= 20 * MS


def test_the_first_command_of_all_is_held_against_what_was_measured():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), idle=True)
    found = finder.find(T0, None, T0 + 700 * MS)
    assert found.kind is MotionKind.SEEN and found.from_rest and found.stamp_ns - T0 >= 30 * MS


def test_only_until_the_next_chunk():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), lag_ms=200)
    assert finder.find(T0, T0 + 100 * MS, T0 + 700 * MS).kind is MotionKind.MISSED


def test_without_measurements_or_commands_nothing_is_known():
    for muted in ({"mute": ("left_arm",)}, {"start_ms": 300}):
        finder = MotionFinder(NAMES)
        play(finder, ramp(1.0), **muted)
        assert finder.find(T0, None, T0 + 700 * MS).kind is MotionKind.UNKNOWN


def test_rows_that_are_not_whole_are_left_out():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0))
    finder.measured("left_arm", T0 + 900 * MS, ("left_joint1",), np.zeros(1))
    finder.measured("left_arm", T0 + 900 * MS, NAMES["left_arm"], np.array([np.nan, 0.0]))
    finder.measured("left_arm", T0, NAMES["left_arm"], np.array([9.0, 9.0]))  # older than the newest
    finder.commanded(T0 + 900 * MS, (), np.zeros(0))
    assert finder.find(T0, None, T0 + 700 * MS).kind is MotionKind.SEEN


def test_joints_are_matched_by_name():
    finder = MotionFinder(NAMES)
    for t in range(-300, 700, 10):
        q = np.array([0.0, max(0, t) * 1e-3, 0.0])
        finder.commanded(T0 - MS + t * MS, ALL[::-1], q[::-1])
        finder.measured("left_arm", T0 + t * MS, NAMES["left_arm"][::-1], q[1::-1])
        finder.measured("left_hand", T0 + t * MS, NAMES["left_hand"], q[2:])
    assert finder.find(T0, None, T0 + 700 * MS).joint == "left_joint2"
