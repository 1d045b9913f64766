# SPDX-License-Identifier: Apache-2.0
"""The visible shapes of a cell before a camera: what single rays meet first, and a whole picture of depth and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds.rays import rays_of
from dex_core.devices.camera import Intrinsics
from dex_description import RobotDescription
from dex_description.forward import transform
from dex_description.urdf import Shape
from dex_perception.keypoints.lens import NEAREST_M, project
from dex_perception.keypoints.raycast import BOX, CYLINDER, SPHERE, enter

Array = NDArray[np.float64]
KINDS = {"box": BOX, "cylinder": CYLINDER, "sphere": SPHERE}
NOTHING = -1
MARGIN_PX = 2
"""Around the pixels that a shape's corners span: a lens bends its edges."""
_CORNERS = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


class Hits(NamedTuple):
    """What n rays meet first: ``depth_m`` (n,), infinite where nothing; ``link`` (n,) row of ``ShapeSet.links`` or NOTHING."""

    depth_m: Array
    link: NDArray[np.int32]


class Rendering(NamedTuple):
    """``depth_m`` (H, W) float32, infinite where nothing is; ``link`` (H, W) int32 row of ``ShapeSet.links`` or NOTHING."""

    depth_m: NDArray[np.float32]
    link: NDArray[np.int32]


@dataclass(frozen=True)
class ShapeSet:
    """The visual primitives of a description.

    Attributes:
        links: links that have any.
        link: (s,) row of ``links``. kind: (s,) as in ``raycast``. half_m: (s, 3) half sizes. pose_in_link: (s, 4, 4).
    """

    links: tuple[str, ...]
    link: NDArray[np.int32]
    kind: NDArray[np.int8]
    half_m: Array
    pose_in_link: Array

    @classmethod
    def of(cls, description: RobotDescription) -> ShapeSet:
        """Of all links, the table's and other fixtures' too: they can stand before a robot as well."""
        found = [(link.name, shape) for link in description.links for shape in link.visuals]
        links = tuple(dict.fromkeys(name for name, _ in found))
        return cls(
            links, np.array([links.index(name) for name, _ in found], dtype=np.int32),
            np.array([KINDS[shape.kind] for _, shape in found], dtype=np.int8), np.array([_half(shape) for _, shape in found]).reshape(-1, 3),
            np.array([transform(shape.origin) for _, shape in found]).reshape(-1, 4, 4),
        )

    def before(self, poses_in_optical: Array) -> PosedShapes:
        """With the links at (l, 4, 4) poses in the optical frame, in the order of ``links``."""
        return PosedShapes(self, poses_in_optical[self.link] @ self.pose_in_link)


class PosedShapes:
    """Shapes at a moment, in the optical frame of a camera at the origin."""

    def __init__(self, shapes: ShapeSet, pose: Array) -> None:
        self._shapes, self._turn, self._centre = shapes, pose[:, :3, :3], pose[:, :3, 3]
        self._reach = np.where(shapes.kind == SPHERE, shapes.half_m[:, 0], np.linalg.norm(shapes.half_m, axis=1))
        self._origin = -np.einsum("sji,sj->si", self._turn, self._centre)  # the camera in each shape's frame

    def cast(self, rays: Array) -> Hits:
        """What (n, 3) rays with z = 1 meet first."""
        rows, columns = np.nonzero(self._near(rays))
        depth = np.full((len(self._centre), len(rays)), np.inf)
        direction = np.einsum("mji,mj->mi", self._turn[rows], rays[columns])
        for kind in (BOX, CYLINDER, SPHERE):
            of = np.flatnonzero(self._shapes.kind[rows] == kind)
            shape = rows[of]
            depth[shape, columns[of]] = enter(kind, self._shapes.half_m[shape], self._origin[shape], direction[of])
        if not len(depth):
            return Hits(np.full(len(rays), np.inf), np.full(len(rays), NOTHING, dtype=np.int32))
        first = depth.argmin(axis=0)
        nearest = depth[first, np.arange(len(rays))]
        return Hits(nearest, np.where(np.isfinite(nearest), self._shapes.link[first], NOTHING).astype(np.int32))

    def _near(self, rays: Array) -> NDArray[np.bool_]:
        """(s, n) whether a ray comes near enough to a shape's centre to meet it."""
        ahead, squares = np.maximum(self._centre @ rays.T, 0.0), np.sum(rays * rays, axis=1)
        return np.sum(self._centre**2, axis=1)[:, None] - ahead**2 / squares <= (self._reach**2)[:, None]

    def render(self, intrinsics: Intrinsics) -> Rendering:
        """Depth and link of every pixel."""
        rays = rays_of(intrinsics)
        grid = np.stack([rays.x, rays.y, np.ones_like(rays.x)], axis=-1).astype(np.float64)
        depth = np.full((intrinsics.height, intrinsics.width), np.inf)
        link = np.full(depth.shape, NOTHING, dtype=np.int32)
        for shape, (left, top, right, bottom) in enumerate(self._frames(intrinsics)):
            if left >= right or top >= bottom:
                continue
            window = np.s_[top:bottom, left:right]
            found = enter(int(self._shapes.kind[shape]), self._shapes.half_m[shape], self._origin[shape], grid[window] @ self._turn[shape])
            nearer = found < depth[window]
            depth[window][nearer] = found[nearer]
            link[window][nearer] = self._shapes.link[shape]
        return Rendering(depth.astype(np.float32), link)

    def _frames(self, intrinsics: Intrinsics) -> NDArray[np.intp]:
        """(s, 4) left, top, right, bottom of the pixels that a shape can touch; empty where it is behind the camera or outside."""
        corners = self._centre[:, None] + (_CORNERS * self._shapes.half_m[:, None]) @ self._turn.transpose(0, 2, 1)  # (s, 8, 3)
        uv = project(corners.reshape(-1, 3), intrinsics).uv.reshape(-1, 8, 2)
        size = np.array((intrinsics.width, intrinsics.height))
        low = np.clip(np.floor(uv.min(axis=1)) - MARGIN_PX, 0, size)
        high = np.clip(np.ceil(uv.max(axis=1)) + MARGIN_PX + 1, 0, size)
        unsure = ~np.isfinite(uv).all(axis=(1, 2))  # a corner that the lens cannot place: any pixel may be touched
        low[unsure], high[unsure] = 0, size
        high[corners[:, :, 2].max(axis=1) <= NEAREST_M] = 0
        return np.concatenate([low, high], axis=1).astype(np.intp)


def _half(shape: Shape) -> tuple[float, float, float]:
    if shape.kind == "box":
        x, y, z = shape.size_m
        return 0.5 * x, 0.5 * y, 0.5 * z
    radius = shape.size_m[0]
    return (radius, radius, 0.5 * shape.size_m[1] if shape.kind == "cylinder" else radius)
