# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dex_core.config import PolicyConfig
from dex_core.errors import ConfigError
from dex_core.latency import Histogram, LatencyBook, LatencyBudget, Statistics, Window, durations_ms, overhead_ms, total_ms
from dex_core.latency.book import FROM_REST, ORDER, OVERHEAD, TOTAL
from dex_core.latency.budget import DEFAULTS_MS
from dex_core.latency.stages import STAGES, WORDS

MS = 1_000_000


@pytest.mark.parametrize("size", [1, 2, 7, 512])
def test_a_window_is_what_numpy_says_of_the_newest(size):
    values = np.random.default_rng(size).lognormal(2.0, 1.0, 3 * size + 5)
    window = Window(size)
    for i, value in enumerate(values):
        window.add(value)
        newest = values[max(0, i + 1 - size) : i + 1]
        assert len(window) == len(newest)
        for share in (0.0, 0.5, 0.95, 0.99, 1.0):
            assert window.quantile(share) == pytest.approx(np.quantile(newest, share), rel=1e-12)
    assert window.above(float(np.median(newest))) == (newest > np.median(newest)).sum()


def test_equal_values_leave_the_window_one_at_a_time():
    window = Window(3)
    for value in (5.0, 5.0, 5.0, 1.0):
        window.add(value)
    assert len(window) == 3 and window.quantile(0.0) == 1.0 and window.quantile(1.0) == 5.0 and window.above(4.0) == 2


def test_the_histogram_has_exact_ranks_and_nearly_exact_values():
    values = np.random.default_rng(0).lognormal(1.0, 2.5, 20_000)
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered, shares = np.sort(values), (0.001, 0.5, 0.95, 0.99, 0.9999, 1.0)
    for share, found in zip(shares, histogram.quantiles(*shares), strict=True):
        true = ordered[max(0, math.ceil(share * len(values)) - 1)]
        assert abs(found - true) <= max(0.001, 0.0006 * true)
    assert histogram.max_ms == ordered[-1] and len(histogram._counts) < 12_000


def test_the_histogram_stays_small():
    histogram = Histogram()
    for value in np.random.default_rng(1).normal(40.0, 5.0, 50_000):
        histogram.add(value)
    assert len(histogram._counts) < 1500


def test_negative_and_huge_durations_keep_their_place():
    histogram = Histogram()
    for value in (-5.0, 0.0, 3.0, 1e12):
        histogram.add(value)
    low, middle, high = histogram.quantiles(0.25, 0.5, 1.0)
    assert low == pytest.approx(-5.0, rel=1e-3) and middle == 0.0 and high > 4e6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_duration(bad):
    for taker in (Window(), Histogram(), Statistics(1.0)):
        with pytest.raises(ValueError, match="finite"):
            taker.add(bad)


def test_shares_over_budget_of_the_newest_and_of_all():
    statistics = Statistics(10.0, window=4)
    assert math.isnan(statistics.newest.over) and math.isnan(statistics.since_start.p50_ms)
    for value in (20.0, 20.0, 20.0, 20.0, 10.0, 5.0, 5.0, 11.0):
        statistics.add(value)
    assert statistics.newest.over == 0.25 and statistics.since_start.over == 5 / 8  # at the budget is not over it
    assert statistics.newest.count == 4 and statistics.since_start.count == 8 and statistics.last_ms == 11.0


LOCAL = {"observed": 100 * MS, "observation_ready": 110 * MS, "inference_started": 111 * MS, "inferred": 131 * MS, "published": 132 * MS,
         "decoded": 140 * MS, "accepted": 145 * MS, "first_command": 150 * MS}


def test_each_stage_counts_from_the_one_before_that_happened():
    own = durations_ms(LOCAL)
    assert own["inference_started"] == 1.0 and "request_sent" not in own and "observed" not in own
    remote = {**LOCAL, "request_sent": 110_500_000, "queued": 110_800_000, "received": 131_500_000}
    split = durations_ms(remote)
    assert split["inference_started"] == pytest.approx(0.2) and split["received"] == pytest.approx(0.5) and split["published"] == pytest.approx(0.5)
    for timing in (LOCAL, remote):
        assert sum(durations_ms(timing).values()) == pytest.approx(total_ms(timing))
    assert total_ms(LOCAL) == 50.0 and overhead_ms(LOCAL) == 30.0


def test_what_did_not_happen_is_left_out():
    without = {k: v for k, v in LOCAL.items() if k != "decoded"} | {"received": 0}
    assert durations_ms(without)["accepted"] == 13.0
    assert total_ms({"observed": 1}) is None and overhead_ms({"observed": 1, "first_command": 2}) is None and durations_ms({}) == {}


def test_the_book_names_the_worst_stage():
    book = LatencyBook(LatencyBudget.of(45.0, {"decoded": 4.0}))
    for _ in range(3):
        book.add(LOCAL)
    book.add_motion({"first_command": 150 * MS, "first_motion": 170 * MS}, from_rest=True)
    book.add_motion({"first_command": 150 * MS}, from_rest=True)
    assert book.worst() == "decoded" and book.chunks == 3
    assert list(book.stages) == [name for name in ORDER if name in book.stages] and {TOTAL, OVERHEAD, FROM_REST} <= set(book.stages)
    assert book.stages[TOTAL].newest.over == 1.0 and book.stages["first_motion"].newest.count == 1
    plain = book.as_json()
    assert plain["stages"]["decoded"]["newest"]["p50_ms"] == 8.0 and plain["stages"]["decoded"]["budget_ms"] == 4.0
    assert "100.0% over 4 ms" in book.as_words()["decoded"]
    assert LatencyBook().worst() == "" and LatencyBook().as_json() == {"chunks": 0, "worst": "", "stages": {}}


def test_every_stage_has_a_budget_and_words():
    assert set(DEFAULTS_MS) == set(STAGES[1:]) == set(WORDS)


@pytest.mark.parametrize(
    ("changed", "why"), [({"lunch": 3.0}, "unknown stage 'lunch'"), ({"decoded": 0.0}, "decoded is 0.0 ms"), ({"observed": 1.0}, "observed")]
)
def test_budgets_are_checked(changed, why):
    with pytest.raises(ConfigError, match=why):
        LatencyBudget.of(100.0, changed)


def test_a_cells_budgets_are_checked_when_it_is_read():
    assert replace(PolicyConfig(), stage_budgets_ms={"decoded": 10.0}).latency_budget_ms == 100.0
    with pytest.raises(ConfigError, match="unknown stage 'lunch'"):
        replace(PolicyConfig(), stage_budgets_ms={"lunch": 10.0})
