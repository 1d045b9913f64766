# SPDX-License-Identifier: Apache-2.0
"""Geometry of depth pictures: points, voxels, normals, the table, outliers, neighbours, distances. Compiled where there is a compiler, else NumPy."""
from dex_core.clouds.cloud import Cloud, crop
from dex_core.clouds.outliers import remove_isolated, remove_outliers
from dex_core.clouds.pictures import from_depth, normals
from dex_core.clouds.planes import Plane, WithoutPlane, find_plane, remove_plane
from dex_core.clouds.points import (
    Neighbours,
    chamfer_m,
    f_score,
    farthest_points,
    interpolate,
    nearest,
    surface_distance_m,
    voxel_grid,
    voxel_groups,
)
from dex_core.clouds.rays import Rays, rays_of

__all__ = [
    "Cloud", "Neighbours", "Plane", "Rays", "WithoutPlane", "chamfer_m", "crop", "f_score", "farthest_points", "find_plane", "from_depth",
    "interpolate", "nearest", "normals", "rays_of", "remove_isolated", "remove_outliers", "remove_plane", "surface_distance_m", "voxel_grid",
    "voxel_groups",
]
