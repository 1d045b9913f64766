# SPDX-License-Identifier: Apache-2.0
"""A cloud of points with what is known about each: colour, normal, the pixel it was seen in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clouds import engine
from dex_core.clouds.checks import check_box, check_pose, checked
from dex_core.errors import ShapeError

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Cloud:
    """N points in one frame; the arrays are read-only views of what was given.

    Attributes:
        points_m: (N, 3) float32 [m].
        rgb: (N, 3) uint8; None without colour.
        normals: (N, 3) float32 of length 1, NaN where unknown; None without normals.
        pixels: (N,) int32, ``row * width + column`` of the picture the point was seen in; None where points are no pixels (after a voxel grid).

    Raises:
        ShapeError: another rank, length or type.
    """

    points_m: Points
    rgb: NDArray[np.uint8] | None = None
    normals: NDArray[np.float32] | None = None
    pixels: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        n = len(self.points_m) if np.ndim(self.points_m) else 0
        kinds = (("points_m", np.float32, (n, 3)), ("rgb", np.uint8, (n, 3)), ("normals", np.float32, (n, 3)), ("pixels", np.int32, (n,)))
        for name, dtype, shape in kinds:
            array = getattr(self, name)
            if array is None and name != "points_m":
                continue
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
                got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
                raise ShapeError(f"cloud.{name}: got {got}, expected {np.dtype(dtype)} {shape}")
            view = array.view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.points_m)

    def select(self, keep: ArrayLike) -> Cloud:
        """The points of a boolean mask (N,) or of indices, in their order."""
        keep = np.asarray(keep)
        if keep.dtype == bool:
            if keep.shape != (len(self),):
                raise ShapeError(f"mask: shape {keep.shape}, the cloud has {len(self)} points")
            keep = np.flatnonzero(keep)
        keep = keep.astype(np.intp, copy=False)
        rgb, normals, pixels = (None if a is None else a.take(keep, axis=0) for a in (self.rgb, self.normals, self.pixels))
        return Cloud(self.points_m.take(keep, axis=0), rgb, normals, pixels)

    def transformed(self, pose_cloud_in_target: ArrayLike) -> Cloud:
        """The same points in another frame; (4, 4) pose of the cloud's frame in it."""
        pose = check_pose(pose_cloud_in_target, "pose_cloud_in_target")
        rotation = pose[:3, :3].astype(np.float32)
        normals = None if self.normals is None else self.normals @ rotation.T
        return Cloud(self.points_m @ rotation.T + pose[:3, 3].astype(np.float32), self.rgb, normals, self.pixels)

    def picture(self, values: NDArray, size_hw: tuple[int, int], fill: float = np.nan) -> NDArray:
        """(N, ...) values of the points laid back into the picture: (H, W, ...), ``fill`` where no point is.

        Raises:
            ShapeError: the cloud knows no pixels, or they leave the picture.
        """
        if self.pixels is None:
            raise ShapeError("the cloud knows no pixels: it went through a voxel grid or came without them")
        if len(values) != len(self) or (len(self) and int(self.pixels.max()) >= size_hw[0] * size_hw[1]):
            raise ShapeError(f"{len(values)} values for {len(self)} points of a picture of {size_hw[1]} x {size_hw[0]}")
        out = np.full((size_hw[0] * size_hw[1], *values.shape[1:]), fill, dtype=values.dtype)
        out[self.pixels] = values
        return out.reshape(*size_hw, *values.shape[1:])


def crop(cloud: Cloud, low_m: ArrayLike, high_m: ArrayLike, pose_cloud_in_box: ArrayLike | None = None) -> Cloud:
    """The points inside an axis-aligned box, its faces included.

    Args:
        cloud: in any frame.
        low_m, high_m: (3,) corners in the box's frame [m]; infinity leaves a side open.
        pose_cloud_in_box: (4, 4) pose of the cloud's frame in the box's; None: the same frame.

    Raises:
        ShapeError: no box: a corner of another shape, NaN, or low above high.
    """
    low, high = check_box(low_m, high_m)
    points = checked(cloud.points_m, "cloud")
    pose = None if pose_cloud_in_box is None else np.ascontiguousarray(check_pose(pose_cloud_in_box, "pose_cloud_in_box")[:3], dtype=np.float32)
    return cloud.select(engine.current().inside(points, pose, low, high))
