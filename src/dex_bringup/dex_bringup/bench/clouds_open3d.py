# SPDX-License-Identifier: Apache-2.0
"""The same work with open3d: run as a script, by an interpreter that has it. Arguments: the scene (.npz), where the normals go (.npy), repeats."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def timed_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, after one that is not counted [ms]."""
    call()
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        took.append(1e3 * (time.perf_counter() - started))
    return statistics.median(took)


def main(scene_path: str, normals_path: str, repeats: int) -> None:
    """Prints figures as JSON and leaves the normals of the valid pixels, (settings, N, 3)."""
    import open3d as o3d

    scene = np.load(scene_path)
    height, width = scene["depth_m"].shape
    camera = o3d.camera.PinholeCameraIntrinsic(width, height, *scene["fx_fy_cx_cy"])
    depth, colour = o3d.geometry.Image(scene["depth_m"]), o3d.geometry.Image(scene["rgb"])

    def cloud() -> o3d.geometry.PointCloud:
        pair = o3d.geometry.RGBDImage.create_from_color_and_depth(colour, depth, depth_scale=1.0, depth_trunc=10.0, convert_rgb_to_intensity=False)
        return o3d.geometry.PointCloud.create_from_rgbd_image(pair, camera)

    points = cloud()
    figures = {"version": o3d.__version__, "points": len(points.points), "cloud_ms": timed_ms(cloud, repeats)}
    figures["voxels_ms"] = timed_ms(lambda: points.voxel_down_sample(float(scene["voxel_m"])), repeats)
    few = points.voxel_down_sample(float(scene["voxel_m"]))
    figures["normals_of_voxels_ms"] = timed_ms(lambda: few.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(16)), max(1, repeats // 5))
    found = []
    searches = {
        "knn16": o3d.geometry.KDTreeSearchParamKNN(16),
        "hybrid": o3d.geometry.KDTreeSearchParamHybrid(radius=0.015, max_nn=30),
        "wide": o3d.geometry.KDTreeSearchParamHybrid(radius=0.02, max_nn=169),  # as many pixels as our window spans
    }
    for name, search in searches.items():
        figures[f"normals_{name}_ms"] = timed_ms(lambda search=search: points.estimate_normals(search), max(1, repeats // 20))
        points.orient_normals_towards_camera_location(np.zeros(3))
        found.append(np.asarray(points.normals).astype(np.float32))
    np.save(normals_path, np.stack(found))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
