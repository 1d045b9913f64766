# SPDX-License-Identifier: Apache-2.0
"""What depth from a stereo pair costs and how right it is, on a scene whose depth is known."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from dex_perception.cameras.stereo_depth import DepthSettings, StereoDepth
from dex_perception.cameras.stereo_rectify import Rectifier
from dex_perception.cameras.stereo_synthetic import render, tabletop, zed_like

T = TypeVar("T")
CASES: Mapping[str, tuple[str, DepthSettings]] = {
    "vga": ("VGA", DepthSettings()),
    "vga_half": ("VGA", DepthSettings(shrink=2)),
    "hd_half": ("HD", DepthSettings(shrink=2)),
}
"""Name of a case -> resolution of one eye and settings."""


def stereo_figures(repeats: int = 20, cases: Mapping[str, tuple[str, DepthSettings]] = CASES) -> dict[str, float]:
    """By case: median ms to rectify and to match, median and 90th percentile error in mm, % of pixels with depth and of these over 5 % wrong."""
    figures: dict[str, float] = {}
    for case, (resolution, settings) in cases.items():
        calibration = zed_like(resolution)
        pair, rectifier = render(calibration, tabletop()), Rectifier(calibration)
        matcher = StereoDepth(rectifier.intrinsics, rectifier.baseline_m, settings)
        rectify_ms, rectified = _timed(lambda r=rectifier, p=pair: r(p.left, p.right), repeats)
        match_ms, depth_m = _timed(lambda m=matcher, r=rectified: m(*r), repeats)
        error_m = np.abs(depth_m - pair.depth_m)
        known = np.isfinite(error_m)
        figures |= {
            f"stereo_{case}_rectify_ms": rectify_ms,
            f"stereo_{case}_match_ms": match_ms,
            f"stereo_{case}_median_error_mm": float(np.median(error_m[known])) * 1e3,
            f"stereo_{case}_p90_error_mm": float(np.quantile(error_m[known], 0.9)) * 1e3,
            f"stereo_{case}_with_depth_percent": float(np.isfinite(depth_m).mean()) * 100.0,
            f"stereo_{case}_wrong_percent": float((error_m[known] > 0.05 * pair.depth_m[known]).mean()) * 100.0,
        }
    return figures


def _timed(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Median time [ms] after one run to warm up, and the result."""
    result, times_ms = work(), []
    for _ in range(repeats):
        start_ns = time.perf_counter_ns()
        result = work()
        times_ms.append((time.perf_counter_ns() - start_ns) * 1e-6)
    return statistics.median(times_ms), result
