# SPDX-License-Identifier: Apache-2.0
"""A depth picture of 640 x 480 to coloured points, voxels and normals on one core; how far the normals are off; beside NumPy and open3d."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_bringup.bench.clouds_picture import draw
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.clouds import (
    analytic,
    engine,
    farthest_points,
    find_plane,
    from_depth,
    nearest,
    normals,
    rays_of,
    reference,
    remove_outliers,
    voxel_grid,
)
from dex_core.clouds.pictures import LEAST, NOISE_PER_M, STEEPEST_RAD, STEP
from dex_core.clouds.window import Fit
from dex_core.devices.camera import Intrinsics

END_TO_END_MS = 8.0
VOXEL_M = 0.005
NOISE_PER_M_RMS = 0.0025
"""Of 1 / depth: 1.2 mm at 0.7 m, a stereo camera of 50 mm baseline and 640 px focal length that is 0.08 px off."""
HOLES = 0.02
"""Share of the picture without depth, in spots, besides the pixels at the edges of things."""
EDGE_PX = 4
SEARCHES = ("knn16", "hybrid", "wide")
"""open3d's settings, as clouds_open3d.py names them."""
CAMERA = Intrinsics(640, 480, 600.0, 600.0, 319.5, 239.5)
PEER_TIMEOUT_S = 180.0
PEER = Path(__file__).with_name("clouds_open3d.py")
SEED = 3


class Scene(NamedTuple):
    """A picture whose normals are known.

    Attributes:
        depth_m: (H, W) float32, NaN in holes. true: (H, W, 3) normals. rgb: (H, W, 3). edge: (H, W) within EDGE_PX of another surface or face.
        surface: (H, W) 0 the table, 1 and 2 the balls, 3 the box.
    """

    depth_m: NDArray[np.float32]
    true: NDArray[np.float64]
    rgb: NDArray[np.uint8]
    edge: NDArray[np.bool_]
    surface: NDArray[np.int64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--repeats", type=int, default=50, help="runs of each stage (default %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the scene, the normals and their errors")
    parser.add_argument("--open3d", metavar="PYTHON", default=sys.executable, help="an interpreter that has open3d (default: this one)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Our stages by their public functions, NumPy's, then open3d's in a process of its own that may use one thread."""
    view = scene(CAMERA, NOISE_PER_M_RMS)
    say(f"{CAMERA.width} x {CAMERA.height}, engine {engine.current().name}, {options.repeats} runs of each stage")
    figures: dict[str, Any] = {"engine": engine.current().name, "valid_share": float(np.isfinite(view.depth_m).mean())}
    figures |= _ours(view, options.repeats)
    found = normals(view.depth_m, CAMERA)
    figures |= _errors("normals", found, view)
    clean = scene(CAMERA, 0.0)
    figures |= _errors("normals_without_noise", normals(clean.depth_m, CAMERA), clean)
    say("NumPy")
    figures |= _numpy(view, max(3, options.repeats // 10), found)
    say(f"open3d by {options.open3d}")
    peer, pictures = _open3d(options.open3d, view, options.repeats)
    if options.picture is not None:
        draw(options.picture, view.rgb, view.depth_m, view.true, {"ours": found, **pictures})
        say(f"{options.picture}")
    figures |= peer
    return Report("clouds", figures, (Goal("end_to_end_p50_ms", at_most=END_TO_END_MS, unit="ms"),))


def scene(camera: Intrinsics, noise_per_m: float) -> Scene:
    """A table seen from 45 degrees, two balls and a turned box on it, with a stereo camera's noise: even in 1 / depth, alike in neighbours."""
    rng, down = np.random.default_rng(SEED), np.array([0.0, -1.0, -1.0]) / np.sqrt(2.0)
    foot, along = np.array([0.0, 0.0, 0.7]), np.array([0.88, 0.34, -0.34])
    along -= down * (down @ along)
    along /= np.linalg.norm(along)
    views = (
        analytic.plane(camera, down, foot), analytic.sphere(camera, foot + [-0.12, 0.0, 0.0] + 0.05 * down, 0.05),
        analytic.sphere(camera, foot + [-0.02, 0.08, -0.08] + 0.03 * down, 0.03),
        analytic.box(camera, foot + [0.1, 0.0, 0.0] + 0.04 * down, [0.05, 0.04, 0.04], [along, np.cross(down, along), down]),
    )
    depth, true = analytic.nearest_of(*views)
    surface = np.argmin([np.where(np.isfinite(v.depth_m), v.depth_m, np.inf) for v in views], axis=0)
    noise = cv2.GaussianBlur(rng.normal(size=depth.shape), (0, 0), 1.0)
    measured = 1.0 / (1.0 / depth + noise_per_m / noise.std() * noise)
    spots = cv2.GaussianBlur(rng.normal(size=depth.shape), (0, 0), 4.0)
    if noise_per_m > 0.0:
        measured[(spots > np.quantile(spots, 1.0 - HOLES)) | _borders(surface, 1)] = np.nan
    rgb = np.clip(90.0 + 60.0 * true + rng.normal(0.0, 5.0, true.shape), 0.0, 255.0).astype(np.uint8)
    face = surface * 10 + np.where(surface == 3, np.abs(true @ np.stack([along, np.cross(down, along), down]).T).argmax(axis=-1), 0)
    return Scene(measured.astype(np.float32), true, rgb, _borders(face, EDGE_PX), surface)


def _borders(labels: NDArray[np.int64], reach: int) -> NDArray[np.bool_]:
    """Pixels within ``reach`` of one with another label."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    picture = labels.astype(np.uint8)
    return cv2.dilate(picture, kernel) != cv2.erode(picture, kernel)


def _ours(view: Scene, repeats: int) -> dict[str, float]:
    depth, rgb = view.depth_m, view.rgb
    coloured, full = from_depth(depth, CAMERA, rgb), from_depth(depth, CAMERA, rgb, with_normals=True)
    voxels = voxel_grid(full, VOXEL_M)
    stages: dict[str, Callable[[], Any]] = {
        "cloud": lambda: from_depth(depth, CAMERA, rgb),
        "voxels": lambda: voxel_grid(coloured, VOXEL_M),
        "normals": lambda: normals(depth, CAMERA),
        "end_to_end": lambda: voxel_grid(from_depth(depth, CAMERA, rgb, with_normals=True), VOXEL_M),
    }
    figures: dict[str, float] = {"points": len(full), "voxels": len(voxels)}
    for name, call in stages.items():
        figures |= _times(name, call, repeats)
    more: dict[str, Callable[[], Any]] = {
        "table": lambda: find_plane(full.points_m),
        "farthest_512_of_voxels": lambda: farthest_points(voxels.points_m, 512),
        "nearest_16_of_voxels": lambda: nearest(voxels.points_m, voxels.points_m, 16),
        "outliers_of_voxels": lambda: remove_outliers(voxels),
    }
    for name, call in more.items():
        figures |= _times(name, call, max(3, repeats // 10))
    return figures


def _times(name: str, call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Wall clock and, for machines that other work shares, the thread's own time; the first call is not counted."""
    call()
    wall, own = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.thread_time()
        call()
        own.append(1e3 * (time.thread_time() - used))
        wall.append(1e3 * (time.perf_counter() - started))
    return {f"{name}_p50_ms": percentile(wall, 50), f"{name}_p95_ms": percentile(wall, 95), f"{name}_own_p50_ms": percentile(own, 50)}


def _errors(name: str, found: NDArray[np.float32], view: Scene) -> dict[str, float]:
    """Angles to the true normals [deg], where there is depth; near edges and by surface."""
    known = np.isfinite(view.depth_m)
    angle = np.degrees(analytic.angles_rad(found, view.true))
    figures = {f"{name}_known_share": float(np.isfinite(angle[known]).mean())}
    parts = {"": known, "_inside": known & ~view.edge, "_edge": known & view.edge, "_table": known & (view.surface == 0),
             "_balls": known & ((view.surface == 1) | (view.surface == 2)), "_box": known & (view.surface == 3)}
    for part, where in parts.items():
        there = angle[where & np.isfinite(angle)]
        figures |= {f"{name}_error{part}_p50_deg": float(np.median(there)), f"{name}_error{part}_p95_deg": float(np.percentile(there, 95))}
    return figures


def _numpy(view: Scene, repeats: int, ours: NDArray[np.float32]) -> dict[str, float]:
    """The reference's stages, and that they give what ours gave."""
    rays = rays_of(CAMERA)
    fit = Fit(CAMERA.fx, CAMERA.fy, STEP, LEAST, float(np.tan(STEEPEST_RAD)), NOISE_PER_M)
    points, colours, _, _ = reference.unproject(view.depth_m, rays, view.rgb, None)

    def voxels() -> Any:
        low = reference.bounds(points)[1]
        return reference.means(points, colours, None, *reference.group(points, VOXEL_M, low))

    figures = _times("numpy_cloud", lambda: reference.unproject(view.depth_m, rays, view.rgb, None), repeats)
    figures |= _times("numpy_voxels", voxels, repeats)
    figures |= _times("numpy_normals", lambda: reference.normals(view.depth_m, rays, fit), repeats)
    figures["numpy_normals_that_differ"] = int((~np.isclose(ours, reference.normals(view.depth_m, rays, fit), 0.0, 0.0, equal_nan=True)).sum())
    return {key: value for key, value in figures.items() if not key.endswith("_p95_ms")}


def _open3d(python: str, view: Scene, repeats: int) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """open3d's figures, or why there are none; and its pictures of normals (H, W, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        given, normals_file = Path(folder) / "scene.npz", Path(folder) / "normals.npy"
        depth = np.nan_to_num(view.depth_m, nan=0.0)
        np.savez(given, depth_m=depth, rgb=view.rgb, voxel_m=VOXEL_M, fx_fy_cx_cy=[CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy])
        try:
            done = subprocess.run(
                [python, PEER, given, normals_file, str(repeats)], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                timeout=PEER_TIMEOUT_S, check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"open3d": f"not measured: {error}"}, {}
        if done.returncode:
            return {"open3d": f"not measured: {(done.stderr.strip().splitlines() or ['no words'])[-1]}; make peers, or --open3d PYTHON"}, {}
        figures = {f"open3d_{key}": value for key, value in json.loads(done.stdout.strip().splitlines()[-1]).items()}
        valid, pictures = np.isfinite(view.depth_m), {}
        for name, found in zip(SEARCHES, np.load(normals_file), strict=True):
            picture = np.full(view.true.shape, np.nan, np.float32)
            picture[valid] = found
            figures |= _errors(f"open3d_normals_{name}", picture, view)
            pictures[f"open3d {name}"] = picture
        return figures, pictures
