# SPDX-License-Identifier: Apache-2.0
"""The figures of depth from stereo are there, finite, and of the picture they claim."""
from __future__ import annotations

import math

from dex_perception.cameras.stereo_bench import CASES, stereo_figures


def test_figures_of_one_case() -> None:
    figures = stereo_figures(repeats=1, cases={"small": CASES["vga_half"]})
    assert set(figures) == {f"stereo_small_{key}" for key in (
        "rectify_ms", "match_ms", "median_error_mm", "p90_error_mm", "with_depth_percent", "wrong_percent")}
    assert all(math.isfinite(value) and value >= 0.0 for value in figures.values())
    assert figures["stereo_small_median_error_mm"] < figures["stereo_small_p90_error_mm"] < 50.0
    assert 90.0 < figures["stereo_small_with_depth_percent"] <= 100.0
