# SPDX-License-Identifier: Apache-2.0
"""Normals of clouds without any: the surface's own, outwards also where nobody looked."""
from __future__ import annotations

import numpy as np
import pytest

from dex_perception.complete.normals import estimate, orient

CAMERA = np.array([1.0, 0.0, 0.6])


def sphere(count: int = 1500) -> np.ndarray:
    """(count, 3) float32 on a ball of 5 cm."""
    v = np.random.default_rng(0).normal(size=(count, 3))
    return (0.05 * v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def box(count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Points on a box of 10 x 6 x 14 cm and their true normals."""
    rng, half = np.random.default_rng(1), np.array([0.05, 0.03, 0.07])
    points, axis, side = rng.uniform(-1.0, 1.0, (count, 3)), rng.integers(0, 3, count), rng.choice([-1.0, 1.0], count)
    normals = np.zeros((count, 3))
    points[np.arange(count), axis] = normals[np.arange(count), axis] = side
    return (points * half).astype(np.float32), normals


def test_a_balls_normals_point_outwards_all_around() -> None:
    points = sphere()
    seen = points @ CAMERA > 0.02
    found = orient(points, estimate(points), CAMERA, seen)
    cosine = np.einsum("ni,ni->n", found, points / 0.05)
    assert (cosine > 0.9).mean() > 0.99 and (cosine > 0.0).all()


def test_a_boxs_normals_point_outwards_around_its_edges() -> None:
    points, normals = box()
    towards = np.einsum("ni,ni->n", CAMERA - points, normals)
    found = orient(points, estimate(points), CAMERA, towards > 0.0)
    cosine = np.einsum("ni,ni->n", found, normals)
    assert (cosine > 0.0).mean() > 0.97 and (cosine > 0.9).mean() > 0.75


def test_without_a_seen_point_they_face_away_from_the_middle() -> None:
    points = sphere()
    found = orient(points, estimate(points), CAMERA, np.zeros(len(points), bool))
    assert (np.einsum("ni,ni->n", found, points) > 0.0).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_very_few_points_do_not_break_it(count: int) -> None:
    points = sphere(count)
    found = orient(points, estimate(points), CAMERA, np.ones(count, bool))
    assert found == pytest.approx(found) and np.linalg.norm(found, axis=1) == pytest.approx(np.ones(count), abs=1e-5)
