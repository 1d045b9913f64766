# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dex_core.chunks as chunks_package
from dex_core.chunks import Spline
from dex_core.errors import NonFiniteError, ShapeError

NS = 1_000_000_000
DT_S = 0.05
knots_lists = st.lists(st.floats(-3, 3), min_size=2, max_size=12)


def test_every_name_of_the_list_is_there():
    assert all(hasattr(chunks_package, name) for name in chunks_package.__all__)


@given(values=knots_lists)
def test_it_passes_its_knots_and_stays_in_the_range_of_each_pair(values):
    knots = np.array(values)[:, None]
    spline = Spline(7 * NS, DT_S, knots)
    for k, value in enumerate(values):
        assert spline.at(7 * NS + round(k * DT_S * NS)).position_rad[0] == pytest.approx(value, abs=1e-6)
    for k in range(len(values) - 1):
        low, high = sorted(values[k : k + 2])
        for u in np.linspace(0.0, 1.0, 11):
            q = spline.at(7 * NS + round((k + u) * DT_S * NS)).position_rad[0]
            assert low - 1e-9 <= q <= high + 1e-9


@given(values=knots_lists, place=st.floats(0.01, 0.99))
def test_velocity_and_acceleration_are_the_derivatives(values, place):
    spline = Spline(0, DT_S, np.array(values)[:, None])
    segment = min(int(place * (len(values) - 1)), len(values) - 2)
    t = round((segment + 0.1 + 0.8 * place) * DT_S * NS)
    h = 1000
    before, here, after = (spline.at(t + d) for d in (-h, 0, h))
    scale = 1 + np.abs(np.array(values)).max() / DT_S
    assert (after.position_rad - before.position_rad) / (2 * h / NS) == pytest.approx(here.velocity_rad_s, abs=1e-3 * scale)
    assert (after.velocity_rad_s - before.velocity_rad_s) / (2 * h / NS) == pytest.approx(here.acceleration_rad_s2, abs=1e-2 * scale / DT_S)


def test_velocity_is_continuous_over_knots():
    rng = np.random.default_rng(0)
    spline = Spline(0, DT_S, rng.normal(size=(20, 3)))
    for k in range(1, 19):
        t = round(k * DT_S * NS)
        np.testing.assert_allclose(spline.at(t - 1).velocity_rad_s, spline.at(t + 1).velocity_rad_s, atol=1e-4)


def test_before_and_after_it_stands_still():
    spline = Spline(NS, DT_S, np.array([[1.0], [2.0]]))
    for t, value in ((0, 1.0), (10 * NS, 2.0)):
        point = spline.at(t)
        assert (point.position_rad[0], point.velocity_rad_s[0], point.acceleration_rad_s2[0]) == (value, 0.0, 0.0)


def test_it_is_indexed_by_time_never_by_count():
    spline = Spline(0, DT_S, np.linspace(0.0, 1.0, 21)[:, None])
    assert [spline.at(t * NS // 4).position_rad[0] for t in (3, 1, 3, 2)] == pytest.approx([0.75, 0.25, 0.75, 0.5])


@given(values=knots_lists, places=st.lists(st.floats(-1.0, 14.0), min_size=1, max_size=8))
def test_many_places_at_once_are_the_same_places(values, places):
    spline = Spline(3, DT_S, np.array(values)[:, None])
    times = np.array([3 + round(place * DT_S * NS) for place in places])
    np.testing.assert_allclose(spline.positions_at(times), [spline.at(int(t)).position_rad for t in times], rtol=0.0, atol=1e-12)
    resting = Spline.resting(5, np.array([0.3, -0.3]))
    np.testing.assert_array_equal(resting.positions_at(times), np.tile([0.3, -0.3], (len(times), 1)))


def test_one_knot_rests():
    spline = Spline.resting(5, np.array([0.3, -0.3]))
    assert spline.end_ns == 5
    np.testing.assert_array_equal(spline.at(NS).position_rad, [0.3, -0.3])


def test_steps_before():
    spline = Spline(0, DT_S, np.zeros((10, 1)))
    assert [spline.steps_before(t) for t in (-1, 0, 1, round(0.05 * NS), round(0.12 * NS), 9 * NS)] == [0, 0, 1, 1, 3, 10]


def test_bad_knots_are_refused():
    with pytest.raises(NonFiniteError):
        Spline(0, DT_S, np.array([[np.nan]]))
    with pytest.raises(ShapeError):
        Spline(0, DT_S, np.zeros((0, 3)))
    with pytest.raises(ShapeError):
        Spline(0, 0.0, np.zeros((3, 3)))
