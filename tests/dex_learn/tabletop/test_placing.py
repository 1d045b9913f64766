# SPDX-License-Identifier: Apache-2.0
"""Placing: things stand on the table, apart from each other, some of them nearly touching."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from dex_learn.tabletop.objects import draw_thing
from dex_learn.tabletop.placing import SNUG_GAP_M, gap_m, hull_of, place_all
from dex_learn.tabletop.robot import CLEAR_M, draw_robot

LOW, HIGH, MIDDLE = np.array([-0.25, -0.8]), np.array([0.85, 0.8]), np.array([0.4, 0.0])
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(("offset", "gap"), [((2.0, 0.0), 1.0), ((0.5, 0.0), -0.5), ((0.0, 1.25), 0.25), ((3.0, 3.0), 2.0)])
def test_gap_between_squares(offset: tuple[float, float], gap: float) -> None:
    assert gap_m(SQUARE, SQUARE + offset) == pytest.approx(gap) == gap_m(SQUARE + offset, SQUARE)


def test_hull_has_the_corners_only() -> None:
    inside = np.random.default_rng(0).uniform(0.1, 0.9, (50, 2))
    assert {tuple(p) for p in hull_of(np.concatenate([inside, SQUARE]))} == {tuple(p) for p in SQUARE}


def test_nothing_overlaps_nothing_floats_and_some_nearly_touch() -> None:
    gaps = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        placed = place_all(rng, [draw_thing(rng, "train") for _ in range(6)], MIDDLE, 0.1, LOW, HIGH)
        for item in placed:
            world = item.thing.vertices @ item.pose_in_world[:3, :3].T + item.pose_in_world[:3, 3]
            assert world[:, 2].min() == pytest.approx(0.0, abs=1e-9) and world[:, 2].max() == pytest.approx(item.top_m)
            assert (world[:, :2] > LOW - 0.3).all() and (world[:, :2] < HIGH + 0.3).all()
        gaps += [gap_m(a.hull, b.hull) for a, b in itertools.combinations(placed, 2)]
    assert min(gaps) >= SNUG_GAP_M - 1e-6
    assert min(gaps) < 0.004


def test_a_robot_stays_above_what_lies_under_it() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        placed = place_all(rng, [draw_thing(rng, "train") for _ in range(6)], MIDDLE, 0.1, LOW, HIGH)
        meshes, _ = draw_robot(rng, MIDDLE, placed)
        low = min(float(mesh.vertices[:, 2].min()) for mesh in meshes)
        under = [item.top_m for item in placed if any(gap_m(hull_of(mesh.vertices[:, :2]), item.hull) < 0.0 for mesh in meshes)]
        assert low >= max(under, default=0.0) + CLEAR_M[0] - 1e-9
