# SPDX-License-Identifier: Apache-2.0
"""Streams of their own rates on one fixed rate: nearest in time, within a limit, and never across a gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_eval.lerobot.align import nearest, runs_of
from dex_eval.lerobot.stats import Colours, of_vectors

MS = 10**6


def every(ms: float, end_ms: int, start_ms: float = 0.0) -> np.ndarray:
    """Stamps of a stream [ns]."""
    return np.round(np.arange(start_ms, end_ms, ms) * MS).astype(np.int64)


def test_a_whole_recording_is_one_run_at_a_fixed_rate() -> None:
    streams = {"front": every(66.7, 3000, 5), "arm": every(10, 3000), "commands": every(10, 3000, 3)}
    runs, gaps = runs_of(streams, "front", 0, 2990 * MS, 15, 0.04)
    run = runs[0]
    assert not gaps and len(runs) == 1 and len(run.stamps_ns) == 45 and run.stamps_ns[0] == 5 * MS
    np.testing.assert_allclose(np.diff(run.stamps_ns), 1e9 / 15, atol=1)
    assert run.farthest_ns(streams)["arm"] <= 5 * MS


@pytest.mark.parametrize("stream", ["front", "arm"])
def test_a_gap_ends_a_run_and_the_next_begins_at_a_picture(stream: str) -> None:
    streams = {"front": every(50, 4000), "arm": every(10, 4000)}
    gone = (streams[stream] > 1500 * MS) & (streams[stream] < 2210 * MS)
    streams[stream] = streams[stream][~gone]
    runs, gaps = runs_of(streams, "front", 0, 3990 * MS, 20, 0.03)
    assert len(runs) == 2 and len(gaps) == 1 and gaps[0].stream == stream
    assert runs[0].stamps_ns[-1] <= 1530 * MS and runs[1].stamps_ns[0] in streams["front"] and runs[1].stamps_ns[0] >= 2190 * MS


def test_one_missing_picture_is_a_gap_at_the_default_limit() -> None:
    front = np.delete(every(50, 2000), 20)
    runs, gaps = runs_of({"front": front, "arm": every(10, 2000)}, "front", 0, 1990 * MS, 20, 0.6 / 20)
    assert len(runs) == 2 and gaps[0].stamp_ns == 1000 * MS


def test_a_stream_that_dies_is_a_gap_and_one_that_ends_with_the_rest_is_none() -> None:
    front = every(50, 2000)
    assert runs_of({"front": front, "arm": every(10, 1990)}, "front", 0, 2010 * MS, 20, 0.03)[1] == []
    (gap,) = runs_of({"front": front, "arm": every(10, 1500)}, "front", 0, 2010 * MS, 20, 0.03)[1]
    assert gap.stream == "arm" and 1500 * MS < gap.stamp_ns < 1600 * MS


def test_nothing_near_is_no_run() -> None:
    runs, gaps = runs_of({"front": every(50, 1000), "arm": every(10, 9000, 5000)}, "front", 0, 990 * MS, 20, 0.03)
    assert not runs and len(gaps) == 1  # told once


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50), st.lists(st.integers(0, 10**10), min_size=1, max_size=50))
def test_nearest_is_nearest(stamps: list[int], ticks: list[int]) -> None:
    known, asked = np.array(sorted(stamps)), np.array(ticks)
    found = np.abs(known[nearest(known, asked)] - asked)
    assert np.array_equal(found, np.abs(known[None] - asked[:, None]).min(axis=1))


@given(st.integers(1, 40), st.integers(15, 120), st.floats(0.005, 0.08), st.integers(0, 2**32 - 1))
def test_every_frame_of_every_run_is_within_the_limit(fps: int, period_ms: int, limit_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    front = every(period_ms, 3000)
    streams = {"front": np.sort(front[rng.random(len(front)) > 0.1]), "arm": np.sort(every(10, 3000)[rng.random(300) > 0.2])}
    if not len(streams["front"]):
        return
    runs, _ = runs_of(streams, "front", 0, 3000 * MS, fps, limit_s)
    ends = [stamp for run in runs for stamp in (run.stamps_ns[0], run.stamps_ns[-1])]
    assert ends == sorted(ends)
    for run in runs:
        assert all(far <= limit_s * 1e9 + 1 for far in run.farthest_ns(streams).values())


def test_statistics_are_those_of_all_pixels_and_numbers() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 200, (5, 8, 6, 3), dtype=np.uint8)
    colours = Colours()
    for picture in pictures:
        colours.add(picture)
    found, pixels = colours.stats(), pictures.reshape(-1, 3) / 255.0
    assert found["count"] == [5] and np.shape(found["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(found["mean"]), pixels.mean(axis=0))
    np.testing.assert_allclose(np.ravel(found["std"]), pixels.std(axis=0))
    np.testing.assert_allclose(np.ravel(found["q90"]), np.quantile(pixels, 0.9, axis=0), atol=1.01 / 255)
    rows = rng.normal(size=(50, 3))
    vectors = of_vectors(rows)
    np.testing.assert_allclose(vectors["q01"], np.quantile(rows, 0.01, axis=0))
    assert vectors["count"] == [50] and vectors["min"] == rows.min(axis=0).tolist()
