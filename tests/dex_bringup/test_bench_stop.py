# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of stops reads off a stream of commands."""

from __future__ import annotations

import numpy as np
import pytest

from dex_bringup.bench.stop_latency import Command, ending

PERIOD_NS = 10_000_000


def stream(*velocities_rad_s: float) -> list[Command]:
    """Commands at 100 Hz of an arm whose first joint moves so fast from each to the next."""
    joints = np.concatenate([[0.0], np.cumsum(np.array(velocities_rad_s) * PERIOD_NS * 1e-9)])
    return [Command(k * PERIOD_NS, "left_arm", (float(q), *[0.0] * 6)) for k, q in enumerate(joints)]


def test_the_plan_ends_where_the_braking_begins() -> None:
    found = ending(stream(0.5, 0.5, 0.5, 0.5, 0.3, 0.1, 0.0, 0.0), event_ns=3 * PERIOD_NS + 1)
    assert found is not None
    assert found.followed_ms == pytest.approx(10.0, abs=0.01) and found.moved_ms == pytest.approx(30.0, abs=0.01)
    assert found.speed_rad_s == pytest.approx(0.5) and found.settled_rad == 0.0


def test_a_plan_that_happens_to_slow_down_is_not_taken_for_braking() -> None:
    found = ending(stream(0.5, 0.5, 0.4, 0.45, 0.5, 0.25, 0.0), event_ns=2 * PERIOD_NS - 1)
    assert found is not None and found.followed_ms == pytest.approx(30.0, abs=0.01)


def test_what_settles_later_is_told_apart() -> None:
    found = ending(stream(0.5, 0.5, 0.2, 0.0, 0.0, 0.0, 0.01, 0.0), event_ns=2 * PERIOD_NS)
    assert found is not None
    assert found.moved_ms == pytest.approx(10.0, abs=0.01) and found.settled_rad == pytest.approx(1e-4)


@pytest.mark.parametrize("velocities", [(0.5,), (0.5, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5)], ids=["too short", "stands already", "never stands"])
def test_there_is_no_ending(velocities: tuple[float, ...]) -> None:
    assert ending(stream(*velocities), event_ns=2 * PERIOD_NS) is None
