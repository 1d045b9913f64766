# SPDX-License-Identifier: Apache-2.0
"""Each limit by itself: what it changes, what it leaves, and what NaN and infinity do to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dex_core.errors import LimitError, NonFiniteError, ShapeError
from dex_core.limits import (
    LIMITS,
    LimitPipeline,
    Moment,
    Motion,
    limit_acceleration,
    limit_finite,
    limit_position,
    limit_step,
    limit_velocity,
)

DT_S = 0.01


def moment(position=(0.0, 0.0), velocity=(0.0, 0.0), measured=None, target=None) -> Moment:
    position = np.array(position, dtype=float)
    measured = position if measured is None else np.array(measured, dtype=float)
    return Moment(Motion(position, np.array(velocity, dtype=float)), measured, DT_S, None if target is None else np.array(target, dtype=float))


@pytest.mark.parametrize("_name, limit", LIMITS)
def test_a_modest_request_passes_untouched_and_inputs_stay(pair, _name, limit):
    request = np.array([0.0005, -0.0005])
    before = moment()
    limited = limit(pair, before, request)
    np.testing.assert_array_equal(limited.position_rad, [0.0005, -0.0005])
    assert not limited.acted.any()
    np.testing.assert_array_equal(request, [0.0005, -0.0005])
    np.testing.assert_array_equal(before.previous.position_rad, [0.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_keeps_the_previous_output_never_zero(pair, bad):
    limited = limit_finite(pair, moment((0.3, 0.4)), np.array([bad, 0.41]))
    np.testing.assert_array_equal(limited.position_rad, [0.3, 0.41])
    np.testing.assert_array_equal(limited.acted, [True, False])


@pytest.mark.parametrize("_name, limit", LIMITS[1:])
@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_every_other_limit_bounds_infinity_and_says_so(pair, _name, limit, bad):
    with np.errstate(invalid="ignore"):
        limited = limit(replace(pair, jerk_rad_s3=np.full(2, 100.0)), moment(), np.array([bad, 0.0]))
    assert np.isfinite(limited.position_rad).all() and limited.acted[0]


@pytest.mark.parametrize("_name, limit", LIMITS[1:])
def test_nan_passes_every_clamp_which_is_why_finite_is_first(pair, _name, limit):
    assert np.isnan(limit(pair, moment(), np.array([np.nan, 0.0])).position_rad[0])
    assert LIMITS[0][1] is limit_finite


def test_position_clamps_to_the_range(pair):
    limited = limit_position(pair, moment(), np.array([1.5, -0.2]))
    np.testing.assert_array_equal(limited.position_rad, [1.0, -0.2])
    assert limited.acted.tolist() == [True, False]
    assert (limited.requested[0], limited.allowed[0]) == (1.5, 1.0)


def test_velocity_bounds_speed(pair):
    limited = limit_velocity(pair, moment(), np.array([0.5, 0.01]))
    np.testing.assert_allclose(limited.position_rad, [0.02, 0.01])
    assert limited.requested[0] == pytest.approx(50.0) and limited.allowed[0] == pytest.approx(2.0)


def test_velocity_slows_before_the_range_ends(pair):
    limited = limit_velocity(pair, moment((0.999, 0.0)), np.array([1.0, 0.0]))
    assert limited.position_rad[0] == pytest.approx(0.999 + 0.001)  # one quantum of braking: arrives at once
    limited = limit_velocity(pair, moment((0.98, 0.0)), np.array([1.0, 0.0]))
    assert limited.allowed[0] < 0.7 and limited.acted[0]


def test_velocity_joins_a_moving_target_without_lag_or_overshoot(pair):
    on_time = limit_velocity(pair, moment(target=(1.0, 0.0)), np.array([0.01, 0.0]))
    assert not on_time.acted.any()
    behind = limit_velocity(pair, moment(target=(0.0, 0.0)), np.array([0.02, 0.0]))
    assert behind.acted[0] and behind.allowed[0] < 2.0


def test_acceleration_bounds_the_change_of_speed(pair):
    limited = limit_acceleration(pair, moment(velocity=(1.0, -1.0)), np.array([0.02, 0.0]))
    np.testing.assert_allclose(limited.position_rad, [0.011, -0.009])
    assert limited.requested[0] == pytest.approx(100.0) and limited.allowed[0] == pytest.approx(10.0)


def test_acceleration_never_undoes_the_velocity_limit(pair):
    limited = limit_acceleration(pair, moment(velocity=(9.0, 0.0)), np.array([0.02, 0.0]))
    assert limited.position_rad[0] <= 0.02 + 1e-12


def test_step_keeps_near_measured_whatever_the_rest_says(pair):
    limited = limit_step(pair, moment((0.6, 0.0), measured=(0.0, 0.0)), np.array([0.6, 0.0]))
    np.testing.assert_array_equal(limited.position_rad, [0.5, 0.0])


def test_step_never_leaves_the_range(pair):
    limited = limit_step(pair, moment(measured=(1.3, 0.0)), np.array([1.4, 0.0]))
    assert limited.position_rad[0] == 1.0


def test_step_refuses_a_joint_that_cannot_be_commanded_safely(pair):
    with pytest.raises(LimitError, match="a is measured at 1.6"):
        limit_step(pair, moment(measured=(1.6, 0.0)), np.array([0.9, 0.0]))


def test_pipeline_checks_its_own_inputs(pair):
    pipeline = LimitPipeline(pair)
    with pytest.raises(ShapeError, match="request"):
        pipeline.apply(np.zeros(3), moment())
    for place in ("position", "velocity", "measured", "target"):
        with pytest.raises(NonFiniteError):
            pipeline.apply(np.zeros(2), moment(**{place: (np.nan, 0.0)}))
    for dt_s in (0.0, -0.01, np.nan, np.inf):
        with pytest.raises(ShapeError, match="dt_s"):
            pipeline.apply(np.zeros(2), moment()._replace(dt_s=dt_s))
