# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dex_core.limits import stopping_distance, stopping_velocity

speeds = st.floats(0.0, 10.0)
accelerations = st.floats(0.1, 100.0)
steps_s = st.floats(0.001, 0.05)


@given(speed=speeds, acceleration=accelerations, dt_s=steps_s)
def test_velocity_is_the_inverse_of_distance(speed, acceleration, dt_s):
    v, a = np.array([speed]), np.array([acceleration])
    np.testing.assert_allclose(stopping_velocity(stopping_distance(v, a, dt_s), a, dt_s), v, rtol=1e-6, atol=1e-9)


@given(distance=st.floats(0.0, 5.0), acceleration=accelerations, dt_s=steps_s)
def test_a_joint_that_keeps_to_it_stops_inside_and_never_brakes_harder(distance, acceleration, dt_s):
    left, a = np.array([distance]), np.array([acceleration])
    before = None
    for _ in range(3000):
        v = stopping_velocity(left, a, dt_s)
        if before is not None:
            assert before - v <= a * dt_s * (1 + 1e-6) + 1e-9
        left, before = left - v * dt_s, v
        assert left >= -1e-9
        if v < 1e-12:
            break


def test_no_distance_no_speed():
    np.testing.assert_array_equal(stopping_velocity(np.array([0.0, -1.0]), np.ones(2), 0.01), [0.0, 0.0])
