# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.chunks import ChunkRefused, check_chunk, monotonic_start_ns
from dex_core.errors import JointNameError, LimitError
from dex_core.limits import JointLimits
from dex_core.types import ActionChunk, ActionSlice

NS = 1_000_000_000
WALL = 1_700_000_000 * NS
ONE = np.ones(3)
LIMITS = JointLimits(("a", "b", "c"), -ONE, ONE, ONE, 10 * ONE, 0.3 * ONE)
INTERFACES = [("left_arm", ("a", "b")), ("left_hand", ("c",))]


def make(arm=None, hand=None, names=("a", "b"), **changes) -> ActionChunk:
    arm = np.zeros((10, 2)) if arm is None else arm
    hand = np.zeros((10, 1)) if hand is None else hand
    slices = (ActionSlice("left_arm", "joint_position", arm, names), ActionSlice("left_hand", "joint_position", hand, ("c",)))
    return ActionChunk(**{**dict(stamp_ns=WALL, goal_id="g", sequence=3, dt_s=0.05, first_action_offset=1.0, slices=slices), **changes})


def test_times_are_mapped_once_to_the_monotonic_clock():
    start = monotonic_start_ns(make(), 5 * NS, WALL + NS // 5, 1.5)
    assert start == 5 * NS - NS // 5 + NS // 20


@pytest.mark.parametrize("age_s, code", [(-0.06, "future"), (-3600.0, "future"), (1.51, "late"), (0.51, "late")])
def test_stamps_that_make_no_sense_are_refused(age_s, code):
    with pytest.raises(ChunkRefused) as refused:
        monotonic_start_ns(make(), 5 * NS, WALL + round(age_s * NS), 1.5)
    assert refused.value.code == code


def test_columns_are_ordered_by_name():
    arm = np.tile([[0.1, 0.2]], (10, 1))
    np.testing.assert_array_equal(check_chunk(make(arm, names=("b", "a")), INTERFACES, LIMITS, 0.0)[0], [0.2, 0.1, 0.0])


def test_wrong_names_are_never_mapped_by_index():
    with pytest.raises(JointNameError, match="unknown"):
        check_chunk(make(names=("a", "x")), INTERFACES, LIMITS, 0.0)


def test_a_missing_interface_or_space_is_incomplete():
    chunk = make()
    with pytest.raises(ChunkRefused) as refused:
        check_chunk(ActionChunk(WALL, "g", 3, 0.05, 1.0, chunk.slices[:1]), INTERFACES, LIMITS, 0.0)
    assert refused.value.code == "incomplete"


def test_positions_outside_are_refused_beyond_the_tolerance():
    hand = np.linspace(0.8, 1.015, 10)[:, None]
    assert check_chunk(make(hand=hand), INTERFACES, LIMITS, 0.02).shape == (10, 3)
    with pytest.raises(LimitError, match="action 9: c is 0.0150 rad outside"):
        check_chunk(make(hand=hand), INTERFACES, LIMITS, 0.01)


def test_a_leap_is_refused():
    arm = np.zeros((10, 2))
    arm[6:, 1] = 0.31
    with pytest.raises(LimitError, match="action 5: b leaps"):
        check_chunk(make(arm), INTERFACES, LIMITS, 0.0)


def test_one_action_is_a_chunk():
    assert check_chunk(make(np.zeros((1, 2)), np.zeros((1, 1))), INTERFACES, LIMITS, 0.0).shape == (1, 3)
