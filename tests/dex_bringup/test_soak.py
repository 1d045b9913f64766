# SPDX-License-Identifier: Apache-2.0
"""The soak's judgement on made tracks, and a short soak of the whole cell."""

from __future__ import annotations

import argparse
import os

import numpy as np
import pytest

from dex_bringup.bench import soak
from dex_bringup.bench.soak import Track, flatness, latency_drift, memory_is_flat, report_of
from dex_core.errors import DexError

CI_MINUTES = float(os.environ.get("DEX_SOAK_MINUTES", "1"))
"""One minute rather than three: the whole CI aims for 15 minutes; DEX_SOAK_MINUTES=3 (or 60) makes it longer."""
HOUR = np.arange(0.0, 3600.0, 2.0)


def track(per_hour_kib: float, threads: int = 12, files: int = 40, leak_threads: float = 0.0) -> Track:
    rng = np.random.default_rng(0)
    memory = 80_000.0 + per_hour_kib * HOUR / 3600.0 + rng.normal(0.0, 200.0, len(HOUR))
    memory[HOUR > 1000.0] += 500.0  # one step is no slope
    grown = [threads + int(leak_threads * t / 3600.0) for t in HOUR]
    return Track(5, 0, HOUR.tolist(), memory.tolist(), grown, [files] * len(HOUR))


def test_a_slope_is_found_through_noise_and_a_step_does_not_tilt_it() -> None:
    assert abs(flatness(HOUR, track(0.0).memory_kib, 300.0).per_hour) < 1024.0
    assert flatness(HOUR, track(60_000.0).memory_kib, 300.0).per_hour == pytest.approx(60_000.0, rel=0.1)


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(DexError, match="3 samples after 300 s"):
        flatness([0, 100, 301, 302, 303], [1, 1, 1, 1, 1], 300.0)


@pytest.mark.parametrize(("made", "missed"), [
    (track(0.0), ""), (track(40_000.0), "growing_processes"), (track(0.0, leak_threads=6.0), "threads_grown"),
])
def test_growth_is_named(made: Track, missed: str) -> None:
    latency = [(float(t), 30.0) for t in HOUR[::20]]
    report = report_of({"gate": made}, latency, {"count": 9, "ended": 0}, 60.0, {})
    assert [text.split()[0] for text in report.missed] == ([missed] if missed else [])
    assert report.figures["grow"] == ("gate" if missed == "growing_processes" else "none") and "MiB/h" in str(report.figures["gate"])


def test_a_short_run_is_judged_by_the_step_between_its_halves() -> None:
    steep_but_small = flatness(HOUR[:60], (80_000.0 + 10.0 * HOUR[:60]).tolist(), 36.0)
    assert steep_but_small.per_hour > soak.MEMORY_KIB_PER_HOUR and memory_is_flat(steep_but_small, 3.0) and not memory_is_flat(steep_but_small, 60.0)


def test_latency_that_drifts_is_seen() -> None:
    assert latency_drift([(t, 30.0 + 0.01 * t) for t in HOUR[::20]], 300.0) > soak.LATENCY_SHARE
    assert abs(latency_drift([(t, 30.0) for t in HOUR[::20]], 300.0)) < 1e-9
    assert np.isnan(latency_drift([(400.0, 30.0)] * 5, 300.0))


@pytest.mark.ros
@pytest.mark.render
@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * 60)
def test_the_cell_stays_as_it_is() -> None:
    """Everything but the drift of latency, of which a minute on a shared machine says nothing."""
    report = soak.run(argparse.Namespace(cell="xarm_bimanual", minutes=CI_MINUTES), lambda _text: None)
    assert [text for text in report.missed if not text.startswith("latency_drift")] == []
    assert report.figures["goals"] >= 1 and "gate" in report.figures
