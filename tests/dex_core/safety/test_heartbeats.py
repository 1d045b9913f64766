# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dex_core.clock import ManualClock
from dex_core.safety import Beat, HeartbeatBook, Watch

WATCHED = (Watch("policy", "policy_lost"), Watch("camera", "camera_lost"))


def make() -> tuple[HeartbeatBook, ManualClock]:
    return HeartbeatBook(WATCHED, 0.15), ManualClock(10**9)


def test_never_heard_is_lost():
    book, clock = make()
    assert [(t.reason, t.cause) for t in book.lost(clock.now_ns())] == [("policy_lost", "policy"), ("camera_lost", "camera")]


def test_silence_is_lost_after_the_timeout_and_heard_again():
    book, clock = make()
    for node in ("policy", "camera", "somebody_else"):
        book.beat(Beat(node), clock.now_ns())
    clock.advance_s(0.15)
    assert book.lost(clock.now_ns()) == []
    book.beat(Beat("policy"), clock.now_ns())
    clock.advance_s(0.001)
    [trip] = book.lost(clock.now_ns())
    assert trip.reason == "camera_lost" and "silent for 0.151 s" in trip.detail
    book.beat(Beat("camera"), clock.now_ns())
    assert book.lost(clock.now_ns()) == []


def test_inactive_or_hanging_nodes_are_lost_with_their_reason():
    book, clock = make()
    book.beat(Beat("policy", state=2, reason="bundle_invalid"), clock.now_ns())
    book.beat(Beat("camera", executor_age_s=1.5), clock.now_ns())
    policy, camera = book.lost(clock.now_ns())
    assert "not active" in policy.detail and "bundle_invalid" in policy.detail
    assert "hangs" in camera.detail


def test_a_complaint_trips_only_where_it_is_asked_for() -> None:
    book = HeartbeatBook((Watch("left_arm", "driver_lost", complaints_trip=True), Watch("camera", "camera_lost")), 0.15)
    for node in ("left_arm", "camera"):
        book.beat(Beat(node, reason="limit"), 0)
    assert [(trip.cause, trip.reason) for trip in book.lost(1)] == [("left_arm", "driver_lost")]
    assert "limit" in book.lost(1)[0].detail
    book.beat(Beat("left_arm"), 2)
    assert not book.lost(3)
