# SPDX-License-Identifier: Apache-2.0
"""The jerk limit: position, velocity, acceleration and jerk hold whatever is asked, and a joint can always brake inside its range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import ruckig
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.limits import JointLimits, LimitPipeline, Moment, Motion
from dex_core.limits.jerk import braking_acceleration, reach

DT_S = 0.01
ONE = np.ones(1)
slow = settings(max_examples=30, deadline=None)
dynamics = st.fixed_dictionaries(
    {"velocity": st.floats(0.2, 5.0), "acceleration": st.floats(1.0, 60.0), "share": st.floats(0.05, 3.0), "half_range": st.floats(0.05, 3.0)}
)


def joint(velocity: float, acceleration: float, share: float, half_range: float) -> JointLimits:
    """One joint; ``share`` of its acceleration may change within a step."""
    jerk = share * acceleration / DT_S * ONE
    return JointLimits(("a",), -half_range * ONE, half_range * ONE, velocity * ONE, acceleration * ONE, 100.0 * ONE, jerk)


def brake(velocity: np.ndarray, acceleration: np.ndarray, most: float, jerk: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) way, furthest ahead and furthest back until rest, by the braking acceleration alone."""
    way, ahead, back = (np.zeros_like(velocity) for _ in range(3))
    for _ in range(20_000):
        acceleration = braking_acceleration(velocity, acceleration, most * np.ones_like(velocity), jerk * np.ones_like(velocity), DT_S)
        velocity = velocity + acceleration * DT_S
        velocity = np.where(np.abs(velocity) < 1e-12, 0.0, velocity)
        way = way + velocity * DT_S
        ahead, back = np.maximum(ahead, way), np.minimum(back, way)
        if not velocity.any() and np.abs(acceleration).max() < 1e-9:
            return way, ahead, back
    raise AssertionError("it never came to rest")


@slow
@given(seed=st.integers(0, 2**32 - 1), most=st.floats(0.5, 100.0), share=st.floats(0.02, 3.0), fastest=st.floats(0.1, 10.0))
def test_reach_is_never_less_than_what_braking_takes(seed: int, most: float, share: float, fastest: float):
    rng, jerk = np.random.default_rng(seed), share * most / DT_S
    velocity, acceleration = rng.uniform(-fastest, fastest, 100), rng.uniform(-most, most, 100)
    _, ahead, back = brake(velocity, acceleration, most, jerk)
    limits = most * np.ones(100), jerk * np.ones(100)
    assert (reach(velocity, acceleration, *limits) >= ahead - 1e-9).all()
    assert (reach(-velocity, -acceleration, *limits) >= -back - 1e-9).all()


def follow(limits: JointLimits, requests: np.ndarray, speeds: np.ndarray | None = None, start: float = 0.0) -> np.ndarray:
    """(T,) commands for ``requests``; checks every bound, and that after each command braking stays inside the range."""
    pipeline, motion = LimitPipeline(limits), Motion.at_rest(start * ONE)
    most, jerk, way = limits.acceleration_rad_s2[0], limits.jerk_rad_s3[0], []
    for k, request in enumerate(requests):
        before = motion
        speed = None if speeds is None else speeds[k] * ONE
        motion = pipeline.apply(request * ONE, Moment(motion, motion.position_rad, DT_S, speed)).motion
        acceleration = 0.0 if before.acceleration_rad_s2 is None else before.acceleration_rad_s2
        assert limits.lower_rad - 1e-9 <= motion.position_rad <= limits.upper_rad + 1e-9
        assert np.abs(motion.velocity_rad_s) <= limits.velocity_rad_s + 1e-7
        assert np.abs(motion.acceleration_rad_s2) <= most + 1e-5
        assert np.abs(motion.acceleration_rad_s2 - acceleration) <= jerk * DT_S + 1e-5
        way.append(motion.position_rad[0])
    _, ahead, back = brake(motion.velocity_rad_s, motion.acceleration_rad_s2, most, jerk)
    assert limits.lower_rad - 1e-8 <= motion.position_rad + back and motion.position_rad + ahead <= limits.upper_rad + 1e-8
    return np.array(way)


@slow
@given(numbers=dynamics, seed=st.integers(0, 2**32 - 1), hold=st.integers(1, 40))
def test_whatever_is_asked_every_bound_holds(numbers: dict, seed: int, hold: int):
    limits, rng = joint(**numbers), np.random.default_rng(seed)
    wild = 2.0 * numbers["half_range"]
    follow(limits, np.repeat(rng.uniform(-wild, wild, 12), hold), start=rng.uniform(-0.5, 0.5) * numbers["half_range"])


@slow
@given(numbers=dynamics, seed=st.integers(0, 2**32 - 1))
def test_the_same_on_the_way_to_a_target_with_a_velocity(numbers: dict, seed: int):
    limits, rng = joint(**numbers), np.random.default_rng(seed)
    targets = np.repeat(rng.uniform(-1.5, 1.5, 8), 30) * numbers["half_range"]
    speeds = np.repeat(rng.uniform(-1.0, 1.0, 8), 30) * numbers["velocity"]
    follow(limits, targets + speeds * DT_S * np.arange(240), speeds)


def test_a_smooth_request_passes_untouched():
    limits = joint(2.0, 20.0, 0.5, 3.0)
    times = DT_S * np.arange(400)
    wanted = 0.2 * (1.0 - np.cos(2.0 * times))
    np.testing.assert_allclose(follow(limits, wanted, 0.4 * np.sin(2.0 * times)), wanted, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("goal", [0.003, 0.05, 0.9])
def test_it_arrives_without_overshoot_about_as_fast_as_ruckig(share: float, goal: float):
    """Ruckig's motion is the fastest there is within velocity, acceleration and jerk."""
    limits = joint(2.0, 20.0, share, 3.0)
    way = follow(limits, np.full(400, goal), np.zeros(400))
    assert way.max() <= goal + 1e-4
    assert way[-1] == pytest.approx(goal, abs=1e-6)
    peer = ruckig.InputParameter(1)
    peer.current_position, peer.target_position = [0.0], [goal]
    peer.max_velocity, peer.max_acceleration, peer.max_jerk = [2.0], [20.0], [float(limits.jerk_rad_s3[0])]
    fastest = ruckig.Trajectory(1)
    ruckig.Ruckig(1).calculate(peer, fastest)
    took = DT_S * (1 + int(np.flatnonzero(np.abs(way - goal) > 0.02 * goal)[-1]))
    assert took <= fastest.duration + DT_S, (took, fastest.duration)


def test_a_brake_is_not_kept_waiting(pair: JointLimits):
    """Where the cell must stop, acceleration alone bounds it."""
    limits = dataclasses.replace(pair, jerk_rad_s3=np.full(2, 50.0))
    moving = Motion(np.zeros(2), np.ones(2), np.zeros(2))
    gentle = LimitPipeline(limits).apply(np.zeros(2), Moment(moving, np.zeros(2), DT_S))
    hard = LimitPipeline(limits).apply(np.zeros(2), Moment(moving, np.zeros(2), DT_S, braking=True))
    assert gentle.acceleration_rad_s2[0] == pytest.approx(-0.5) and "jerk" in gentle.limits_hit()
    assert hard.acceleration_rad_s2[0] == pytest.approx(-10.0) and "jerk" not in hard.limits_hit()


def test_no_limit_where_none_is_given(pair: JointLimits):
    assert np.isinf(pair.jerk_rad_s3).all()
    command = LimitPipeline(pair).apply(np.full(2, 0.001), Moment(Motion.at_rest(np.zeros(2)), np.zeros(2), DT_S))
    np.testing.assert_allclose(command.position_rad, 0.001)
