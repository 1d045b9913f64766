# SPDX-License-Identifier: Apache-2.0
"""What leads a Franka's joints: never beyond a limit, at rest when nobody leads, and after its targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_arms.franka import make_limits
from dex_arms.franka_config import load_settings
from dex_arms.franka_follow import PERIOD_S, ArmLimits, TargetFollower
from dex_arms.franka_probe import parse_model
from dex_core.config import load_cell
from dex_sim.franka_model import LIMITS, FrankaModel

INTERFACE = load_cell("franka").interface("right_arm")
HOME = np.array(INTERFACE.home)
ROBOT = LIMITS["fr3"]
SETTINGS = load_settings()
OWN = make_limits(parse_model(FrankaModel("fr3").urdf, "test"), INTERFACE.limits, SETTINGS)


def follow(target: Callable[[float], np.ndarray], seconds: float, *, until: float = 1e9, limits: ArmLimits = OWN) -> np.ndarray:
    """(k, 7) positions while targets come each 10 ms until ``until``, then brakes."""
    follower = TargetFollower(limits, SETTINGS.corner_rad_s)
    follower.start(HOME)
    path = [HOME]
    for k in range(round(seconds / PERIOD_S)):
        now_s = k * PERIOD_S
        if k % 10 == 0 and now_s < until:
            follower.target(target(now_s), now_s)
        elif now_s >= until:
            follower.brake()
        path.append(follower.step())
    return np.array(path)


def check(path: np.ndarray) -> None:
    """Against the robot's own limits, which know nothing of the driver's."""
    velocity = np.diff(path, axis=0, prepend=path[:1]) / PERIOD_S
    acceleration = np.diff(velocity, axis=0, prepend=velocity[:1]) / PERIOD_S
    jerk = np.diff(acceleration, axis=0, prepend=acceleration[:1]) / PERIOD_S
    assert (np.abs(acceleration) <= ROBOT.acceleration).all() and (np.abs(jerk) <= ROBOT.jerk).all()
    low, high = ROBOT.velocity_range(path)
    assert (velocity <= high + 1e-6).all() and (velocity >= low - 1e-6).all()
    assert (path >= ROBOT.lower).all() and (path <= ROBOT.upper).all()


def test_a_smooth_stream_is_followed_with_a_constant_lag() -> None:
    scale = np.array([1.0, 0.5, 1.0, 0.6, 1.0, 1.0, 1.0])

    def wave(now_s: float) -> np.ndarray:
        return HOME + 0.25 * (1.0 - np.cos(2.0 * np.pi * 0.4 * now_s)) * scale

    path = follow(wave, 5.0)
    check(path)
    late = np.array([wave(k * PERIOD_S - 0.042) for k in range(500, len(path))])
    assert np.abs(path[500:] - late).max() < 0.002


def test_without_targets_it_stays_to_the_bit() -> None:
    follower = TargetFollower(OWN, SETTINGS.corner_rad_s)
    follower.start(HOME)
    assert all((follower.step() == HOME).all() for _ in range(100)) and follower.at_rest


def test_a_still_target_is_reached() -> None:
    goal = HOME + np.array([0.2, -0.1, 0.15, -0.2, 0.1, 0.2, -0.2])
    path = follow(lambda _t: goal, 1.5)
    check(path)
    assert path[-1] == pytest.approx(goal, abs=1e-5)


def test_when_targets_end_in_full_motion_it_brakes_within_limits_and_stays() -> None:
    path = follow(lambda t: HOME + 2.0 * t, 1.5, until=0.6)
    check(path)
    assert np.abs(path[600] - path[599]).max() / PERIOD_S > 1.5
    assert (path[-1] == path[-100]).all()


def test_from_end_to_end_of_every_joint_the_robots_speed_limits_are_kept() -> None:
    ends = [np.array([getattr(limit, key) for limit in INTERFACE.limits]) for key in ("upper_rad", "lower_rad")]
    path = follow(lambda t: ends[int(t / 3.5) % 2], 7.0)
    check(path)
    assert np.abs(path[3499] - ends[0]).max() < 0.02 and np.abs(path[6999] - ends[1]).max() < 0.02


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), reach=st.floats(0.001, 3.0))
def test_no_stream_of_targets_breaks_a_limit(seed: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    check(follow(lambda _t: HOME + rng.uniform(-reach, reach, 7), 0.5, until=float(rng.uniform(0.1, 0.4))))


def test_limits_are_the_narrower_of_robot_and_configuration() -> None:
    assert OWN.upper == pytest.approx(np.minimum(ROBOT.upper, [limit.upper_rad for limit in INTERFACE.limits]))
    assert (OWN.acceleration < ROBOT.acceleration).all() and (OWN.jerk < ROBOT.jerk).all()
    assert OWN.deceleration == pytest.approx(ROBOT.deceleration) and OWN.offset == pytest.approx(ROBOT.offset)
