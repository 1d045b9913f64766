# SPDX-License-Identifier: Apache-2.0
"""The picture: cans and hands are in it, wherever they may start."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from dex_core.config import load_cell, load_task
from dex_core.errors import ShapeError
from dex_core.images import crop_and_resize, is_blank
from dex_sim.render import CellRenderer
from dex_sim.world import World, WorldState

pytestmark = pytest.mark.render
CELL = load_cell("xarm_bimanual")
CAMERA = CELL.cameras["front"]


@pytest.fixture(scope="module")
def world() -> World:
    return World(CELL)


@pytest.fixture(scope="module")
def renderer(world: World):  # noqa: ANN201
    with CellRenderer(world.model, *CAMERA.native_wh) as renderer:
        yield renderer


def red(picture: np.ndarray) -> np.ndarray:
    """Where a picture is as red as a tomato can."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    return (r > 60) & (r > 2.2 * g) & (r > 1.7 * b)


def test_both_cans_are_seen_at_every_corner_after_the_crop(world: World, renderer: CellRenderer) -> None:
    regions = load_task("push_cans").regions
    corners = [list(itertools.product(regions[name].x_m, regions[name].y_m)) for name in ("left_can", "right_can")]
    for left, right in zip(*corners, strict=True):
        world.reset(0, randomise=False)
        world.place({}, {"left_can": left, "right_can": right})
        picture = crop_and_resize(renderer.rgb(world.snapshot()), CAMERA.crop_xywh, CAMERA.output_wh)
        mask = red(picture)
        # the camera looks back at the robots: the left can is on the right
        assert mask[:, 160:].sum() > 60 and mask[:, :160].sum() > 60
        assert not mask[:, 0].any() and not mask[:, -1].any() and not mask[0].any() and not mask[-1].any()


def test_both_hands_are_in_the_crop_at_home(world: World, renderer: CellRenderer) -> None:
    world.reset(0, randomise=False)
    camera, model = world.model.camera("front"), world.model
    rotation = np.zeros(9)
    import mujoco
    mujoco.mju_quat2Mat(rotation, model.cam_quat[camera.id])
    focal = 0.5 * CAMERA.native_wh[1] / np.tan(0.5 * CAMERA.fovy_rad)
    x0, y0, width, height = CAMERA.crop_xywh
    for link in ("left_base", "left_middle_tip", "left_thumb_tip", "right_base", "right_middle_tip", "right_thumb_tip"):
        seen = (world.body_pose(link)[:3] - model.cam_pos[camera.id]) @ rotation.reshape(3, 3)
        u = 0.5 * CAMERA.native_wh[0] + focal * seen[0] / -seen[2]
        v = 0.5 * CAMERA.native_wh[1] - focal * seen[1] / -seen[2]
        assert x0 + 5 < u < x0 + width - 5 and y0 + 5 < v < y0 + height - 5, link


def test_depth_is_the_distance_to_the_table(world: World, renderer: CellRenderer) -> None:
    world.reset(0, randomise=False)
    depth = renderer.depth(world.snapshot())
    assert depth.shape == (540, 960) and depth.dtype == np.float32
    towards = np.subtract(CAMERA.look_at_m, CAMERA.position_m)
    towards /= np.linalg.norm(towards)
    assert depth[270, 480] == pytest.approx(CAMERA.position_m[2] / -towards[2], abs=0.02)


def test_looks_follow_the_epoch(world: World, renderer: CellRenderer) -> None:
    pictures = []
    for seed in (1, 2):
        world.reset(seed)
        world.place({}, {"left_can": (0.4, 0.2), "right_can": (0.4, -0.2)})
        pictures.append(renderer.rgb(world.snapshot()))
    assert not is_blank(pictures[0]) and not np.array_equal(*pictures)


def test_a_state_of_another_model_is_refused(world: World, renderer: CellRenderer) -> None:
    state = world.snapshot()
    with pytest.raises(ShapeError, match="qpos \\(3,\\)"):
        renderer.rgb(WorldState(0, np.zeros(3), state.epoch, state.visual))
