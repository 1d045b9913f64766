# SPDX-License-Identifier: Apache-2.0
"""Keypoints lie where the renderer draws them; pictures reproduce by seed."""
from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell  # noqa: E402
from dex_learn.policy.draw import Painter, draw_all, project  # noqa: E402
from dex_learn.policy.stills import make_stills  # noqa: E402
from dex_learn.policy.vision import TAUGHT  # noqa: E402
from dex_sim.lockstep import LockstepCell  # noqa: E402
from dex_sim.scene import Visual  # noqa: E402
from dex_sim.world import World  # noqa: E402

CELL = load_cell("xarm_bimanual")
CANS = np.array([True, True, False, False, False])


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
    world, painter = World(CELL), Painter(CELL)
    world.reset(4, "push_cans")
    try:
        image, points, visible = painter.draw(world.snapshot().qpos, CANS, np.random.default_rng(0))
    finally:
        painter.close()
    assert image.shape == (224, 224, 3) and points.shape == (len(TAUGHT), 2)
    assert visible[:4].all() and not visible[4:7].any() and visible[7:].all()
    for side in ("left", "right"):
        foot, top = (points[TAUGHT.index(f"{side}_can_{end}")] for end in ("foot", "top"))
        x, y = ((foot * 0.75 + top * 0.25 + 1.0) * 112.0).astype(int)
        red, green, blue = image[y - 2 : y + 3, x - 2 : x + 3].astype(float).mean(axis=(0, 1))
        assert red > green + 15.0 and red > blue + 15.0


@pytest.mark.render
def test_the_same_seed_draws_the_same() -> None:
    stills = make_stills(LockstepCell(CELL, render=False), 2, 5)
    first, second = (draw_all(CELL, stills, 5) for _ in range(2))
    other = draw_all(CELL, stills, 6)
    assert all(np.array_equal(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    assert not np.array_equal(first.image, other.image)
