# SPDX-License-Identifier: Apache-2.0
"""Depth pictures to points and normals: exact without noise, right with it, honest where nothing is known."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from dex_core.clouds import from_depth, normals, rays_of
from dex_core.clouds.analytic import View, angles_rad, nearest_of, plane, rays, sphere
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError

CAMERA = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
TINY = Intrinsics(3, 2, 2.0, 4.0, 1.0, 0.5)
LENS = (0.12, -0.25, 0.001, -0.0005, 0.09)


def angles_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.degrees(angles_rad(found, true))


def test_points_are_where_the_pinhole_says_in_the_order_of_the_picture() -> None:
    depth = np.array([[1.0, 2.0, np.nan], [4.0, 5.0, 6.0]], np.float32)
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    cloud = from_depth(depth, TINY, rgb)
    assert cloud.pixels.tolist() == [0, 1, 3, 4, 5] and cloud.pixels.dtype == np.int32
    np.testing.assert_allclose(cloud.points_m, [[-0.5, -0.125, 1], [0, -0.25, 2], [-2, 0.5, 4], [0, 0.625, 5], [3, 0.75, 6]])
    assert cloud.rgb.tolist() == rgb.reshape(-1, 3)[cloud.pixels].tolist() and cloud.normals is None


def test_what_is_no_depth_is_no_point() -> None:
    depth = np.array([[np.nan, 0.0, -1.0], [np.inf, -np.inf, 2.0]], np.float32)
    assert from_depth(depth, TINY).pixels.tolist() == [5]
    nothing = from_depth(np.zeros((2, 3), np.float32), TINY, np.zeros((2, 3, 3), np.uint8), with_normals=True)
    assert len(nothing) == 0 and nothing.rgb.shape == nothing.normals.shape == (0, 3)


def test_a_picture_of_one_pixel_is_a_point_without_normal() -> None:
    one = Intrinsics(1, 1, 100.0, 100.0, 0.0, 0.0)
    cloud = from_depth(np.array([[0.5]]), one, with_normals=True)
    assert cloud.points_m.tolist() == [[0, 0, 0.5]] and np.isnan(cloud.normals).all()
    assert len(from_depth(np.array([[0.5]]), Intrinsics(1, 1, 100.0, 100.0, 0.0, 0.0, LENS), with_normals=True)) == 1


@pytest.mark.parametrize(("depth", "rgb"), [
    (np.ones((3, 2), np.float32), None), (np.ones((2, 3), np.uint16), None), (np.ones(6, np.float32), None),
    (np.ones((2, 3), np.float32), np.zeros((2, 2, 3), np.uint8)), (np.ones((2, 3), np.float32), np.zeros((2, 3, 3), np.float32)),
])
def test_other_sizes_and_types_are_refused(depth: np.ndarray, rgb: np.ndarray | None) -> None:
    with pytest.raises(ShapeError, match="expected"):
        from_depth(depth, TINY, rgb)


def test_strided_pictures_and_doubles_give_the_same() -> None:
    depth, _ = plane(CAMERA, [0, -0.3, -1], [0, 0, 0.7])
    wide = np.full((CAMERA.height, 2 * CAMERA.width), np.nan)
    wide[:, ::2] = depth
    a, b = from_depth(depth.astype(np.float32), CAMERA, with_normals=True), from_depth(wide[:, ::2], CAMERA, with_normals=True)
    np.testing.assert_array_equal(a.points_m, b.points_m)
    np.testing.assert_array_equal(a.normals, b.normals)


def test_points_of_a_distorted_lens_project_to_their_pixels() -> None:
    camera = Intrinsics(160, 120, 150.0, 152.0, 80.0, 58.0, LENS)
    depth = np.random.default_rng(0).uniform(0.3, 2.0, (120, 160))
    cloud = from_depth(depth, camera)
    back = cv2.projectPoints(cloud.points_m.astype(np.float64), np.zeros(3), np.zeros(3), camera.matrix, np.array(LENS))[0][:, 0]
    assert len(cloud) == depth.size
    np.testing.assert_allclose(back, np.stack([cloud.pixels % 160, cloud.pixels // 160], axis=1), atol=0.01)


def test_pixels_whose_ray_the_lens_model_cannot_tell_are_no_points() -> None:
    camera = Intrinsics(160, 120, 80.0, 80.0, 80.0, 60.0, (-0.6, 0.0, 0.0, 0.0))  # folds over: no ray lands beyond radius 0.497
    cloud = from_depth(np.ones((120, 160), np.float32), camera, with_normals=True)
    radius = np.hypot(cloud.pixels % 160 - 80, cloud.pixels // 160 - 60) / 80.0
    assert 0.45 < radius.max() < 0.5 and len(cloud) > 4000


def test_rays_are_computed_once_per_camera() -> None:
    assert rays_of(Intrinsics(9, 9, 5.0, 5.0, 4.0, 4.0)) is rays_of(Intrinsics(9, 9, 5.0, 5.0, 4.0, 4.0))
    assert rays_of(TINY).bend is None and rays_of(Intrinsics(9, 9, 5.0, 5.0, 4.0, 4.0, LENS)).bend.shape == (4, 9, 9)


@pytest.mark.parametrize("tilt", [[0, 0, -1], [0, -1, -1], [0.8, -0.5, -0.6], [1.5, 0, -1]])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_normals_of_a_plane_are_exact_up_to_the_border(tilt: list[float], step: int) -> None:
    depth, true = plane(CAMERA, tilt, [0, 0, 0.8])
    found = normals(depth, CAMERA, step=step)
    towards = -rays(CAMERA) / np.linalg.norm(rays(CAMERA), axis=-1, keepdims=True)
    known = np.isfinite(depth) & (angles_deg(true, towards) < 70.0)
    assert np.nanmax(angles_deg(found, true)[known]) < 0.1 and np.isfinite(found[known]).all()


def test_normals_have_length_one_and_look_at_the_camera() -> None:
    depth, _ = nearest_of(sphere(CAMERA, [0.05, 0, 0.6], 0.1), plane(CAMERA, [0, -0.7, -0.7], [0, 0, 0.8]))
    noise = 1.0 + 0.003 * np.random.default_rng(1).normal(size=depth.shape)
    found = normals(depth * noise, CAMERA)
    known = np.isfinite(found[..., 0])
    np.testing.assert_allclose(np.linalg.norm(found[known], axis=-1), 1.0, atol=1e-5)
    assert ((found * rays(CAMERA)).sum(axis=-1)[known] < 0.0).all() and found.dtype == np.float32


def test_edges_are_not_bridged() -> None:
    wall, block = plane(CAMERA, [0, 0, -1], [0, 0, 1.0]), plane(CAMERA, [0.3, 0.1, -1], [0, 0, 0.7])
    columns = np.arange(CAMERA.width)
    depth, true = nearest_of(View(np.where((columns < 60) | (columns >= 100), np.nan, block.depth_m), block.normals), wall)
    assert np.nanmax(angles_deg(normals(depth, CAMERA), true)) < 0.1


def folded(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A roof of two planes seen from above: depth, normals, and distance of each pixel from the ridge [px]."""
    left, right = plane(CAMERA, [-0.8, 0, -1], [0.0, 0, 0.7]), plane(CAMERA, [0.8, 0, -1], [0.0, 0, 0.7])
    ahead = left.depth_m > right.depth_m
    depth = np.where(ahead, left.depth_m, right.depth_m)
    depth = 1.0 / (1.0 / depth + noise * np.random.default_rng(4).normal(size=depth.shape))
    return depth, np.where(ahead[..., None], left.normals, right.normals), np.abs(rays(CAMERA)[..., 0] * CAMERA.fx)


@pytest.mark.parametrize(("noise", "worst_deg"), [(0.0, 3.0), (0.002, 10.0)])
def test_a_ridge_is_kept(noise: float, worst_deg: float) -> None:
    depth, true, apart = folded(noise)
    angle = angles_deg(normals(depth, CAMERA), true)
    near = (apart > 3.0) & (apart < 7.0)  # the window reaches six pixels
    assert np.median(angle[near]) < worst_deg
    assert np.median(angle[near]) < 0.5 * np.median(angles_deg(normals(depth, CAMERA, noise_per_m=10.0), true)[near])  # without a search for ridges


def test_a_round_surface_is_no_ridge() -> None:
    depth, true = sphere(CAMERA, [0.02, -0.01, 0.5], 0.06)
    behind = plane(CAMERA, [0, 0, -1], [0, 0, 1.0])
    depth, true = nearest_of(View(depth, true), behind)
    facing = (depth < 0.9) & ((true * rays(CAMERA)).sum(axis=-1) / np.linalg.norm(rays(CAMERA), axis=-1) < -0.7)
    assert np.median(angles_deg(normals(depth, CAMERA, step=1), true)[facing]) < 1.0


def test_normals_of_a_sphere() -> None:
    depth, true = sphere(CAMERA, [0.02, -0.01, 0.5], 0.15)
    depth = depth.astype(np.float32)
    angle = angles_deg(normals(depth, CAMERA, step=1), true)
    facing = (true * rays(CAMERA)).sum(axis=-1) / np.linalg.norm(rays(CAMERA), axis=-1) < -0.5
    assert np.nanmedian(angle[facing]) < 0.5 and np.nanpercentile(angle[facing], 95) < 2.0


def test_normals_of_a_distorted_lens() -> None:
    camera = Intrinsics(160, 120, 150.0, 152.0, 80.0, 58.0, LENS)
    lens = rays_of(camera)
    n = np.array([0.4, -0.3, -1.0]) / np.linalg.norm([0.4, -0.3, -1.0])
    depth = (0.8 * n[2]) / (np.stack([lens.x, lens.y, np.ones_like(lens.x)], axis=-1).astype(float) @ n)
    right = np.nanmax(angles_deg(normals(depth, camera, step=1), n))
    plain = np.nanmax(angles_deg(normals(depth, Intrinsics(160, 120, 150.0, 152.0, 80.0, 58.0), step=1), n))
    assert right < 0.1 and plain > 5.0 * right  # plain: the lens not undone


def test_noise_as_of_a_stereo_camera() -> None:
    depth, true = plane(CAMERA, [0, -1, -1], [0, 0, 0.7])
    noisy = 1.0 / (1.0 / depth + 0.0025 * np.random.default_rng(2).normal(size=depth.shape))
    near = np.median(angles_deg(normals(noisy, CAMERA, step=1), true)), np.median(angles_deg(normals(noisy, CAMERA, step=3), true))
    assert near[1] < near[0] < 4.0


def test_holes_leave_no_normal_and_lone_pixels_have_none() -> None:
    depth = np.full((120, 160), np.nan, np.float32)
    depth[10, 10], depth[50, :], depth[80:90, 80:90] = 1.0, 1.0, 1.0  # a pixel, a line, a patch
    found = normals(depth, CAMERA, step=1)
    known = np.isfinite(found[..., 0])
    assert not known[10, 10] and not known[50].any() and known[80:90, 80:90].all() and known.sum() == 100


@pytest.mark.parametrize("setting", [{"step": 0}, {"step": 9}, {"step": 1.5}, {"steepest_rad": 1.6}, {"steepest_rad": np.nan}, {"noise_per_m": 0.0}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(ShapeError, match=next(iter(setting))):
        normals(np.ones((120, 160)), CAMERA, **setting)
