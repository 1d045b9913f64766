# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS
from dex_core.config import JointLimit
from dex_core.devices.trajectory import (
    Outcome,
    Point,
    Trajectory,
    TrajectoryError,
    TrajectoryRun,
    check_trajectory,
    make_tolerances,
)

JOINTS = ("a", "b")
LIMITS = (JointLimit(-1.0, 1.0, 2.0, 20.0, 0.3), JointLimit(-2.0, 2.0, 2.0, 20.0, 0.3))
ZERO = np.zeros(2)


def check(points: list[Point], names: tuple[str, ...] = JOINTS) -> Trajectory:
    return check_trajectory(names, points, JOINTS, LIMITS)


def run(points: list[Point], **tolerances: float) -> TrajectoryRun:
    tol = make_tolerances(JOINTS, {"a": tolerances.get("path", 0.0)}, {"a": tolerances.get("goal", 0.0)}, tolerances.get("time", 0.5), "arm")
    return TrajectoryRun(check(points), tol, ZERO, ZERO, 0, JOINTS)


def test_joints_are_ordered_by_name() -> None:
    assert check([Point(1.0, (0.2, 0.1))], ("b", "a")).position_rad.tolist() == [[0.1, 0.2]]


@pytest.mark.parametrize(
    ("points", "names", "outcome", "words"),
    [
        ([Point(1.0, (0.0, 0.0))], ("a", "c"), Outcome.INVALID_JOINTS, "unknown ['c']"),
        ([Point(1.0, (0.0, 0.0))], ("a", "a"), Outcome.INVALID_JOINTS, "repeated"),
        ([Point(1.0, (0.0,))], ("a",), Outcome.INVALID_JOINTS, "missing ['b']"),
        ([], JOINTS, Outcome.INVALID_GOAL, "0 points"),
        ([Point(1.0, (0.0,))], JOINTS, Outcome.INVALID_GOAL, "1 values"),
        ([Point(1.0, ())], JOINTS, Outcome.INVALID_GOAL, "0 values"),
        ([Point(1.0, (math.nan, 0.0))], JOINTS, Outcome.INVALID_GOAL, "finite"),
        ([Point(math.inf, (0.0, 0.0))], JOINTS, Outcome.INVALID_GOAL, "finite"),
        ([Point(1.0, (0.0, 0.0)), Point(1.0, (0.1, 0.0))], JOINTS, Outcome.INVALID_GOAL, "must grow"),
        ([Point(-0.1, (0.0, 0.0))], JOINTS, Outcome.INVALID_GOAL, "must grow"),
        ([Point(1.0, (1.2, 0.0))], JOINTS, Outcome.INVALID_GOAL, "allowed -1.0 to 1.0"),
        ([Point(1.0, (0.0, 0.0)), Point(1.1, (0.9, 0.0))], JOINTS, Outcome.INVALID_GOAL, "9.000 rad/s"),
        ([Point(1.0, (0.0, 0.0), (0.1, 0.0))], JOINTS, Outcome.INVALID_GOAL, "must rest"),
        ([Point(0.5, (0.0, 0.0), (0.0, 0.0)), Point(1.0, (0.0, 0.0))], JOINTS, Outcome.INVALID_GOAL, "0 values of velocity"),
        ([Point(1.0, (0.0, 0.0), (), (0.0, 0.0))], JOINTS, Outcome.INVALID_GOAL, "accelerations without velocities"),
    ],
)
def test_bad_trajectories_are_refused_with_words(points: list[Point], names: tuple[str, ...], outcome: Outcome, words: str) -> None:
    with pytest.raises(TrajectoryError, match=words.replace("[", r"\[").replace("]", r"\]")) as caught:
        check(points, names)
    assert caught.value.outcome is outcome


def test_unknown_or_infinite_tolerances_are_refused() -> None:
    with pytest.raises(TrajectoryError, match="not here"):
        make_tolerances(JOINTS, {"z": 0.1}, {}, 0.0, "arm")
    with pytest.raises(TrajectoryError, match="finite"):
        make_tolerances(JOINTS, {}, {"a": math.nan}, 0.0, "arm")


@given(st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=5), st.sampled_from(["linear", "cubic", "quintic"]))
def test_passes_through_its_points_without_jumps(values: list[float], kind: str) -> None:
    zeros = (0.0, 0.0)
    points = [
        Point(2.0 * (k + 1), (v, -v), zeros if kind != "linear" else (), zeros if kind == "quintic" else ()) for k, v in enumerate(values)
    ]
    path = run(points, path=-1.0)
    for k, value in enumerate(values):
        step = path.step(round(2.0 * (k + 1) * NS), np.array([value, -value]))
        assert np.allclose(step.position_rad, [value, -value], atol=1e-9)
    samples = np.array([path.step(ns, ZERO).position_rad for ns in range(0, round(2.0 * len(values) * NS), NS // 50)])
    assert np.abs(np.diff(np.vstack([ZERO, samples]), axis=0)).max() < 0.08


def test_velocity_of_a_sample_is_the_derivative() -> None:
    path = run([Point(1.0, (0.5, 0.1), (0.3, 0.0)), Point(2.0, (0.8, 0.2), (0.0, 0.0))])
    for time_s in (0.3, 0.9, 1.4):
        a, b = (path.step(round((time_s + d) * NS), ZERO) for d in (-1e-4, 1e-4))
        middle = path.step(round(time_s * NS), ZERO)
        assert np.allclose((b.position_rad - a.position_rad) / 2e-4, middle.velocity_rad_s, atol=1e-3)


def test_outcomes() -> None:
    points = [Point(1.0, (0.5, 0.0))]
    assert run(points).step(NS, np.array([0.49, 0.0])).outcome is Outcome.SUCCESSFUL
    late = run(points)
    assert late.step(round(1.2 * NS), ZERO).outcome is None
    assert late.step(round(1.6 * NS), ZERO).outcome is Outcome.GOAL_TOLERANCE_VIOLATED
    off = run(points, path=0.1).step(NS // 2, ZERO)
    assert off.outcome is Outcome.PATH_TOLERANCE_VIOLATED and "a is 0.2500 rad off" in off.detail
    assert run(points, goal=-1.0).step(NS, ZERO).outcome is Outcome.SUCCESSFUL
