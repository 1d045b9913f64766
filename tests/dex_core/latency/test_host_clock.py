# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import DexError
from dex_core.latency import HostClock

MS, S = 1_000_000, 1_000_000_000
EPOCH = 1_790_000_000 * S


class Network:
    """Another machine with a clock of its own behind a line with delays of both ways [ns]."""

    def __init__(self, offset_ns=0, drift_ppm=0.0, seed=0):
        self.offset_ns, self.drift = offset_ns, drift_ppm * 1e-6
        self.rng = np.random.default_rng(seed)

    def truth_ns(self, at_ns):
        return self.offset_ns + round((at_ns - EPOCH) * self.drift)

    def exchange(self, at_ns, out_ns, back_ns, work_ns=5 * MS):
        arrived, left = at_ns + out_ns, at_ns + out_ns + work_ns
        return at_ns, arrived + self.truth_ns(arrived), left + self.truth_ns(left), left + back_ns


def delays(rng, kind):
    """(out, back) [ns]"""
    if kind == "even":
        return 200_000, 200_000
    if kind == "lopsided":
        return 4 * MS, 100_000
    out, back = rng.exponential(2 * MS, 2)
    return int(80_000 + out), int(60_000 + back)


@pytest.mark.parametrize("kind", ["even", "lopsided", "jittery"])
@pytest.mark.parametrize(("offset_s", "drift_ppm"), [(0.0, 0.0), (-3600.0, 40.0), (0.35, -90.0)])
def test_the_truth_is_always_within_the_bounds(kind, offset_s, drift_ppm):
    network, clock = Network(round(offset_s * S), drift_ppm, seed=3), HostClock()
    for i in range(300):
        at = EPOCH + i * S // 4
        clock.add(*network.exchange(at, *delays(network.rng, kind), work_ns=int(network.rng.integers(0, 40 * MS))))
        for when in (at, at + 2 * S, at - S // 2, at + 10 * S):
            found = clock.offset(when)
            assert abs(found.offset_ns - network.truth_ns(when)) <= found.error_ns
            assert abs(found.drift_ppm - drift_ppm) <= found.drift_error_ppm + 1e-6
    assert clock.steps == 0 and clock.exchanges <= 48


def test_one_fast_exchange_among_slow_ones_decides():
    network, clock = Network(7 * S, 10.0), HostClock()
    for i in range(20):
        out, back = (30_000, 30_000) if i == 5 else (40 * MS, 15 * MS)
        clock.add(*network.exchange(EPOCH + i * S, out, back))
    assert clock.offset(EPOCH + 20 * S).error_ns < 4 * MS  # 15 s of 200 ppm; a lone slow one says 27 ms


def test_jitter_averages_out_to_its_floor_and_the_drift_is_learnt():
    network, clock = Network(-2 * S, 25.0, seed=1), HostClock()
    for i in range(800):
        clock.add(*network.exchange(EPOCH + i * S // 8, *delays(network.rng, "jittery")))
    found = clock.offset(EPOCH + 100 * S)
    assert found.error_ns < 250_000 and found.drift_error_ppm < 15.0
    later = clock.offset(EPOCH + 400 * S)
    assert found.error_ns < later.error_ns < 10 * MS


def test_a_lopsided_line_is_told_not_hidden():
    network, clock = Network(), HostClock()
    for i in range(50):
        clock.add(*network.exchange(EPOCH + i * S, 10 * MS, 0))
    found = clock.offset(EPOCH + 50 * S)
    assert 4 * MS < found.offset_ns <= found.error_ns  # nobody can tell 10 ms one way from an offset of 5


def test_a_clock_that_is_set_is_noticed():
    network, clock = Network(0), HostClock()
    for i in range(10):
        clock.add(*network.exchange(EPOCH + i * S, 100_000, 100_000))
    network.offset_ns = 3 * S
    clock.add(*network.exchange(EPOCH + 10 * S, 100_000, 100_000))
    found = clock.offset(EPOCH + 10 * S)
    assert clock.steps == 1 and clock.exchanges == 1 and abs(found.offset_ns - 3 * S) <= found.error_ns


def test_stamps_of_theirs_come_back_on_our_clock():
    network, clock = Network(-12 * S, 50.0), HostClock()
    for i in range(30):
        clock.add(*network.exchange(EPOCH + i * S, 50_000, 50_000))
    ours = EPOCH + 29 * S + 500 * MS
    assert abs(clock.to_ours(ours + network.truth_ns(ours)) - ours) <= clock.offset(ours).error_ns


def test_nothing_is_known_before_the_first_exchange():
    clock = HostClock()
    assert clock.offset(EPOCH) is None
    with pytest.raises(DexError, match="no exchange") as error:
        clock.to_ours(EPOCH)
    assert error.value.code == "clock_unknown"


@pytest.mark.parametrize(
    "stamps", [(10 * MS, 0, 0, 5 * MS), (0, 9 * MS, 3 * MS, 20 * MS), (0, 0, 50 * MS, 20 * MS)], ids=["received first", "left first", "longer"]
)
def test_stamps_that_cannot_be_are_refused(stamps):
    clock = HostClock()
    with pytest.raises(DexError, match="do not fit") as error:
        clock.add(*(EPOCH + s for s in stamps))
    assert error.value.code == "clock_invalid" and clock.exchanges == 0


@pytest.mark.parametrize("settings", [{"max_drift_ppm": 0.0}, {"slots": 0}, {"slot_s": 0.0}, {"max_drift_ppm": float("nan")}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="allowed"):
        HostClock(**settings)
