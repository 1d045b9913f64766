# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS
from dex_core.devices.follower import Act, CommandFollower, CommandMode

NAMES = ("left_a", "left_b", "left_c")
CELL = ("right_x", "left_c", "left_a", "left_b")
POSITIONS = (9.0, 3.0, 1.0, 2.0)
MS = NS // 1000
IDLE, TRACK, HOLD, STOP = CommandMode.IDLE, CommandMode.TRACK, CommandMode.HOLD, CommandMode.STOP


class Stream:
    """A gate at 100 Hz on a hand-moved clock."""

    def __init__(self, follower: CommandFollower) -> None:
        self.follower, self.now_ns, self.sequence = follower, 5 * NS, 0

    def send(self, mode: int, names: tuple[str, ...] = CELL, positions: tuple[float, ...] = POSITIONS, wait_ms: int = 10):  # noqa: ANN201
        self.now_ns += wait_ms * MS
        self.sequence += 1
        return self.follower.command(mode, self.sequence, names, positions, self.now_ns)


@pytest.fixture
def stream() -> Stream:
    return Stream(CommandFollower(NAMES, 0.1))


def test_picks_its_joints_by_name(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    decision = stream.send(TRACK)
    assert decision.act is Act.FOLLOW and decision.position_rad.tolist() == [1.0, 2.0, 3.0]
    assert stream.send(TRACK, CELL[::-1], POSITIONS[::-1]).position_rad.tolist() == [1.0, 2.0, 3.0]


def test_track_before_idle_is_ignored(stream: Stream) -> None:
    assert stream.send(TRACK).act is Act.NOTHING
    assert stream.follower.ignored == 1 and stream.follower.reason == "no_gate"


def test_silence_while_following_holds_once_and_disarms(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    stream.send(TRACK)
    assert stream.follower.tick(stream.now_ns + 100 * MS).act is Act.NOTHING
    assert stream.follower.tick(stream.now_ns + 101 * MS).act is Act.HOLD
    assert stream.follower.tick(stream.now_ns + 102 * MS).act is Act.NOTHING
    assert stream.follower.reason == "gate_lost"
    assert stream.send(TRACK, wait_ms=200).act is Act.NOTHING
    stream.send(IDLE, (), ())
    assert stream.send(TRACK).act is Act.FOLLOW


def test_a_late_track_holds_even_when_no_tick_noticed(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    stream.send(TRACK)
    assert stream.send(TRACK, wait_ms=150).act is Act.HOLD
    assert not stream.follower.armed


def test_hold_arms_without_motion_and_is_followed_afterwards(stream: Stream) -> None:
    assert stream.send(HOLD).act is Act.NOTHING
    assert stream.follower.armed
    assert stream.send(HOLD).act is Act.FOLLOW


@pytest.mark.parametrize("mode", [IDLE, STOP])
def test_idle_and_stop_end_following(stream: Stream, mode: CommandMode) -> None:
    stream.send(IDLE, (), ())
    stream.send(TRACK)
    assert stream.send(mode, (), ()).act is Act.HOLD
    assert stream.follower.armed is (mode is IDLE)


@pytest.mark.parametrize(
    ("names", "positions", "reason"),
    [
        (CELL[:-1], POSITIONS[:-1], "joint_names"),
        ((*CELL, "left_a"), (*POSITIONS, 0.0), "joint_names"),
        (("right_x", "left_c", "left_a", "left_B"), POSITIONS, "joint_names"),
        ((), (), "joint_names"),
        (CELL, POSITIONS[:-1], "shape"),
        (CELL, (9.0, 3.0, math.nan, 2.0), "non_finite"),
        (CELL, (9.0, 3.0, 1.0, math.inf), "non_finite"),
    ],
)
def test_malformed_commands_hold_with_the_reason(stream: Stream, names: tuple[str, ...], positions: tuple[float, ...], reason: str) -> None:
    stream.send(IDLE, (), ())
    stream.send(TRACK)
    assert stream.send(TRACK, names, positions).act is Act.HOLD
    assert stream.follower.reason == reason
    assert stream.send(TRACK).act is Act.NOTHING


def test_a_bad_number_of_another_device_is_not_ours(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    assert stream.send(TRACK, CELL, (math.nan, 3.0, 1.0, 2.0)).act is Act.FOLLOW


def test_old_sequences_are_dropped_and_a_restarted_gate_is_taken(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    stream.sequence = 100
    stream.send(TRACK)
    assert stream.follower.command(TRACK, 100, CELL, POSITIONS, stream.now_ns + MS).act is Act.NOTHING
    assert stream.follower.stale == 1
    stream.sequence = 0
    assert stream.send(IDLE, (), ()).act is Act.HOLD
    assert stream.send(TRACK).act is Act.FOLLOW


def test_an_unknown_mode_holds(stream: Stream) -> None:
    stream.send(IDLE, (), ())
    stream.send(TRACK)
    assert stream.send(17).act is Act.HOLD
    assert stream.follower.reason == "wrong_mode"


@given(st.lists(st.tuples(st.sampled_from([IDLE, TRACK, HOLD, STOP]), st.integers(1, 250), st.booleans()), max_size=40))
def test_never_follows_anything_but_a_fresh_armed_stream(events: list[tuple[CommandMode, int, bool]]) -> None:
    """Whatever comes: FOLLOW only for finite TRACK or HOLD, within the timeout, after IDLE or HOLD since the last trip."""
    stream = Stream(CommandFollower(NAMES, 0.1))
    armed = False
    for mode, wait_ms, poisoned in events:
        positions = (9.0, math.nan, 1.0, 2.0) if poisoned else POSITIONS
        decision = stream.send(mode, () if mode is IDLE else CELL, () if mode is IDLE else positions, wait_ms)
        if wait_ms > 100:
            armed = False
        if decision.act is Act.FOLLOW:
            assert armed and mode in (TRACK, HOLD) and not poisoned
            assert np.isfinite(decision.position_rad).all()
        if mode is STOP or (armed and poisoned and mode in (TRACK, HOLD)):
            armed = False
        elif mode in (IDLE, HOLD):
            armed = True
        assert stream.follower.armed is armed
