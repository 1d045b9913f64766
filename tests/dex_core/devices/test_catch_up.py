# SPDX-License-Identifier: Apache-2.0
"""A pause in a stream of targets never becomes a jump, and costs nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.devices.catch_up import MOST_KEPT, CatchUp
from dex_core.errors import ConfigError

GAP_S, HASTE = 0.04, 1.15
MS = 1_000_000


def played(periods_ms: list[float], speed_rad_s: float = 2.14) -> tuple[np.ndarray, np.ndarray, CatchUp]:
    """(times [s], what was sent [rad], the filter) for a target that moves steadily and is heard after these periods."""
    catch_up = CatchUp(GAP_S, HASTE)
    times = np.concatenate([[0.0], np.cumsum(periods_ms)]) * 1e-3
    return times, np.array([catch_up.next(np.array([speed_rad_s * t]), round(t * 1e9))[0] for t in times]), catch_up


@given(st.lists(st.floats(1.0, 39.0), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_targets_that_come_in_time_are_passed_on_as_they_are(periods_ms: list[float]) -> None:
    times, sent, catch_up = played(periods_ms)
    assert sent == pytest.approx(2.14 * times) and catch_up.behind_s == 0.0


@given(st.lists(st.floats(1.0, 400.0), min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_step_is_faster_than_the_pace_allows_whatever_the_pauses(periods_ms: list[float]) -> None:
    times, sent, _ = played(periods_ms)
    allowed = 2.14 * HASTE * np.minimum(np.diff(times), GAP_S) + 1e-7
    assert (np.diff(sent) <= allowed).all() and (np.diff(sent) >= -1e-9).all() and (sent <= 2.14 * times + 1e-9).all()


def test_after_a_pause_it_is_where_it_should_be_again() -> None:
    times, sent, catch_up = played([10.0] * 5 + [90.0] + [10.0] * 40)
    assert catch_up.behind_s == 0.0 and sent[-1] == pytest.approx(2.14 * times[-1])
    behind = 2.14 * times - sent
    assert behind[6] == pytest.approx(2.14 * (0.090 - HASTE * GAP_S)) and (np.diff(behind[6:]) <= 1e-9).all()


def test_a_new_start_forgets_the_way() -> None:
    catch_up = CatchUp(GAP_S, HASTE)
    catch_up.next(np.zeros(2), 0)
    catch_up.next(np.ones(2), 500 * MS)
    catch_up.start()
    assert catch_up.next(np.full(2, 7.0), 501 * MS).tolist() == [7.0, 7.0] and catch_up.behind_s == 0.0


def test_what_waits_is_bounded_and_still_never_a_jump() -> None:
    _, sent, catch_up = played([10.0, 390.0] + [1.0] * (3 * MOST_KEPT))
    assert len(catch_up._way) <= MOST_KEPT and np.diff(sent).max() <= 2.14 * 0.4


def test_a_target_that_comes_twice_at_one_time_is_no_division_by_zero() -> None:
    catch_up = CatchUp(GAP_S, HASTE)
    for time_ms, place in ((0, 0.0), (200, 1.0), (200, 1.1), (200, 1.2)):
        assert np.isfinite(catch_up.next(np.array([place]), time_ms * MS)).all()


@pytest.mark.parametrize(("gap_s", "haste"), [(0.0, 1.1), (1.0, 1.1), (0.04, 1.0), (0.04, 2.5), (float("nan"), 1.1)])
def test_settings_that_make_no_sense_are_refused(gap_s: float, haste: float) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        CatchUp(gap_s, haste)
