# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import NonFiniteError
from dex_core.limits import JointLimits
from dex_core.safety import StateBook
from dex_core.types import JointState

MS = 1_000_000
ONE = np.ones(3)
LIMITS = JointLimits(("a", "b", "c"), -ONE, ONE, ONE, 10 * ONE, 0.5 * ONE)


@pytest.fixture
def book() -> StateBook:
    return StateBook([("left_arm", ("a", "b")), ("left_hand", ("c",))], LIMITS, 0.1)


def state(names, position, stamp) -> JointState:
    n = len(names)
    return JointState(tuple(names), np.array(position), np.zeros(n), np.full(n, np.nan), stamp)


def feed(book: StateBook, now_ms: int, arm=(0.1, 0.2), hand=0.3, commanded=None) -> None:
    book.update("left_arm", state("ab", arm, now_ms), now_ms * MS, commanded)
    book.update("left_hand", state("c", [hand], now_ms), now_ms * MS, commanded)


def test_it_is_complete_once_every_device_was_heard(book):
    assert not book.complete() and [t.cause for t in book.trips(0)] == ["left_arm", "left_hand"]
    feed(book, 1)
    assert book.complete() and book.trips(MS) == [] and book.fresh(MS).all()
    np.testing.assert_array_equal(book.position_rad, [0.1, 0.2, 0.3])


def test_old_states_trip_and_name_the_device(book):
    feed(book, 1)
    book.update("left_arm", state("ab", [0.1, 0.2], 90), 90 * MS)
    [trip] = book.trips(102 * MS)
    assert (trip.reason, trip.cause) == ("state_stale", "left_hand") and "0.101 s old" in trip.detail
    assert book.fresh(102 * MS).tolist() == [True, True, False]


def test_names_in_another_order_are_mapped_and_wrong_ones_trip_until_right(book):
    feed(book, 1)
    book.update("left_arm", state("ba", [0.2, 0.1], 2), 2 * MS)
    np.testing.assert_array_equal(book.position_rad[:2], [0.1, 0.2])
    for names in ("ax", "a", "abc"):
        book.update("left_arm", state(names, np.zeros(len(names)), 3), 3 * MS)
        [trip] = book.trips(3 * MS)
        assert (trip.reason, trip.cause) == ("joint_names", "left_arm")
        np.testing.assert_array_equal(book.position_rad[:2], [0.1, 0.2])
    book.update("left_arm", state("ab", [0.1, 0.2], 4), 4 * MS)
    assert book.trips(4 * MS) == []


def test_an_unreadable_message_trips_as_stale(book):
    feed(book, 1)
    book.refuse("left_hand", NonFiniteError("joint state position: nan"))
    [trip] = book.trips(MS)
    assert (trip.reason, trip.cause) == ("state_stale", "left_hand")


def test_the_same_stamp_again_is_no_sign_of_life(book):
    feed(book, 1)
    for now in range(2, 150):
        book.update("left_arm", state("ab", [0.1, 0.2], 1), now * MS)
        book.update("left_hand", state("c", [0.3], now), now * MS)
    assert [t.cause for t in book.trips(150 * MS)] == ["left_arm"]


def test_frozen_is_noticed_only_while_commanded_elsewhere(book):
    for now in range(0, 1000, 10):
        feed(book, now + 1, commanded=np.array([0.1, 0.2, 0.3]))
    assert book.trips(991 * MS, np.array([0.1, 0.2, 0.3])) == []
    [trip] = book.trips(991 * MS, np.array([0.1, 0.35, 0.3]))
    assert (trip.reason, trip.cause) == ("state_stale", "left_arm") and "frozen" in trip.detail
    feed(book, 995, arm=(0.1, 0.2001), commanded=np.array([0.1, 0.35, 0.3]))
    assert book.trips(995 * MS, np.array([0.1, 0.35, 0.3])) == []


def test_a_wall_clock_that_steps_back_does_not_make_states_stale(book):
    feed(book, 1)
    book.update("left_arm", state("ab", [0.1, 0.2], -10_000), 2 * MS)
    assert book.trips(50 * MS) == []
