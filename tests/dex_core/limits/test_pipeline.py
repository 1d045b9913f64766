# SPDX-License-Identifier: Apache-2.0
"""All limits together: the order, and that nothing unsafe comes out whatever goes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.limits import LIMITS, LimitPipeline, Moment, Motion, SafeCommand

DT_S = 0.01


def test_order_of_the_limits():
    assert [name for name, _ in LIMITS] == ["finite", "position", "velocity", "acceleration", "jerk", "step"]


def test_position_clamp_does_not_skip_the_velocity_clamp(pair):
    """A request far outside the range is first moved to its end and must still be approached slowly."""
    at = np.array([-0.9, 0.0])
    command = LimitPipeline(pair).apply(np.array([50.0, 0.0]), Moment(Motion.at_rest(at), at, DT_S))
    assert {"position", "velocity", "acceleration"} <= command.limits_hit()
    assert command.position_rad[0] - at[0] <= 10.0 * DT_S * DT_S + 1e-12
    worst = {change.limit: change for change in command.changes if change.joint == "a"}
    assert worst["position"].requested == 50.0 and worst["position"].allowed == 1.0


def test_a_safe_command_cannot_be_made_or_changed_elsewhere(pair):
    with pytest.raises(TypeError):
        SafeCommand(None, ("a",), Motion.at_rest(np.zeros(1)), ())
    command = LimitPipeline(pair).apply(np.zeros(2), Moment(Motion.at_rest(np.zeros(2)), np.zeros(2), DT_S))
    with pytest.raises(ValueError):
        command.position_rad[0] = 1.0
    with pytest.raises(AttributeError):
        command.names = ()


def test_the_empty_command_has_no_joints(pair):
    assert LimitPipeline(pair).empty().names == () and not LimitPipeline(pair).empty().position_rad.size


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_slot_may_be_bad(cell_limits, bad):
    pipeline = LimitPipeline(cell_limits)
    at = cell_limits.clip(np.full(26, 0.3))
    for slot in range(26):
        request = at.copy()
        request[slot] = bad
        command = pipeline.apply(request, Moment(Motion.at_rest(at), at, DT_S))
        np.testing.assert_allclose(command.position_rad, at)
        assert [(c.joint, c.limit) for c in command.changes] == [(cell_limits.names[slot], "finite")]


def run(pipeline: LimitPipeline, requests, start, follow: float, noise=None):
    """Every command of a run with a robot that follows by ``follow``; checks each."""
    limits = pipeline.limits
    motion, measured = Motion.at_rest(start), start.copy()
    for k, request in enumerate(requests):
        before, seen = motion, measured
        command = pipeline.apply(request, Moment(motion, measured, DT_S))
        motion, q = command.motion, command.position_rad
        assert np.isfinite(q).all()
        assert (q >= limits.lower_rad).all() and (q <= limits.upper_rad).all()
        assert (np.abs(q - seen) <= limits.step_rad + 1e-12).all()
        if "step" not in command.limits_hit():
            assert (np.abs(command.velocity_rad_s) <= limits.velocity_rad_s + 1e-6).all()
            braked = np.abs(command.velocity_rad_s - np.clip(before.velocity_rad_s, -limits.velocity_rad_s, limits.velocity_rad_s))
            assert (braked <= limits.acceleration_rad_s2 * DT_S + 1e-6).all()
        measured = measured + follow * (q - measured)
        if noise is not None:
            measured = limits.clip(measured + noise[k % len(noise)])
    return motion


wild = st.one_of(st.floats(-20, 20), st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0]))


@given(data=st.lists(st.lists(wild, min_size=26, max_size=26), min_size=1, max_size=8), repeat=st.integers(1, 30), seed=st.integers(0, 999))
def test_whatever_is_asked_every_command_is_safe(cell_limits, data, repeat, seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(cell_limits.lower_rad, cell_limits.upper_rad)
    requests = [np.array(row) for row in data for _ in range(repeat)]
    run(LimitPipeline(cell_limits), requests, start, follow=0.5)


@given(seed=st.integers(0, 9999))
def test_a_pushed_robot_never_gets_a_command_far_from_where_it_is(cell_limits, seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(cell_limits.lower_rad, cell_limits.upper_rad)
    requests = rng.uniform(-4, 4, (60, 26))
    run(LimitPipeline(cell_limits), requests, start, follow=0.2, noise=rng.uniform(-0.1, 0.1, (60, 26)))


@given(start=st.floats(-1.0, 1.0), target=st.floats(-3.0, 3.0))
def test_it_arrives_at_the_range_or_the_target_without_overshoot(pair, start, target):
    pipeline = LimitPipeline(pair)
    motion = Motion.at_rest(np.array([start, start]))
    goal = float(np.clip(target, -1.0, 1.0))
    way = []
    for _ in range(400):
        moment = Moment(motion, motion.position_rad, DT_S, np.zeros(2))
        motion = pipeline.apply(np.array([target, target]), moment).motion
        way.append(motion.position_rad[0])
    assert way[-1] == pytest.approx(goal, abs=1e-9)
    low, high = min(start, goal), max(start, goal)
    assert low - 1e-9 <= min(way) and max(way) <= high + 1e-9
