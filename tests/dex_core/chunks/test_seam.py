# SPDX-License-Identifier: Apache-2.0
"""What a seam is, by known jumps; and what of it shows in a stream of commands."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.chunks import Spline, command_seams, seam_between
from dex_core.chunks.seam import PERIOD_NS

NS = 1_000_000_000


class Parabola:
    """Position p + v t + a t^2 / 2 of one joint [rad]."""

    def __init__(self, p: float, v: float, a: float) -> None:
        self._pva = p, v, a

    def at(self, time_ns: int):
        from dex_core.chunks import Point

        p, v, a = self._pva
        t = time_ns / NS
        return Point(np.array([p + v * t + 0.5 * a * t * t]), np.array([v + a * t]), np.array([a]))


def sampled(before: Parabola, after: Parabola, boundary: int, count: int = 40) -> np.ndarray:
    return np.array([(before if k <= boundary else after).at((k - boundary) * PERIOD_NS).position_rad for k in range(count)])


def test_one_trajectory_meets_itself():
    assert max(seam_between(Parabola(0.1, 0.5, 2.0), Parabola(0.1, 0.5, 2.0), 0)) < 1e-6


@pytest.mark.parametrize(("after", "seam", "jerk"), [
    ((0.01, 0.0, 0.0), (0.01, 0.0, 0.0), 2e6 * 0.01),
    ((0.0, 0.5, 0.0), (0.0, 0.5, 0.0), 1e4 * 0.5),
    ((0.0, 0.0, 4.0), (0.0, 0.0, 4.0), 0.5 * 1e2 * 4.0),
])
def test_a_jump_a_step_of_speed_and_one_of_acceleration(after, seam, jerk):
    found = seam_between(Parabola(0, 0, 0), Parabola(*after), 0)
    assert found[:3] == pytest.approx(seam, abs=1e-12)
    assert found.jerk_rad_s3 == pytest.approx(jerk, rel=1e-6)


def test_the_worst_joint_counts():
    old = Spline(0, 0.05, np.zeros((20, 3)))
    new = Spline(0, 0.05, np.tile([0.0, -0.2, 0.1], (20, 1)))
    assert seam_between(old, new, 100_000_000).position_jump_rad == pytest.approx(0.2)


def test_a_step_of_speed_shows_in_the_commands_where_it_is():
    way = sampled(Parabola(0, 0.3, 0), Parabola(0, 0.0, 0), 20)
    [seam] = command_seams(way, 5 * NS, [5 * NS + 20 * PERIOD_NS])
    assert seam.velocity_step_rad_s == pytest.approx(0.3) and seam.acceleration_step_rad_s2 == pytest.approx(30.0)
    [elsewhere] = command_seams(way, 5 * NS, [5 * NS + 10 * PERIOD_NS])
    assert max(elsewhere) < 1e-6


def test_a_stop_within_limits_takes_some_ticks_and_still_counts():
    """A limited stop never steps by more than acceleration times tick: the step is what the speed loses within the window."""
    way, v, q = [], 0.3, 0.0
    for k in range(40):
        v = max(0.0, v - 0.1) if k > 20 else v
        q += v * PERIOD_NS / NS
        way.append([q])
    [seam] = command_seams(np.array(way), 0, [20 * PERIOD_NS])
    assert seam.velocity_step_rad_s >= 0.1 - 1e-9


def test_a_motion_that_merely_accelerates_hardly_counts():
    way = sampled(Parabola(0, 0.3, 2.0), Parabola(0, 0.3, 2.0), 20)
    [seam] = command_seams(way, 0, [20 * PERIOD_NS])
    assert seam.velocity_step_rad_s == pytest.approx(0.02) and seam.jerk_rad_s3 < 1e-3 * 1e4


def test_boundaries_without_commands_around_them_are_left_out():
    way = np.zeros((10, 2))
    assert command_seams(way, 0, [0, PERIOD_NS, 8 * PERIOD_NS, 900 * PERIOD_NS, -PERIOD_NS]) == []
    assert len(command_seams(way, 0, [2 * PERIOD_NS, 6 * PERIOD_NS])) == 2
