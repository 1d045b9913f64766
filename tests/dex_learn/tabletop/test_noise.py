# SPDX-License-Identifier: Apache-2.0
"""Depth noise: grows with the square of the distance, loses what the second eye does not see, keeps its hands off the truth."""
from __future__ import annotations

import numpy as np
import pytest

from dex_learn.tabletop.noise import LEVELS, DepthNoise, add_noise

GREY = np.full((120, 160, 3), 120, np.uint8)
FOCAL = 250.0
CALM = DepthNoise(0.04, edge_px=0.0, edge_loss=0.0, speckle=0.0, shine_loss=0.0, blobs=0.0, step_px=1e-4)


def _wall(metres: float) -> np.ndarray:
    return np.full((120, 160), metres, np.float32)


def _spread(metres: float, noise: DepthNoise) -> float:
    return float(np.nanstd(add_noise(_wall(metres), GREY, FOCAL, noise, np.random.default_rng(0))))


def test_none_is_the_truth_itself_in_a_copy() -> None:
    truth = _wall(1.0)
    out = add_noise(truth, GREY, FOCAL, LEVELS["none"], np.random.default_rng(0))
    assert np.array_equal(out, truth) and out is not truth


def test_axial_noise_is_the_matching_error_times_the_squared_distance() -> None:
    expected = 0.04 / (FOCAL * 0.05)
    assert _spread(1.0, CALM) == pytest.approx(expected, rel=0.1)
    assert _spread(1.6, CALM) / _spread(0.8, CALM) == pytest.approx(4.0, rel=0.05)


def test_levels_are_in_order() -> None:
    assert _spread(1.0, LEVELS["low"]) < _spread(1.0, LEVELS["typical"]) < _spread(1.0, LEVELS["high"])  # type: ignore[arg-type]


def test_depth_comes_in_steps_of_the_disparity() -> None:
    out = add_noise(_wall(1.0), GREY, FOCAL, DepthNoise(0.04, step_px=0.05, speckle=0.0, edge_loss=0.0, blobs=0.0), np.random.default_rng(0))
    steps = FOCAL * 0.05 / np.unique(out) / 0.05
    assert len(steps) < 12 and steps == pytest.approx(np.rint(steps), abs=1e-3)


def test_a_near_thing_casts_a_shadow_on_one_side_as_wide_as_the_disparities_differ() -> None:
    truth = _wall(1.5)
    truth[40:80, 60:100] = 0.7
    lost = np.isnan(add_noise(truth, GREY, FOCAL, CALM, np.random.default_rng(0)))
    width = FOCAL * 0.05 * (1 / 0.7 - 1 / 1.5)
    assert lost[60, 30:60].sum() == pytest.approx(width, abs=1.0) and lost[60, 60:].sum() == 0 and lost[20].sum() == 0


def test_edges_glare_and_speckle_lose_their_pixels_and_the_picture_is_left_alone() -> None:
    truth = _wall(1.5)
    truth[:, 80:] = 1.0
    rgb = GREY.copy()
    rgb[:20, :20] = 255
    before = truth.copy(), rgb.copy()
    lost = np.isnan(add_noise(truth, rgb, FOCAL, DepthNoise(0.04, edge_loss=1.0, speckle=0.01, shine_loss=0.9, blobs=0.0), np.random.default_rng(0)))
    assert lost[30:, 79:81].all() and lost[:20, :20].mean() > 0.3 and 0.005 < lost[30:, 100:].mean() < 0.02
    assert np.array_equal(before[0], truth) and np.array_equal(before[1], rgb)
