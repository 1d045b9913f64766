# SPDX-License-Identifier: Apache-2.0
"""Points land where a lens puts them, and those it cannot show are said to be out of the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dex_core.clouds.rays import rays_of
from dex_perception.keypoints.lens import project
from dex_perception.keypoints.testing import lens

BARREL = (-0.28, 0.07, 0.0005, -0.0003, 0.0)


@pytest.mark.parametrize("distortion", [(), BARREL, (0.1, -0.2, 0.001, 0.002, 0.05, 0.01, 0.0, 0.0)])
def test_a_pixels_ray_leads_back_to_the_pixel(distortion: tuple[float, ...]) -> None:
    intrinsics = lens(distortion=distortion)
    rays = rays_of(intrinsics)
    row, column = np.mgrid[3:240:17, 2:320:19]
    points = np.stack([rays.x[row, column], rays.y[row, column], np.ones(row.shape)], axis=-1).reshape(-1, 3)
    for depth in (0.2, 3.0):
        found = project(points * depth, intrinsics)
        assert found.inside.all()
        assert np.abs(found.uv - np.stack([column, row], axis=-1).reshape(-1, 2)).max() < 0.01


def test_distorted_points_are_opencvs() -> None:
    intrinsics = lens(distortion=BARREL)
    points = np.random.default_rng(0).uniform((-0.4, -0.3, 0.8), (0.4, 0.3, 2.0), (200, 3))
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), intrinsics.matrix, np.array(BARREL))[0].reshape(-1, 2)
    assert np.allclose(project(points, intrinsics).uv, expected)


def test_what_is_behind_or_beside_the_camera_is_not_inside() -> None:
    found = project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [5.0, 0.0, 1.0]]), lens())
    assert found.inside.tolist() == [False, False, True, False]
    assert np.isnan(found.uv[:2]).all() and np.isfinite(found.uv[2:]).all()


def test_a_point_far_outside_is_not_folded_into_the_picture() -> None:
    """A barrel polynomial turns back: a point at 75 degrees would land near the middle."""
    intrinsics = lens(distortion=BARREL)
    point = np.array([[3.7, 0.0, 1.0]])
    folded = cv2.projectPoints(point, np.zeros(3), np.zeros(3), intrinsics.matrix, np.array(BARREL))[0].reshape(2)
    found = project(point, intrinsics)
    assert not found.inside[0], folded


def test_the_last_half_pixel_belongs_to_the_picture() -> None:
    intrinsics = lens()
    edges = np.array([-0.5, intrinsics.width - 0.501, intrinsics.width - 0.499])
    points = np.stack([(edges - intrinsics.cx) / intrinsics.fx, np.zeros(3), np.ones(3)], axis=1)
    assert project(points, intrinsics).inside.tolist() == [True, True, False]


def test_no_points_are_no_error() -> None:
    assert project(np.zeros((0, 3)), lens(distortion=BARREL)).uv.shape == (0, 2)
