# SPDX-License-Identifier: Apache-2.0
"""Rays enter solids on their surface, from outside, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from dex_perception.keypoints.raycast import BOX, CYLINDER, SPHERE, enter

KINDS = (BOX, CYLINDER, SPHERE)


def outside_by(kind: int, half: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Signed distance-like function of a solid: below zero inside, zero on the surface."""
    if kind == BOX:
        return (np.abs(points) - half).max(axis=-1)
    if kind == CYLINDER:
        return np.maximum(np.linalg.norm(points[..., :2], axis=-1) - half[..., 0], np.abs(points[..., 2]) - half[..., 2])
    return np.linalg.norm(points, axis=-1) - half[..., 0]


def sizes(kind: int, count: int, rng: np.random.Generator) -> np.ndarray:
    half = rng.uniform(0.02, 0.3, (count, 3))
    return half if kind == BOX else half[:, [0, 0, 2]] if kind == CYLINDER else half[:, [0, 0, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ray_enters_where_it_first_meets_the_surface(kind: int) -> None:
    rng = np.random.default_rng(kind)
    count = 2000
    half = sizes(kind, count, rng)
    origin = rng.normal(0.0, 1.0, (count, 3))
    target = rng.uniform(-1.3, 1.3, (count, 3)) * half
    direction = (target - origin) * rng.uniform(0.5, 2.0, (count, 1))
    depth = enter(kind, half, origin, direction)
    steps = np.linspace(0.0, 4.0, 4000)
    along = origin[:, None] + steps[:, None] * direction[:, None]
    signed = outside_by(kind, half[:, None], along)
    starts_outside = signed[:, 0] > 0.0
    met = (signed < -1e-4).any(axis=1) & starts_outside
    assert np.isfinite(depth[met]).all() and met.sum() > 500
    first = origin + np.where(np.isfinite(depth), depth, 0.0)[:, None] * direction
    assert np.abs(outside_by(kind, half, first)[np.isfinite(depth)]).max() < 1e-9
    entered = steps[(signed < -1e-4).argmax(axis=1)]
    assert (depth[met] <= entered[met] + 1e-9).all()
    clear = (signed > 1e-3).all(axis=1)
    assert clear.sum() > 100 and np.isinf(depth[clear]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_from_inside_and_from_behind_nothing_is_met(kind: int) -> None:
    half = np.array([0.1, 0.1, 0.1])
    assert np.isinf(enter(kind, half, np.zeros(3), np.array([0.0, 0.3, 1.0])))
    assert np.isinf(enter(kind, half, np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])))
    assert enter(kind, half, np.array([0.0, 0.0, -1.0]), np.array([0.0, 0.0, 1.0])) == pytest.approx(0.9)


def test_rays_along_an_axis_are_no_special_case() -> None:
    """Parallel to a box's faces and to a cylinder's side, inside and outside of them."""
    half = np.array([0.1, 0.1, 0.2])
    down = np.array([0.0, 0.0, 1.0])
    for kind in (BOX, CYLINDER):
        assert enter(kind, half, np.array([0.05, -0.05, -1.0]), down) == pytest.approx(0.8)
        assert np.isinf(enter(kind, half, np.array([0.11, 0.0, -1.0]), down))
    assert enter(CYLINDER, half, np.array([-1.0, 0.05, 0.1]), np.array([1.0, 0.0, 0.0])) == pytest.approx(1.0 - np.sqrt(0.1**2 - 0.05**2))
