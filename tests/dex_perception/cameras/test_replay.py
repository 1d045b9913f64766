# SPDX-License-Identifier: Apache-2.0
"""Recorded time on this machine's clocks."""
from __future__ import annotations

import time

import pytest

from dex_perception.cameras.replay import ReplayClock


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Both clocks, stopped: ``steady`` and ``wall`` [ns]."""
    now = {"steady": 5_000_000_000, "wall": 1_700_000_000_000_000_000}
    monkeypatch.setattr(time, "monotonic_ns", lambda: now["steady"])
    monkeypatch.setattr(time, "time_ns", lambda: now["wall"])
    return now


def test_an_exposure_is_due_after_its_recorded_interval_divided_by_the_rate(clocks: dict[str, int]) -> None:
    clock = ReplayClock(2.0)
    clock.start(100_000_000_000)
    assert clock.due_in_s(100_000_000_000) == 0.0
    assert clock.due_in_s(101_000_000_000) == pytest.approx(0.5)
    clocks["steady"] += 700_000_000
    assert clock.due_in_s(101_000_000_000) == pytest.approx(-0.2)


def test_live_stamps_say_when_it_was_due_and_follow_the_wall_clock(clocks: dict[str, int]) -> None:
    clock = ReplayClock(1.0)
    clock.start(7)
    clocks["steady"] += 30_000_000
    clocks["wall"] += 30_000_000
    assert clock.stamp_ns(7 + 20_000_000) == clocks["wall"] - 10_000_000
    clocks["wall"] -= 10_000_000_000
    assert clock.stamp_ns(7 + 20_000_000) == clocks["wall"] - 10_000_000


def test_recorded_stamps_are_kept(clocks: dict[str, int]) -> None:
    clock = ReplayClock(3.0, live=False)
    clock.start(7)
    assert clock.stamp_ns(1234) == 1234


def test_the_next_pass_begins_an_interval_after_the_last_exposure(clocks: dict[str, int]) -> None:
    clock = ReplayClock(2.0)
    clock.start(1_000_000_000)
    clock.next_pass(3_000_000_000, 1_000_000_000, interval_s=0.5)
    assert clock.due_in_s(1_000_000_000) == pytest.approx(1.25)
    clock.next_pass(3_000_000_000, 1_000_000_000, interval_s=0.5)
    assert clock.due_in_s(1_000_000_000) == pytest.approx(2.5)


def test_without_a_rate_all_is_due_and_stamps_still_grow(clocks: dict[str, int]) -> None:
    clock = ReplayClock(0.0)
    clock.start(7)
    assert clock.due_in_s(10**18) == 0.0
    stamps = [clock.stamp_ns(k) for k in range(3)]
    assert stamps == [clocks["wall"], clocks["wall"] + 1, clocks["wall"] + 2]
    clock.next_pass(9, 7, 0.1)
    assert clock.due_in_s(7) == 0.0
