# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.latency import MotionFinder, MotionKind
from dex_core.latency.motion import FLOOR_RAD
from dex_core.types import ActionChunk, ActionSlice

MS = 1_000_000
T0 = 5_000 * MS
"""First command."""
NAMES = {"left_arm": ("left_joint1", "left_joint2"), "left_hand": ("left_thumb",)}
ALL = tuple(name for names in NAMES.values() for name in names)
KEY, OLD = ("g", 2), ("g", 1)


def plan(target, key, first_ms, steps=80):
    """A chunk that tells ``target(t [ms])`` every 10 ms from ``first_ms`` on, its slices one per interface."""
    rows = np.array([target(first_ms + 10 * k) for k in range(steps)], float)
    slices = tuple(ActionSlice(i, "joint_position", rows[:, [ALL.index(n) for n in names]], names) for i, names in NAMES.items())
    return ActionChunk(T0 + first_ms * MS, *key, 0.01, 0.0, slices)


def play(finder, target, *, lag_ms=30, before=lambda t: np.zeros(3), noise=0.0, step=0.0, until_ms=700, mute=(), start_ms=-600, old=True):
    """From T0 on the chunk is followed, before it the one before; measurements follow by ``lag_ms``, every 10 ms."""
    rng = np.random.default_rng(0)
    if old:
        finder.planned(plan(before, OLD, -200))
    finder.planned(plan(target, KEY, 0))
    for t in range(start_ms, until_ms, 10):
        at = t + 3 - lag_ms
        q = np.asarray(target(at) if at >= 0 else before(at), float) + (rng.normal(0.0, noise, 3) if noise else 0.0)
        q = np.round(q / step) * step if step else q
        for interface, names in NAMES.items():
            if interface not in mute:
                finder.measured(interface, T0 + (t + 3) * MS, names, q[[ALL.index(n) for n in names]])


def find(finder, now_ms=700, next_ms=None, before=OLD):
    return finder.find(KEY, before, T0, None if next_ms is None else T0 + next_ms * MS, T0 + now_ms * MS)


def ramp(speed, joint=0):
    out = np.zeros(3)
    out[joint] = speed * 1e-3
    return lambda t: out * (t + 10)


def test_the_first_motion_from_rest_is_the_robots_own_lag():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0))
    found = find(finder)
    assert found.kind is MotionKind.SEEN and found.joint == "left_joint1" and found.from_rest
    assert 30 * MS <= found.stamp_ns - T0 <= 45 * MS


def test_the_earliest_joint_of_any_device_counts():
    finder = MotionFinder(NAMES)
    play(finder, lambda t: [0.005e-3 * (t + 10), 0.0, 0.5e-3 * (t + 10)])
    assert find(finder).joint == "left_thumb"


def test_nothing_is_said_too_early_and_nothing_is_made_up():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), until_ms=20)
    assert find(finder, 20) is None
    finder = MotionFinder(NAMES)
    play(finder, lambda t: np.zeros(3))
    assert find(finder, 400) is None
    assert find(finder).kind is MotionKind.NONE


def test_a_robot_that_does_not_follow_is_missed():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), lag_ms=10_000)
    found = find(finder)
    assert found.kind is MotionKind.MISSED and found.stamp_ns == 0 and found.from_rest


def test_a_joint_that_moves_the_other_way_does_not_count():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), until_ms=0)
    for t in range(0, 700, 10):
        for interface, names in NAMES.items():
            finder.measured(interface, T0 + t * MS, names, np.array([-t * 1e-3, 0.0])[: len(names)])
    assert find(finder).kind is MotionKind.MISSED


@pytest.mark.parametrize(("noise", "step"), [(1e-3, 0.0), (0.0, 2e-3), (5e-4, 1e-3)])
def test_noise_and_coarse_encoders_are_no_motion(noise, step):
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), noise=noise, step=step, lag_ms=60, start_ms=-2500)
    found = find(finder)
    assert found.kind is MotionKind.SEEN and found.joint == "left_joint1" and found.stamp_ns - T0 >= 50 * MS


def test_a_motion_below_the_threshold_is_none():
    finder = MotionFinder(NAMES)
    play(finder, lambda t: np.full(3, 0.5 * FLOOR_RAD))
    assert find(finder).kind is MotionKind.NONE


def test_on_the_way_already_is_not_from_rest():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), before=lambda t: np.array([1e-3 * (t + 10), 0, 0]))
    found = find(finder)
    assert found.kind is MotionKind.SEEN and not found.from_rest and found.stamp_ns - T0 <= 20 * MS


def test_the_first_chunk_of_all_is_held_against_what_was_measured():
    finder = MotionFinder(NAMES)
    play(finder, lambda t: ramp(1.0)(t) + 0.1, before=lambda t: np.full(3, 0.1), old=False)
    found = find(finder, before=None)
    assert found.kind is MotionKind.SEEN and found.joint == "left_joint1" and found.from_rest and found.stamp_ns - T0 >= 30 * MS


def test_a_steady_error_of_a_joint_is_not_told_motion():
    finder = MotionFinder(NAMES)
    finder.planned(plan(lambda t: np.full(3, 0.5), OLD, -200))
    finder.planned(plan(lambda t: np.full(3, 0.5), KEY, 0))
    for t in range(-600, 700, 10):
        for interface, names in NAMES.items():
            finder.measured(interface, T0 + t * MS, names, np.full(len(names), 0.49))
    assert find(finder).kind is MotionKind.NONE


def test_only_until_the_next_chunk():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0), lag_ms=200)
    assert find(finder, next_ms=100).kind is MotionKind.MISSED


def test_without_measurements_or_a_plan_nothing_is_known():
    for muted in ({"mute": ("left_arm",)}, {"start_ms": 300}):
        finder = MotionFinder(NAMES)
        play(finder, ramp(1.0), **muted)
        assert find(finder).kind is MotionKind.UNKNOWN
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0))
    assert finder.find(("other", 1), None, T0, None, T0 + 700 * MS).kind is MotionKind.UNKNOWN


def test_what_is_not_whole_is_left_out():
    finder = MotionFinder(NAMES)
    play(finder, ramp(1.0))
    finder.measured("left_arm", T0 + 900 * MS, ("left_joint1",), np.zeros(1))
    finder.measured("left_arm", T0 + 900 * MS, NAMES["left_arm"], np.array([np.nan, 0.0]))
    finder.measured("left_arm", T0, NAMES["left_arm"], np.array([9.0, 9.0]))  # older than the newest
    latents = ActionSlice("left_hand", "latent", np.zeros((4, 2)), ("a", "b"))
    stranger = ActionSlice("right_arm", "joint_position", np.zeros((4, 1)), ("right_joint1",))
    finder.planned(ActionChunk(T0, *KEY, 0.01, 0.0, (latents, stranger)))
    assert find(finder).kind is MotionKind.SEEN


def test_joints_are_matched_by_name():
    finder = MotionFinder(NAMES)
    finder.planned(plan(lambda t: np.zeros(3), OLD, -200))
    arm = ActionSlice("left_arm", "joint_position", np.array([[k * 1e-2, 0.0] for k in range(80)]), NAMES["left_arm"][::-1])
    finder.planned(ActionChunk(T0, *KEY, 0.01, 0.0, (arm,)))
    for t in range(-300, 700, 10):
        finder.measured("left_arm", T0 + t * MS, NAMES["left_arm"][::-1], np.array([max(0, t) * 1e-3, 0.0]))
        finder.measured("left_hand", T0 + t * MS, NAMES["left_hand"], np.zeros(1))
    assert find(finder).joint == "left_joint2"


def test_memory_is_bounded():
    finder = MotionFinder(NAMES)
    for k in range(100):
        finder.planned(plan(lambda t: np.zeros(3), ("g", k), 0))
    assert all(len(device.plans) <= 8 for device in finder._devices.values())
