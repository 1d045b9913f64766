# SPDX-License-Identifier: Apache-2.0
"""The table is found, with its side; where there is none, none is."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clouds import Cloud, find_plane, from_depth, remove_plane
from dex_core.clouds.analytic import box, nearest_of, plane, sphere
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError

CAMERA = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
NORMAL = np.array([0.0, -1.0, -1.0]) / np.sqrt(2.0)
TABLE = plane(CAMERA, NORMAL, [0, 0, 0.7])
BALL = sphere(CAMERA, np.array([0, 0, 0.7]) + 0.04 * NORMAL, 0.04)
CUBE = box(CAMERA, np.array([0.12, 0, 0.7]) + 0.03 * NORMAL, [0.03] * 3, [[1, 0, 0], np.cross(NORMAL, [1, 0, 0]), NORMAL])


def scene(noise: float = 0.0025, seed: int = 0) -> Cloud:
    depth = nearest_of(TABLE, BALL, CUBE).depth_m
    return from_depth(1.0 / (1.0 / depth + noise * np.random.default_rng(seed).normal(size=depth.shape)), CAMERA)


def test_the_table_goes_and_the_objects_stay() -> None:
    cloud = scene()
    found = remove_plane(cloud)
    on_object = np.isfinite(nearest_of(BALL, CUBE).depth_m).ravel()
    height = (found.cloud.points_m - [0, 0, 0.7]) @ NORMAL
    assert np.degrees(np.arccos(found.plane.normal @ NORMAL)) < 0.3 and found.plane.offset_m == pytest.approx(0.7 / np.sqrt(2), abs=0.001)
    assert on_object[found.cloud.pixels].mean() > 0.98 and height.min() > 0.006
    assert on_object[found.cloud.pixels].sum() > 0.8 * on_object.sum()
    assert found.plane.rms_m < 0.002 and found.plane.share > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_finds_the_same_plane_and_every_seed_finds_it(seed: int) -> None:
    points = scene(seed=seed).points_m
    first, again = find_plane(points, seed=seed), find_plane(points, seed=seed)
    assert first.normal.tolist() == again.normal.tolist() and first.normal @ NORMAL > 0.9999


def test_sides() -> None:
    wall = [[x, y, 2.0] for x in np.linspace(-1, 1, 9) for y in np.linspace(-1, 1, 9)]
    points = np.array([*wall, [0, 0, 1.5], [0, 0, 2.5]], np.float32)
    kept = {side: remove_plane(Cloud(points), keep=side).cloud.points_m[:, 2].tolist() for side in ("above", "below", "off")}
    assert kept == {"above": [1.5], "below": [2.5], "off": [1.5, 2.5]}
    with pytest.raises(ShapeError, match="'beside'"):
        remove_plane(Cloud(points), keep="beside")


def test_a_known_plane_is_used_as_it_is() -> None:
    cloud = scene()
    table = find_plane(cloud.points_m)
    again = remove_plane(scene(seed=1), plane=table)
    assert again.plane is table and len(again.cloud) < 0.2 * len(cloud)


def test_up_chooses_among_planes() -> None:
    rng = np.random.default_rng(0)
    wall = np.column_stack([rng.uniform(-1, 1, (3000, 2)), np.full(3000, 2.0)])
    floor = np.column_stack([rng.uniform(-1, 1, 1500), np.full(1500, 0.5), rng.uniform(1, 2, 1500)])
    points = np.concatenate([wall, floor]).astype(np.float32)
    assert abs(find_plane(points).normal[2]) > 0.99
    assert find_plane(points, up=[0, -1, 0]).normal[1] < -0.99
    assert find_plane(points, up=[1, 0, 0]) is None
    below = find_plane(points, up=[0, 1, 0])  # along `up`, wherever the origin is
    assert below.normal[1] > 0.99 and below.offset_m == pytest.approx(-0.5, abs=0.01)


def test_up_tells_the_sides_in_a_frame_without_camera() -> None:
    rng = np.random.default_rng(1)
    table = np.column_stack([rng.uniform(0, 1, (3000, 2)), rng.normal(-0.02, 0.001, 3000)])  # below the origin of a robot's base
    thing = np.column_stack([rng.uniform(0.4, 0.5, (300, 2)), rng.uniform(0.0, 0.1, 300)])
    cloud = Cloud(np.concatenate([table, thing]).astype(np.float32), pixels=np.arange(3300, dtype=np.int32))
    for shift in (0.0, 0.5, -0.5):
        moved = cloud.transformed(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, shift], [0, 0, 0, 1.0]]))
        assert remove_plane(moved, up=[0, 0, 1]).cloud.pixels.tolist() == list(range(3000, 3300))


def test_up_must_be_a_direction() -> None:
    points = np.zeros((9, 3), np.float32)
    with pytest.raises(ShapeError, match="up"):
        find_plane(points, up=[0, 0, 0])


@pytest.mark.parametrize("points", [
    np.empty((0, 3)), np.zeros((2, 3)), np.zeros((50, 3)), np.outer(np.arange(50.0), [1, 2, 3]), np.full((50, 3), np.nan),
    np.random.default_rng(0).uniform(-1, 1, (500, 3)),
], ids=["nothing", "two", "one place", "a line", "not finite", "a cloud of dust"])
def test_where_there_is_no_plane_none_is_found_and_everything_stays(points: np.ndarray) -> None:
    found = remove_plane(Cloud(points.astype(np.float32)))
    assert found.plane is None and len(found.cloud) == len(points)


@pytest.mark.parametrize("setting", [{"tolerance_m": 0.0}, {"least_share": 0.0}, {"least_share": 1.5}, {"hypotheses": 0}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(ShapeError, match=next(iter(setting))):
        find_plane(np.zeros((9, 3)), **setting)
