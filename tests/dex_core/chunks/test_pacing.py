# SPDX-License-Identifier: Apache-2.0
"""The policy is asked early enough, by what its latency was; one that is cold or stumbles once does not set the pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.chunks import LatencyEstimate, Pacing
from dex_core.chunks.pacing import AFTER_S
from dex_core.chunks.schedule.synchronous import SETTLE_S
from dex_core.config import ControlConfig
from dex_core.config.control import SCHEDULE_NAMES

NS = 1_000_000_000
CHUNK, DT_S, PERIOD_S = 64, 0.05, 0.8
OVERLAPPING = tuple(name for name in SCHEDULE_NAMES if name != "synchronous")


def paced(schedule: str = "blending", chunk: int = CHUNK, **control) -> Pacing:
    return Pacing(ControlConfig(schedule=schedule, **control), PERIOD_S, chunk, DT_S, 1.0)


def warmed(pacing: Pacing, latency_s: float, times: int = 12) -> Pacing:
    for _ in range(times):
        pacing.latency.note(latency_s)
    return pacing


def test_the_first_chunk_of_a_goal_does_not_count():
    latency = LatencyEstimate()
    latency.note(3.0)
    assert not latency.known and latency.median_s == latency.jitter_s == 0.0
    latency.note(0.1)
    latency.begin()
    latency.note(2.0)
    assert latency.known and latency.median_s == pytest.approx(0.1)


def test_one_spike_in_a_full_window_does_not_count_and_many_do():
    latency = LatencyEstimate()
    for k in range(33):
        latency.note(0.9 if k == 20 else 0.1)
    assert latency.jitter_s == pytest.approx(0.0)
    for _ in range(6):
        latency.note(0.9)
    assert latency.median_s == pytest.approx(0.1) and latency.jitter_s == pytest.approx(0.8)


def test_old_latencies_are_forgotten():
    latency = LatencyEstimate()
    for seconds in [0.8] * 40 + [0.1] * 40:
        latency.note(seconds)
    assert latency.median_s + latency.jitter_s == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", OVERLAPPING)
def test_a_quick_policy_is_asked_every_period(schedule):
    assert warmed(paced(schedule), 0.05).next_ns(7 * NS, 0.05) == 7 * NS + round(PERIOD_S * NS)


def test_the_horizon_replaces_the_period():
    assert warmed(paced(execution_horizon_s=0.3), 0.05).next_ns(0, 0.05) == round(0.3 * NS)


@given(latency_s=st.floats(0.0, 3.0), chunk=st.integers(8, 128))
def test_enough_of_the_chunk_is_left_when_the_next_one_comes(latency_s, chunk):
    pacing = warmed(paced(chunk=chunk), latency_s)
    asked_s = pacing.next_ns(0, latency_s) / NS
    ends_s = DT_S + (chunk - 1) * DT_S
    assert asked_s <= PERIOD_S + 1e-6
    assert asked_s + latency_s + AFTER_S <= ends_s + 1e-6 or asked_s < 0.0
    assert pacing.steps_needed == int(np.ceil((latency_s + pacing.latency.jitter_s + AFTER_S) / DT_S))


def test_before_a_latency_is_known_half_of_the_chunk_is_kept():
    assert paced(chunk=16).next_ns(0, 5.0) == round((DT_S + 0.5 * 15 * DT_S) * NS)


def test_a_cell_that_stands_is_asked_when_it_has_executed_what_it_will():
    for control, executed_s in (({}, (CHUNK - 1) * DT_S), ({"execution_horizon_s": 0.4}, 0.4)):
        pacing = warmed(paced("synchronous", **control), 0.2)
        assert pacing.standing
        assert pacing.next_ns(0, 0.2) == pytest.approx(round((0.2 + AFTER_S + executed_s + SETTLE_S) * NS), abs=2)


def test_what_will_be_past_when_the_chunk_comes_is_frozen():
    assert paced().frozen_steps == 0, "nothing is known"
    assert warmed(paced(), 0.2).frozen_steps == 4  # 0.25 s with what comes after; the first action is for 0.05 s
    assert warmed(paced(), 0.0).frozen_steps == 0
