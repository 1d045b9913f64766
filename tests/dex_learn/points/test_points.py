# SPDX-License-Identifier: Apache-2.0
"""Point operators against loops over single points, where clouds are ordinary and where they are not."""
from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core import clouds  # noqa: E402
from dex_learn.points import ball_query, farthest_points, gather, group, interpolate, interpolation_weights, nearest, squared_distances  # noqa: E402

RNG_SEED = 5


def cloud(batch: int, count: int, seed: int = RNG_SEED) -> NDArray:
    return np.random.default_rng(seed).uniform(-0.1, 0.1, (batch, count, 3)).astype(np.float32)


def scattered(count: int, seed: int = RNG_SEED) -> NDArray:
    """Different points on a lattice of 2^-12 m: differences are exact in float32, also 8 m away."""
    lattice = np.unique(np.random.default_rng(seed).integers(-400, 400, (2 * count, 3)), axis=0)
    return (np.random.default_rng(seed).permutation(lattice)[:count] * 2.0**-12).astype(np.float32)


def fps_by_loop(points: NDArray, count: int, skip: bool = False) -> list[int]:
    taken = [0]
    while len(taken) < count:
        best, far = 0, -1.0
        for i, p in enumerate(points):
            d = min(float(np.sum((p - points[t]) ** 2, dtype=np.float32)) for t in taken)
            if skip and float(np.sum(p * p)) <= 1e-3:
                d = -1.0
            if d > far:
                best, far = i, d
        taken.append(best)
    return taken


def exact_distances(queries: NDArray, points: NDArray) -> NDArray:
    return np.linalg.norm(queries[:, None].astype(np.float64) - points[None].astype(np.float64), axis=-1)


def t(array: NDArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


class TestFarthestPoints:
    @pytest.mark.parametrize("count", [1, 2, 17])
    def test_equals_the_loop(self, count: int) -> None:
        points = cloud(3, 40)
        assert farthest_points(t(points), count).tolist() == [fps_by_loop(p, count) for p in points]

    def test_every_point_once_where_all_are_taken(self) -> None:
        points = cloud(1, 23)
        assert sorted(farthest_points(t(points), 23)[0].tolist()) == list(range(23))

    def test_permuted_points_give_the_same_places(self) -> None:
        points = scattered(60)
        order = np.r_[0, 1 + np.random.default_rng(1).permutation(59)]  # the first point stays first: sampling starts there
        first = farthest_points(t(points[None]), 9)[0].numpy()
        second = farthest_points(t(points[order][None]), 9)[0].numpy()
        np.testing.assert_array_equal(points[first], points[order][second])

    def test_duplicates_come_last(self) -> None:
        points = np.concatenate((np.repeat(cloud(1, 1), 30, axis=1), cloud(1, 6, seed=2)), axis=1)
        taken = farthest_points(t(points), 10)[0].tolist()
        assert set(taken[:7]) == {0, 30, 31, 32, 33, 34, 35} and taken[7:] == [0, 0, 0]

    def test_far_from_the_origin_the_same_are_taken(self) -> None:
        points = scattered(80)[None]
        np.testing.assert_array_equal(farthest_points(t(points), 20), farthest_points(t(points + np.float32(8.0)), 20))

    def test_the_kernel_that_does_not_see_the_origin(self) -> None:
        points = cloud(1, 60)
        near = np.sum(points[0] ** 2, axis=-1) <= 1e-3
        assert 0 < near[1:].sum() < 40
        assert farthest_points(t(points), 15, skip_origin=True)[0].tolist() == fps_by_loop(points[0], 15, skip=True)
        taken = farthest_points(t(points), 15, skip_origin=True)[0].numpy()
        assert not near[taken[1:]].any()
        assert near[farthest_points(t(points), 60)[0].numpy()].sum() == near.sum()

    def test_strides_do_not_matter(self) -> None:
        points = t(np.ascontiguousarray(cloud(2, 30).transpose(0, 2, 1))).transpose(1, 2)
        assert farthest_points(points, 8).tolist() == farthest_points(points.contiguous(), 8).tolist()


class TestNearest:
    @pytest.mark.parametrize("offset", [0.0, 8.7])
    def test_equals_sorting_all_distances(self, offset: float) -> None:
        points = (scattered(300) + np.float32(offset)).astype(np.float32)
        queries = points[:40] + np.float32(0.0021) * np.float32([1.0, -0.7, 0.4])
        index, squared = nearest(t(queries[None]), t(points[None]), 6)
        exact = exact_distances(queries, points)
        wanted = np.sort(exact, axis=1)[:, :6]
        np.testing.assert_allclose(np.take_along_axis(exact, index[0].numpy(), 1), wanted, atol=2e-6)
        np.testing.assert_allclose(np.sqrt(squared[0].numpy()), wanted, atol=2e-6)

    def test_the_plain_product_loses_neighbours_out_there(self) -> None:
        """Why points are centred: without it this very cloud gives negative squared distances."""
        points = t(scattered(300) + np.float32(8.7))
        product = points.square().sum(1)[:, None] - 2.0 * points @ points.T + points.square().sum(1)[None]
        assert product.min() < 0.0
        assert squared_distances(points[None], points[None]).min() >= 0.0

    def test_all_points_of_a_cloud_of_exactly_k(self) -> None:
        index, _ = nearest(t(cloud(2, 4)), t(cloud(2, 7, seed=3)), 7)
        assert np.sort(index.numpy(), axis=-1).tolist() == [[list(range(7))] * 4] * 2

    def test_a_query_on_a_point_is_at_distance_zero_exactly(self) -> None:
        points = cloud(1, 50)
        index, squared = nearest(t(points), t(points), 1)
        assert index[0, :, 0].tolist() == list(range(50)) and not squared.any()


class TestBallQuery:
    def loop(self, queries: NDArray, points: NDArray, radius: float, k: int) -> list[list[int]]:
        rows = []
        for row in exact_distances(queries, points):
            hits = [i for i, d in enumerate(row) if d < radius][:k]
            rows.append((hits + [hits[0]] * k)[:k] if hits else [int(row.argmin())] * k)
        return rows

    @pytest.mark.parametrize("radius", [0.0161, 0.0301, 1.0])
    def test_equals_the_loop(self, radius: float) -> None:
        points = scattered(200)
        assert ball_query(t(points[None, :30]), t(points[None]), radius, 8)[0].tolist() == self.loop(points[:30], points, radius, 8)

    def test_nothing_near_gives_the_nearest(self) -> None:
        points, queries = scattered(50), np.float32([[1.0, 1.0, 1.0], [-2.0, 0.0, 0.0]])
        assert ball_query(t(queries[None]), t(points[None]), 0.05, 3)[0].tolist() == self.loop(queries, points, 0.05, 3)


class TestGather:
    def test_rows_of_each_batch_entry(self) -> None:
        values, index = cloud(3, 10), np.random.default_rng(0).integers(0, 10, (3, 4, 2))
        assert (gather(t(values), t(index)).numpy() == np.stack([v[i] for v, i in zip(values, index, strict=True)])).all()

    def test_groups_are_relative_to_their_centres(self) -> None:
        points, colours, index = cloud(2, 10), cloud(2, 10, seed=9), np.random.default_rng(0).integers(0, 10, (2, 4, 5))
        centres = points[:, :4]
        out = group(t(points), t(centres), t(index), t(colours)).numpy()
        assert out.shape == (2, 4, 5, 6)
        np.testing.assert_array_equal(out[1, 2, 3], np.r_[points[1, index[1, 2, 3]] - centres[1, 2], colours[1, index[1, 2, 3]]])
        np.testing.assert_array_equal(group(t(points), t(centres), t(index)).numpy(), out[..., :3])


class TestInterpolation:
    def test_equals_the_loop(self) -> None:
        points, queries, values = cloud(1, 20)[0], cloud(1, 30, seed=6)[0], cloud(1, 20, seed=7)[0]
        wanted = []
        for q in queries:
            d = np.sum((q - points).astype(np.float64) ** 2, axis=1)
            three = np.argsort(d)[:3]
            w = 1.0 / np.maximum(d[three], 1e-8)
            wanted.append((w[:, None] * values[three]).sum(0) / w.sum())
        index, weight = interpolation_weights(t(queries[None]), t(points[None]))
        np.testing.assert_allclose(interpolate(t(values[None]), index, weight)[0].numpy(), wanted, rtol=1e-4, atol=1e-6)

    def test_on_a_point_its_own_value_counts(self) -> None:
        points, values = scattered(20)[None], cloud(1, 20, seed=7)
        index, weight = interpolation_weights(t(points), t(points))
        np.testing.assert_allclose(interpolate(t(values), index, weight).numpy(), values, atol=3e-5)

    def test_a_constant_stays_constant(self) -> None:
        index, weight = interpolation_weights(t(cloud(2, 33)), t(cloud(2, 5, seed=8)))
        np.testing.assert_allclose(interpolate(torch.full((2, 5, 1), 4.25), index, weight).numpy(), 4.25, rtol=1e-6)


class TestTheCoresOwn:
    """What training and graphs do, the node does in dex_core.clouds: the same points, neighbours and values."""

    def test_farthest_points(self) -> None:
        points = scattered(400)
        np.testing.assert_array_equal(farthest_points(t(points[None]), 50)[0].numpy(), clouds.farthest_points(points, 50))

    def test_nearest(self) -> None:
        points, queries = scattered(400), cloud(1, 30, seed=6)[0]
        index, squared = nearest(t(queries[None]), t(points[None]), 5)
        found = clouds.nearest(queries, points, 5)
        np.testing.assert_array_equal(index[0].numpy(), found.indices)
        np.testing.assert_allclose(squared[0].sqrt().numpy(), found.distances_m, atol=1e-7)

    def test_interpolation(self) -> None:
        points, queries, values = scattered(400), cloud(1, 30, seed=6)[0], cloud(1, 400, seed=7)[0]
        index, weight = interpolation_weights(t(queries[None]), t(points[None]))
        found = interpolate(t(values[None]), index, weight)[0].numpy()
        np.testing.assert_allclose(found, clouds.interpolate(queries, points, values), atol=1e-5)
