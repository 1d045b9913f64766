# SPDX-License-Identifier: Apache-2.0
"""Keypoints lie where the renderer draws them; pictures reproduce by seed."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_learn.draw import Painter, draw_all, project
from dex_sim.scene import Visual
from dex_sim.world import World

CELL = load_cell("xarm_bimanual")


def test_the_point_looked_at_is_in_the_middle_of_the_native_picture() -> None:
    world = World(CELL)
    world.reset(0, randomise=False)
    camera = CELL.cameras["front"]
    pixel = project(np.array([camera.look_at_m]), Visual.of(world.model), camera)[0]
    x, y, w, h = camera.crop_xywh
    middle = 2.0 * (np.array(camera.native_wh) / 2.0 - np.array([x, y])) / np.array([w, h]) - 1.0
    assert np.abs(pixel - middle).max() < 1e-3


@pytest.mark.render
def test_red_cans_are_drawn_at_their_keypoints() -> None:
    world = World(CELL)
    world.reset(4)
    image, points, cans = Painter(CELL).draw(world.snapshot().qpos, np.random.default_rng(0))
    assert image.shape == (224, 224, 3) and points.shape == (9, 2) and cans.shape == (4,)
    for foot, top in ((0, 1), (2, 3)):
        x, y = ((points[foot] * 0.75 + points[top] * 0.25 + 1.0) * 112.0).astype(int)
        red, green, blue = image[y - 2 : y + 3, x - 2 : x + 3].astype(float).mean(axis=(0, 1))
        assert red > green + 15.0 and red > blue + 15.0


@pytest.mark.render
def test_the_same_seed_draws_the_same() -> None:
    world = World(CELL)
    world.reset(1)
    qpos = world.snapshot().qpos[None]
    first, second = (draw_all(CELL, qpos, np.array([0, 0]), 5) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert not np.array_equal(first.image[0], first.image[1])
