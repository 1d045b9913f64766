# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel gives what NumPy gives, to the last bit, on pictures and points that are good, broken, empty and tiny."""
from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dex_core.clouds import Rays, rays_of, reference
from dex_core.clouds.analytic import box, nearest_of, plane, sphere
from dex_core.clouds.compiled import Compiled
from dex_core.clouds.window import Fit
from dex_core.devices.camera import Intrinsics

SIZES = [(1, 1), (1, 40), (40, 1), (2, 2), (5, 17), (97, 131), (120, 160)]
BROKEN = (np.nan, 0.0, -0.0, -1.0, np.inf, -np.inf, 1e-42, 1e-38, 3e38)
LENS = (0.12, -0.25, 0.001, -0.0005, 0.09)


@pytest.fixture(autouse=True)
def engine() -> None:
    """Each test of this file takes both engines itself."""


def picture(height: int, width: int, kind: str) -> tuple[Intrinsics, np.ndarray]:
    camera = Intrinsics(width, height, 150.0, 148.0, 0.5 * width, 0.5 * height, LENS if kind == "lens" else ())
    normal = np.array([0.0, -1.0, -1.0]) / math.sqrt(2.0)
    edge = np.array([0.8, 0.6 * normal[2], -0.6 * normal[1]])
    cube = box(camera, [0.1, 0, 0.65], [0.05] * 3, [edge, np.cross(normal, edge), normal])
    depth = nearest_of(plane(camera, normal, [0, 0, 0.7]), sphere(camera, [-0.1, 0, 0.6], 0.06), cube).depth_m
    rng = np.random.default_rng(height * width)
    if kind != "clean":
        depth = 1.0 / (1.0 / depth + 0.003 * rng.normal(size=depth.shape))
    if kind == "holes":
        depth = np.where(rng.random(depth.shape) < 0.1, rng.choice(BROKEN, depth.shape), depth)
        depth[height // 3: height // 2, width // 4: width // 2] = np.nan
    return camera, depth.astype(np.float32)


def same(a: np.ndarray | None, b: np.ndarray | None) -> None:
    assert (a is None) == (b is None)
    if a is not None:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", ["clean", "noisy", "holes", "lens"])
def test_pictures(compiled: Compiled, size: tuple[int, int], kind: str) -> None:
    camera, depth = picture(*size, kind)
    rays, rng = rays_of(camera), np.random.default_rng(0)
    for step, steepest, noise in ((1, 75.0, 0.008), (3, 60.0, 0.001), (8, 85.0, 0.1)):
        fit = Fit(camera.fx, camera.fy, step, 8, math.tan(math.radians(steepest)), noise)
        found = compiled.normals(depth, rays, fit)
        same(found, reference.normals(depth, rays, fit))
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for colour, directions in ((None, None), (rgb, None), (rgb, found)):
        mine = None if directions is None else directions.copy()  # used up
        for a, b in zip(compiled.unproject(depth, rays, colour, mine), reference.unproject(depth, rays, colour, directions), strict=True):
            same(a, b)


@pytest.mark.parametrize("fill", BROKEN)
def test_pictures_of_one_number(compiled: Compiled, fill: float) -> None:
    camera = Intrinsics(33, 9, 50.0, 50.0, 16.0, 4.0)
    depth, fit = np.full((9, 33), fill, np.float32), Fit(50.0, 50.0, 1, 8, 3.0, 0.008)
    same(compiled.normals(depth, rays_of(camera), fit), reference.normals(depth, rays_of(camera), fit))
    same(compiled.unproject(depth, rays_of(camera), None, None)[0], reference.unproject(depth, rays_of(camera), None, None)[0])


def points(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    if kind == "grid":  # every distance many times
        return rng.integers(-4, 5, (n, 3)).astype(np.float32)
    if kind == "one place":
        return np.full((n, 3), 0.25, np.float32)
    if kind == "line":
        return np.outer(rng.normal(size=n), [1, 0, 0]).astype(np.float32)
    if kind == "far":
        return (rng.normal(0.0, 0.05, (n, 3)) + [1000.0, -2000.0, 0.5]).astype(np.float32)
    return rng.normal(0.0, 0.2, (n, 3)).astype(np.float32)


KINDS = ["cloud", "grid", "one place", "line", "far"]
COUNTS = [0, 1, 2, 15, 16, 17, 33, 500, 2500]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", COUNTS)
def test_points(compiled: Compiled, kind: str, n: int) -> None:
    cloud, rng = points(kind, n), np.random.default_rng(1)
    finite, low, high = compiled.bounds(cloud)
    for a, b in zip((finite, low, high), reference.bounds(cloud), strict=True):
        np.testing.assert_array_equal(a, b)
    for count in {min(n, 1), min(n, 40), min(n, 300)}:
        same(compiled.farthest(cloud, count, n // 2), reference.farthest(cloud, count, n // 2))
    rgb, turn = rng.integers(0, 256, (n, 3), dtype=np.uint8), rng.normal(size=(n, 3)).astype(np.float32)
    turn[::7] = np.nan
    for size in (0.01, 0.3, 50.0):
        voxel, many = compiled.group(cloud, size, low)
        same(voxel, reference.group(cloud, size, low)[0])
        for parts in ((rgb, turn), (None, None)):
            for a, b in zip(compiled.means(cloud, *parts, voxel, many), reference.means(cloud, *parts, voxel, many), strict=True):
                same(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("q", "n", "k"), [(0, 1, 1), (1, 1, 1), (5, 16, 16), (30, 17, 3), (200, 900, 20), (50, 2500, 1), (7, 300, 300)])
def test_neighbours(compiled: Compiled, kind: str, q: int, n: int, k: int) -> None:
    queries = points(kind, q)
    for a, b in zip(compiled.nearest(queries, points(kind, n), k), reference.nearest(queries, points(kind, n), k), strict=True):
        same(a, b)


def test_boxes_and_bounds_with_what_is_not_finite(compiled: Compiled) -> None:
    cloud = points("cloud", 700)
    cloud[::11, 1], cloud[5::13, 0], cloud[7::17, 2] = np.nan, np.inf, -np.inf
    turn = np.array([[0, -1, 0, 0.1], [0.6, 0, -0.8, 0.0], [0.8, 0, 0.6, -0.1]], np.float32)
    for pose in (None, turn):
        for low, high in (([-0.1] * 3, [0.2] * 3), ([-np.inf] * 3, [np.inf] * 3), ([5.0] * 3, [6.0] * 3)):
            bounds = np.array(low, np.float32), np.array(high, np.float32)
            same(compiled.inside(cloud, pose, *bounds), reference.inside(cloud, pose, *bounds))
    for place in (0, 1, 300, 699):
        one = points("cloud", 700)
        one[place, place % 3] = np.nan
        assert not compiled.bounds(one)[0] and not reference.bounds(one)[0]


def test_threads_do_not_share_their_room(compiled: Compiled) -> None:
    work = []
    for size in ((97, 131), (120, 160), (40, 200), (150, 90)):
        camera, depth = picture(*size, "noisy")
        fit = Fit(camera.fx, camera.fy, 3, 8, 3.7, 0.008)
        work.append((depth, rays_of(camera), fit, compiled.normals(depth, rays_of(camera), fit)))

    def repeat(depth: np.ndarray, rays: Rays, fit: Fit, expected: np.ndarray) -> bool:
        return all(np.array_equal(compiled.normals(depth, rays, fit), expected, equal_nan=True) for _ in range(40))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda one: repeat(*one), work))


def test_the_engines_offer_the_same(compiled: Compiled) -> None:
    assert all(callable(getattr(compiled, name)) for name in reference.__all__)
    assert isinstance(reference, ModuleType) and reference.name != compiled.name


def test_without_a_compiler_numpy_serves_and_says_so(tmp_path: Path) -> None:
    code = "from dex_core.clouds import engine; print(engine.current().name)"
    nowhere = {"DEX_CACHE_DIR": str(tmp_path), "CC": "", "PATH": "/nonexistent"}
    for changes, words in ((nowhere, "clouds are computed without"), ({"DEX_KERNEL": "numpy"}, "")):
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **changes}, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "numpy" and words in done.stderr
