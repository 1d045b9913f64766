# SPDX-License-Identifier: Apache-2.0
"""Voxels, neighbours, samples and distances against brute force, with the inputs that break such code."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clouds import (
    Cloud,
    chamfer_m,
    f_score,
    farthest_points,
    interpolate,
    nearest,
    remove_isolated,
    remove_outliers,
    surface_distance_m,
    voxel_grid,
    voxel_groups,
)
from dex_core.errors import NonFiniteError, ShapeError

NOTHING = np.empty((0, 3), np.float32)


def some(n: int, seed: int = 0, scale: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, scale, (n, 3)).astype(np.float32)


def brute(queries: np.ndarray, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    offset = (queries[:, None] - points) ** 2
    squared = offset[..., 0] + offset[..., 1] + offset[..., 2]
    index = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return index, np.sqrt(np.take_along_axis(squared, index, axis=1))


def test_a_voxel_is_the_mean_of_its_points_in_the_order_of_the_first() -> None:
    points = np.array([[0.011, 0, 0], [0.001, 0.001, 0.001], [0.003, 0.003, 0.009], [0.019, 0.001, 0.001], [-0.001, 0, 0]], np.float32)
    rgb = np.array([[10, 0, 0], [1, 2, 255], [2, 2, 254], [20, 1, 0], [7, 7, 7]], np.uint8)
    normals = np.array([[0, 0, -1], [0, 0, -1], [0, -1, 0], [np.nan] * 3, [np.nan] * 3], np.float32)
    cloud = voxel_grid(Cloud(points, rgb, normals, np.arange(5, dtype=np.int32)), 0.01)
    np.testing.assert_allclose(cloud.points_m, [[0.015, 0.0005, 0.0005], [0.002, 0.002, 0.005], [-0.001, 0, 0]], atol=1e-9)
    assert cloud.rgb.tolist() == [[15, 1, 0], [2, 2, 255], [7, 7, 7]] and cloud.pixels is None
    np.testing.assert_allclose(cloud.normals[:2], [[0, 0, -1], [0, -(0.5**0.5), -(0.5**0.5)]], atol=1e-6)
    assert np.isnan(cloud.normals[2]).all()
    assert voxel_groups(points, 0.01)[0].tolist() == [0, 1, 1, 0, 2]


@pytest.mark.parametrize("size", [0.003, 0.02, 5.0])
def test_voxels_against_a_dictionary(size: float) -> None:
    points = some(1500)
    rgb = np.random.default_rng(1).integers(0, 256, (1500, 3), dtype=np.uint8)
    cells: dict[tuple, list[int]] = {}
    for row, point in enumerate(points):
        cells.setdefault(tuple(np.floor(point.astype(np.float64) * (1.0 / size))), []).append(row)
    cloud = voxel_grid(Cloud(points, rgb), size)
    of_point, count = voxel_groups(points, size)
    assert len(cloud) == len(cells) == count and of_point.dtype == np.int32
    for voxel, rows in enumerate(cells.values()):
        np.testing.assert_allclose(cloud.points_m[voxel], points[rows].mean(axis=0, dtype=np.float64), atol=1e-7)
        np.testing.assert_array_equal(cloud.rgb[voxel], np.floor(rgb[rows].mean(axis=0, dtype=np.float64) + 0.5))
        assert (of_point[rows] == voxel).all()


def test_voxels_of_nothing_of_one_and_of_what_is_not_finite() -> None:
    assert len(voxel_grid(Cloud(NOTHING), 0.01)) == 0 and voxel_groups(NOTHING, 0.01)[1] == 0
    assert voxel_grid(Cloud(np.array([[1, -2, 3]], np.float32)), 0.01).points_m.tolist() == [[1, -2, 3]]
    broken = np.array([[np.nan, 0, 0], [0.5, 0, 0], [0, np.inf, 0]], np.float32)
    assert voxel_grid(Cloud(broken), 0.01).points_m.tolist() == [[0.5, 0, 0]]
    with pytest.raises(NonFiniteError, match="nan at point 0"):
        voxel_groups(broken, 0.01)


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_no_size_is_refused(size: float) -> None:
    with pytest.raises(ShapeError, match="size of a voxel"):
        voxel_grid(Cloud(some(5)), size)


def test_a_grid_too_wide_is_refused_and_one_far_away_is_not() -> None:
    with pytest.raises(ShapeError, match="more than 16777216"):
        voxel_grid(Cloud(np.array([[0, 0, 2e6]], np.float32)), 0.1)
    with pytest.raises(ShapeError, match="more than 2097152"):
        voxel_grid(Cloud(np.array([[0, 0, 0], [3000, 0, 0]], np.float32)), 0.001)
    far = voxel_grid(Cloud(np.array([[30000, 0, 0], [30001, 0, 0], [30001, 0.001, 0]], np.float32)), 0.01)
    assert len(far) == 2


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (2, 1), (50, 2), (700, 3)])
def test_farthest_points_against_the_definition(n: int, seed: int) -> None:
    points, start = some(700, seed), 7
    chosen = farthest_points(points, n, start)
    assert chosen.dtype == np.int64 and chosen[0] == start and len(set(chosen.tolist())) == n
    for place in range(1, min(n, 60)):
        _, distance = brute(points, points[chosen[:place]], 1)
        distance[chosen[:place]] = -1.0
        assert chosen[place] == distance.argmax()


def test_farthest_points_among_equals_and_at_the_ends() -> None:
    same = np.zeros((5, 3), np.float32)
    assert farthest_points(same, 5, 2).tolist() == [2, 0, 1, 3, 4]
    assert farthest_points(NOTHING, 0).tolist() == [] and farthest_points(some(3), 0).tolist() == []
    grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    assert farthest_points(grid, 8).tolist() == [0, 7, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("points", "n", "start", "error"), [
    (some(4), 5, 0, ShapeError), (some(4), -1, 0, ShapeError), (some(4), 2, 4, ShapeError), (some(4), 2, -1, ShapeError), (NOTHING, 1, 0, ShapeError),
    (np.full((4, 3), np.nan), 2, 0, NonFiniteError), (np.zeros((4, 2)), 2, 0, ShapeError),
])
def test_farthest_points_refuses(points: np.ndarray, n: int, start: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        farthest_points(points, n, start)


@pytest.mark.parametrize(("queries", "points", "k"), [(1, 1, 1), (3, 1, 1), (900, 40, 40), (40, 3000, 1), (300, 3000, 17), (1000, 1000, 4)])
def test_nearest_against_brute_force(queries: int, points: int, k: int) -> None:
    q, p = some(queries, 1), some(points, 2)
    found, (index, distance) = nearest(q, p, k), brute(q, p, k)
    np.testing.assert_array_equal(found.indices, index)
    np.testing.assert_array_equal(found.distances_m, distance)
    assert found.indices.dtype == np.int64 and found.distances_m.dtype == np.float32


def test_nearest_among_equals_on_lines_and_far_away() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    index, distance = brute(grid, grid, 7)
    found = nearest(grid, grid, 7)
    np.testing.assert_array_equal(found.distances_m, distance)
    np.testing.assert_array_equal(found.indices, index)
    same = np.zeros((700, 3), np.float32)
    assert nearest(same[:2], same, 3).indices.tolist() == [[0, 1, 2]] * 2
    line = np.zeros((1000, 3), np.float32)
    line[:, 1] = np.linspace(0.0, 1.0, 1000)
    np.testing.assert_array_equal(nearest(line + 50.0, line, 2).indices, brute(line + 50.0, line, 2)[0])


def test_nearest_of_nothing_and_of_too_few() -> None:
    assert nearest(NOTHING, some(5), 2).indices.shape == (0, 2)
    for k in (0, 6, -1):
        with pytest.raises(ShapeError, match=f"{k} asked for"):
            nearest(some(2), some(5), k)
    with pytest.raises(ShapeError, match="0 points"):
        nearest(some(2), NOTHING, 1)
    for queries, points in ((some(2), np.full((5, 3), np.inf)), (np.full((2, 3), np.nan), some(5))):
        with pytest.raises(NonFiniteError):
            nearest(queries, points, 1)


def test_interpolation_is_exact_at_points_and_stays_within_the_values() -> None:
    points, values = some(200), np.random.default_rng(3).random((200, 4)).astype(np.float32)
    np.testing.assert_allclose(interpolate(points, points, values), values, atol=2e-3)
    between = interpolate(some(50, 9), points, values)
    assert between.shape == (50, 4) and (between >= values.min(0) - 1e-6).all() and (between <= values.max(0) + 1e-6).all()
    index, distance = brute(some(50, 9), points, 3)
    weights = 1.0 / (distance.astype(np.float64) ** 2 + 1e-8)
    np.testing.assert_allclose(between, (weights[..., None] * values[index]).sum(1) / weights.sum(1, keepdims=True), rtol=1e-5)


def test_interpolation_of_few_points_of_flat_values_and_of_nonsense() -> None:
    assert interpolate(some(4), [[0, 0, 0]], [2.5]).tolist() == [2.5] * 4
    np.testing.assert_allclose(interpolate([[0, 0, 0]], [[1, 0, 0], [-1, 0, 0]], [0.0, 1.0]), [0.5])
    for values in (np.zeros(3), np.zeros((2, 2, 2))):
        with pytest.raises(ShapeError, match="values"):
            interpolate(some(4), some(2), values)
    with pytest.raises(ShapeError, match="0 asked for"):
        interpolate(some(4), some(2), np.zeros(2), k=0)


def test_chamfer_is_zero_on_itself_symmetric_and_known_for_a_shift() -> None:
    cloud = some(500)
    assert chamfer_m(cloud, cloud[::-1]) == 0.0
    assert chamfer_m(cloud, some(300, 5)) == pytest.approx(chamfer_m(some(300, 5), cloud))
    line = np.stack([np.arange(10.0), np.zeros(10), np.zeros(10)], axis=1)
    assert chamfer_m(line, line + [0, 0.25, 0]) == pytest.approx(0.25)
    assert chamfer_m(line, line[:1]) == pytest.approx(0.5 * 4.5)
    with pytest.raises(ShapeError):
        chamfer_m(cloud, NOTHING)


def test_f_score_counts_both_ways() -> None:
    line = np.stack([np.arange(10.0), np.zeros(10), np.zeros(10)], axis=1)
    assert f_score(line, line, 0.1) == 1.0 and f_score(line, line + 100.0, 0.1) == 0.0
    assert f_score(line, line[:5], 0.1) == pytest.approx(2 * 0.5 / 1.5)


def test_distance_to_a_surface_has_a_sign() -> None:
    directions = some(4000, 6, 1.0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.random.default_rng(7).uniform(0.04, 0.06, 500)
    queries = some(500, 8, 1.0)
    queries *= (lengths / np.linalg.norm(queries, axis=1))[:, None]
    np.testing.assert_allclose(surface_distance_m(queries, 0.05 * directions, directions), lengths - 0.05, atol=2e-4)
    with pytest.raises(ShapeError, match="3 for 4000 samples"):
        surface_distance_m(queries, directions, directions[:3])


def test_outliers_go_and_the_rest_stays() -> None:
    plate = np.stack(np.meshgrid(np.linspace(0, 0.1, 30), np.linspace(0, 0.1, 30), [0.0]), -1).reshape(-1, 3)
    lone = np.array([[0.05, 0.05, 0.08], [0.3, 0, 0], [0, 0, -0.1]])
    cloud = Cloud(np.concatenate([plate, lone]).astype(np.float32), pixels=np.arange(903, dtype=np.int32))
    assert remove_outliers(cloud).pixels.tolist() == list(range(900))
    assert remove_isolated(cloud, 0.01).pixels.tolist() == list(range(900))
    assert len(remove_isolated(cloud, 0.001)) == 0


def test_outliers_of_few_points() -> None:
    for n in range(4):
        assert len(remove_outliers(Cloud(some(n)))) == n
        assert len(remove_isolated(Cloud(some(n)), 1.0)) == 0
    assert len(remove_isolated(Cloud(some(5)), 10.0)) == 5
    with pytest.raises(ShapeError, match="neighbours"):
        remove_outliers(Cloud(some(5)), 0)
    with pytest.raises(ShapeError, match="radius_m"):
        remove_isolated(Cloud(some(5)), 0.0)
