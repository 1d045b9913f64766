# SPDX-License-Identifier: Apache-2.0
"""Pictures: the trajectory starts open and pinches, components are principal ones, curves are drawn."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dex_core.retarget import TargetHand
from dex_learn.latent.pictures import draw_curves, flat, grasp_trajectory


def test_the_trajectory_opens_pinches_and_closes() -> None:
    path, words = grasp_trajectory("xhand1", "right", 9)
    hand = TargetHand.load("xhand1", "right")
    assert path.shape == (9, 12) and words[0] == "open" and words[-1] == "closed" and words.count("") == 4
    assert np.array_equal(path[0], hand.rest_rad)
    tips = hand.kinematics.fingertips(path[2])
    assert np.linalg.norm(tips[hand.fingers.index("index")] - tips[0]) == pytest.approx(0.01, abs=2e-3)


def test_components_are_ordered_by_what_they_hold() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 4)) * (5.0, 1.0, 0.1, 0.1) + 7.0
    flattened, share = flat(points)
    assert flattened.shape == (500, 2) and share[0] > 0.9 and np.allclose(flattened.mean(axis=0), 0.0)


def test_curves_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "curves.json").write_text(json.dumps({"right hands": {"step": [1, 2], "joint": [2.0, 1.0], "tip": [3.0, 1.0]}}))
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 1000
