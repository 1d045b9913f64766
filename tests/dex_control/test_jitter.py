# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_control.jitter import measure_jitter
from dex_core.errors import ShapeError

MS = 1_000_000


def test_an_even_stream_has_none():
    jitter = measure_jitter([k * 10 * MS for k in range(100)], 100.0)
    assert (jitter.period_p50_ms, jitter.period_p99_ms, jitter.error_max_ms, jitter.missed) == (10.0, 10.0, 0.0, 0)
    assert jitter.rate_hz == pytest.approx(100.0)
    json.dumps(jitter.figures())


def test_a_gap_is_missed_ticks():
    times = [k * 10 * MS for k in range(100) if k not in (40, 41)]
    jitter = measure_jitter(times, 100.0)
    assert (jitter.missed, jitter.longest_gap_ms, jitter.error_max_ms) == (2, 30.0, 20.0)


@given(noise=st.lists(st.integers(-3 * MS, 3 * MS), min_size=10, max_size=50))
def test_error_is_bounded_by_twice_the_noise(noise):
    jitter = measure_jitter([10 * MS * k + n for k, n in enumerate(noise)], 100.0)
    assert jitter.error_max_ms <= 6.0 + 1e-9
    assert jitter.error_p50_ms <= jitter.error_p99_ms <= jitter.error_max_ms


@pytest.mark.parametrize("times, rate, text", [([1], 100.0, "two"), ([2, 1], 100.0, "go back"), ([1, 2], 0.0, "rate_hz")])
def test_nonsense_is_refused(times, rate, text):
    with pytest.raises(ShapeError, match=text):
        measure_jitter(times, rate)
