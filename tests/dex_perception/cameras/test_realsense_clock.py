# SPDX-License-Identifier: Apache-2.0
"""Times of a device on the host's clock: drift, jitter, steps of either clock, and what is promised of every stamp."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import NS
from dex_perception.cameras.realsense_clock import BUCKETS, STEP_S, DeviceClock

FLOOR_S = 0.003
START_NS = 5_000 * NS


def exposures(
    seconds: float, *, drift: float = 0.0, jitter_s: float = 0.0, rate_hz: float = 30.0, seed: int = 0, device0_ns: int = 77 * NS,
    host0_ns: int = START_NS,
) -> Iterator[tuple[int, int, int]]:
    """(device time, true host time, arrival) of a camera whose waits have a floor and an exponential tail."""
    rng = np.random.default_rng(seed)
    for k in range(round(seconds * rate_hz)):
        device_ns = round(k / rate_hz * NS)
        true_ns = host0_ns + round(device_ns * (1.0 + drift))
        wait_s = FLOOR_S + (rng.exponential(jitter_s) if jitter_s else 0.0)
        yield device0_ns + device_ns, true_ns, true_ns + round(wait_s * NS)


def errors_s(clock: DeviceClock, samples: Iterator[tuple[int, int, int]]) -> np.ndarray:
    """Of each stamp, beyond the floor that nobody can know."""
    return np.array([clock.host_ns(device, arrival) - true for device, true, arrival in samples]) / NS - FLOOR_S


@pytest.mark.parametrize("drift_ppm", [-200.0, -35.0, 0.0, 35.0, 200.0])
def test_drift_is_found_and_jitter_does_not_reach_the_stamps(drift_ppm: float) -> None:
    clock = DeviceClock()
    off_s = errors_s(clock, exposures(120.0, drift=drift_ppm * 1e-6, jitter_s=0.005))
    assert clock.drift * 1e6 == pytest.approx(drift_ppm, abs=15.0)
    settled = off_s[30 * 20 :]
    assert np.abs(settled).max() < 0.001, "the waits themselves vary by 5 ms on average and by 50 ms at worst"
    assert clock.restarts == 0


def test_without_the_drift_the_stamps_would_run_away() -> None:
    """What the estimate is worth: 200 ppm are 24 ms after two minutes, less what the first exposure waited."""
    samples = list(exposures(120.0, drift=200e-6, jitter_s=0.005))
    offset_only = np.array([device - samples[0][0] + samples[0][2] - true for device, true, _ in samples]) / NS
    assert abs(offset_only[-1]) > 0.015


def test_a_busy_host_moves_no_stamp() -> None:
    """Two seconds in which every exposure arrives 0.2 s late."""
    clock = DeviceClock()
    late = [(d, t, a + (NS // 5 if 600 < k < 660 else 0)) for k, (d, t, a) in enumerate(exposures(40.0, jitter_s=0.002))]
    assert np.abs(errors_s(clock, iter(late))).max() < 0.006 and clock.restarts == 0


@pytest.mark.parametrize("step_s", [0.5, 30.0])
def test_a_device_clock_that_was_set_forward_begins_anew_at_once(step_s: float) -> None:
    clock = DeviceClock()
    errors_s(clock, exposures(20.0, jitter_s=0.002))
    jumped = exposures(20.0, jitter_s=0.002, device0_ns=round((77 + 20 + step_s) * NS), host0_ns=START_NS + 20 * NS, seed=1)
    off_s = errors_s(clock, jumped)
    assert clock.restarts == 1 and np.abs(off_s[60:]).max() < 0.002 and off_s.max() < 0.03


def test_a_device_clock_that_starts_from_zero_begins_anew_at_once() -> None:
    clock = DeviceClock()
    errors_s(clock, exposures(20.0, jitter_s=0.002))
    off_s = errors_s(clock, exposures(20.0, jitter_s=0.002, device0_ns=0, host0_ns=START_NS + 20 * NS, seed=1))
    assert clock.restarts == 1 and np.abs(off_s[60:]).max() < 0.002


def test_a_small_step_back_is_told_from_lateness_after_three_seconds() -> None:
    """The device loses 100 ms: every later exposure seems to wait 100 ms longer."""
    clock = DeviceClock()
    errors_s(clock, exposures(20.0, jitter_s=0.002))
    back = [(d, t, a) for d, t, a in exposures(30.0, jitter_s=0.002, device0_ns=round(96.95 * NS), host0_ns=START_NS + 20 * NS + NS // 20, seed=1)]
    off_s = errors_s(clock, iter(back))
    assert clock.restarts == 1 and np.abs(off_s[200:]).max() < 0.002


def test_drift_that_changes_is_followed() -> None:
    """A crystal that warms up: 0 to 60 ppm over four minutes."""
    rng, host_ns, clock, off = np.random.default_rng(2), START_NS, DeviceClock(), []
    for k in range(240 * 30):
        host_ns += round(NS / 30 * (1.0 + 60e-6 * k / 7200))
        arrival = host_ns + round((FLOOR_S + rng.exponential(0.003)) * NS)
        off.append((clock.host_ns(round(k * NS / 30), arrival) - host_ns) / NS - FLOOR_S)
    assert np.abs(off[600:]).max() < 0.0015
    assert 35e-6 < clock.drift < 65e-6


@given(st.lists(st.tuples(st.integers(-(10**8), 10**9), st.integers(0, 10**9)), min_size=1, max_size=200))
def test_stamps_grow_and_never_lie_after_their_arrival(steps: list[tuple[int, int]]) -> None:
    """Whatever either clock does, as long as arrivals come one after the other."""
    clock, device_ns, arrival_ns, last_ns = DeviceClock(), 10**12, START_NS, -1
    for device_step, arrival_step in steps:
        device_ns, arrival_ns = device_ns + device_step, arrival_ns + arrival_step + 1
        stamp_ns = clock.host_ns(device_ns, arrival_ns)
        assert last_ns < stamp_ns <= arrival_ns
        last_ns = stamp_ns


def test_memory_is_bounded() -> None:
    clock = DeviceClock()
    errors_s(clock, exposures(BUCKETS * 3.0, rate_hz=5.0))
    assert len(clock._least) == BUCKETS and STEP_S > 0.0
