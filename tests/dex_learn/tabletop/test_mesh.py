# SPDX-License-Identifier: Apache-2.0
"""Meshes: closed, outward, of the size that was asked for; points on their surface lie on it."""
from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dex_core.errors import ShapeError
from dex_learn.tabletop.mesh import Mesh, box, ellipsoid, lathe, outward, prism, ring, sample_surface, tube

BODIES = {
    "cylinder": lathe([(0, 0), (0.03, 0), (0.03, 0.1), (0, 0.1)]), "box": box((0.1, 0.2, 0.3)), "ball": ellipsoid((0.05, 0.05, 0.05)),
    "triangle": prism([(0, 0), (0.1, 0), (0, 0.1)], 0.05), "tube": tube(np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0.05, 0]]), [0.01, 0.01, 0.01]),
    "ring": ring([(0.02, 0.0), (0.03, 0.0), (0.03, 0.01), (0.02, 0.01)]),
}
VOLUMES = {"cylinder": np.pi * 0.03**2 * 0.1, "box": 0.006, "ball": 4 / 3 * np.pi * 0.05**3, "triangle": 0.00025, "ring": np.pi * 5e-6}


def _edges(mesh: Mesh) -> Counter:
    """Directed edges between places, edges without length left out."""
    points = [tuple(np.round(v, 9)) for v in mesh.vertices]
    sides = [(points[f[i]], points[f[(i + 1) % 3]]) for f in mesh.faces for i in range(3)]
    return Counter((a, b) for a, b in sides if a != b)


@pytest.mark.parametrize("name", BODIES)
def test_every_edge_is_shared_by_two_faces_that_look_outwards(name: str) -> None:
    edges = _edges(BODIES[name])
    assert edges and all(edges[(b, a)] == count for (a, b), count in edges.items())
    assert BODIES[name].volume_m3 > 0.0


@pytest.mark.parametrize("name", VOLUMES)
def test_volume(name: str) -> None:
    assert BODIES[name].volume_m3 == pytest.approx(VOLUMES[name], rel=0.04)


def test_a_body_turned_inside_out_is_turned_back_and_a_flat_one_refused() -> None:
    mesh = BODIES["box"]
    assert outward(mesh.vertices, mesh.faces[:, ::-1]).volume_m3 == pytest.approx(0.006)
    with pytest.raises(ShapeError, match="encloses"):
        outward(mesh.vertices * [1, 1, 0], mesh.faces)


def test_moving_turns_first_and_then_shifts() -> None:
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = BODIES["box"].moved((1.0, 0.0, 0.0), turn)
    assert np.ptp(moved.vertices, axis=0) == pytest.approx([0.2, 0.1, 0.3])
    assert moved.vertices[:, 0].mean() == pytest.approx(1.0) and moved.volume_m3 == pytest.approx(0.006)


def test_points_lie_on_a_ball_and_their_normals_point_away_from_its_middle() -> None:
    points, normals = sample_surface([BODIES["ball"]], 500, np.random.default_rng(0))
    assert points.dtype == normals.dtype == np.float32
    assert np.linalg.norm(points, axis=1) == pytest.approx(0.05, rel=0.03)
    assert (np.einsum("ij,ij->i", points, normals) > 0.045).all() and np.linalg.norm(normals, axis=1) == pytest.approx(1.0, rel=1e-4)


def test_points_are_spread_by_area_over_all_parts() -> None:
    small, large = box((0.1, 0.1, 0.1)), box((0.2, 0.2, 0.2)).moved((1.0, 0.0, 0.0))
    points, _ = sample_surface([small, large], 4000, np.random.default_rng(0))
    assert (points[:, 0] > 0.5).mean() == pytest.approx(0.8, abs=0.03)
