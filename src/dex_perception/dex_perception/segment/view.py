# SPDX-License-Identifier: Apache-2.0
"""One picture with depth, checked, and its cloud in the world frame: what prompts are read against and segmenters are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import Cloud, crop, from_depth
from dex_core.devices.camera import Intrinsics
from dex_core.images import is_blank
from dex_perception.segment.codes import PictureError
from dex_perception.segment.table import Standing, off_table

LEAST_DEPTH_SHARE = 0.02
"""Of the pixels that must have a depth: below, the sensor is covered or out of range."""
LEAST_POINTS = 100
"""In the workspace, for the same reason."""


@dataclass(frozen=True)
class Picture:
    """Colour and depth of one moment.

    Attributes:
        rgb: (H, W, 3) uint8. depth_m: (H, W) float32 aligned to it [m], NaN where unknown.
        intrinsics: of the depth, hence of both.
        stamp_ns: of the colour picture, wall clock [ns]. frame_id: optical frame.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    intrinsics: Intrinsics
    stamp_ns: int
    frame_id: str


@dataclass(frozen=True)
class Workspace:
    """Where objects may be, in the world frame, and how far a depth is believed [m]."""

    low_m: tuple[float, float, float] = (-np.inf, -np.inf, -np.inf)
    high_m: tuple[float, float, float] = (np.inf, np.inf, np.inf)
    depth_max_m: float = 3.0


@dataclass(frozen=True)
class View:
    """A picture that passed every check.

    Attributes:
        picture: the picture.
        cloud: its points in the workspace, world frame, with colour and pixels.
        pose_camera_in_world: (4, 4) of the optical frame.
    """

    picture: Picture
    cloud: Cloud
    pose_camera_in_world: NDArray[np.float64]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.picture.depth_m.shape  # type: ignore[return-value]

    @cached_property
    def point_at(self) -> NDArray[np.int32]:
        """(H, W) index of the cloud's point at each pixel, -1 without one."""
        return self.cloud.picture(np.arange(len(self.cloud), dtype=np.int32), self.size_hw, fill=-1)

    def near_pixel(self, column: float, row: float, reach_px: int) -> int:
        """Index of the point whose pixel lies nearest to a place in the picture, -1 when none lies within ``reach_px``."""
        height, width = self.size_hw
        left, top = max(0, round(column) - reach_px), max(0, round(row) - reach_px)
        window = self.point_at[top : min(height, round(row) + reach_px + 1), left : min(width, round(column) + reach_px + 1)]
        rows, columns = np.nonzero(window >= 0)
        if not len(rows):
            return -1
        away = (rows + top - row) ** 2 + (columns + left - column) ** 2
        best = int(away.argmin())
        return int(window[rows[best], columns[best]]) if away[best] <= reach_px**2 else -1

    @cached_property
    def standing(self) -> Standing:
        """The cloud beside its table."""
        return off_table(self.cloud)

    @cached_property
    def pixel_size_m(self) -> float:
        """Width of a pixel on the things in view: median depth over focal length [m]."""
        camera = self.pose_camera_in_world
        depth = (self.cloud.points_m - camera[:3, 3].astype(np.float32)) @ camera[:3, 2].astype(np.float32)
        return float(np.median(depth)) / self.picture.intrinsics.fx


def check_content(picture: Picture) -> None:
    """What a picture alone can tell.

    Raises:
        PictureError: ``image_size``, ``image_blank``, ``depth_empty``.
    """
    size = picture.rgb.shape[:2]
    i = picture.intrinsics
    if picture.depth_m.shape != size or (i.height, i.width) != size:
        text = f"colour is {size[1]} x {size[0]}, depth {picture.depth_m.shape[1]} x {picture.depth_m.shape[0]}, camera_info {i.width} x {i.height}"
        raise PictureError(text, code="image_size")
    if not (i.fx > 0.0 and i.fy > 0.0):
        raise PictureError(f"camera_info has focal lengths {i.fx} and {i.fy}: the camera is not calibrated", code="camera_info_missing")
    if is_blank(picture.rgb):
        raise PictureError("the colour picture shows nothing", code="image_blank")
    share = float(np.count_nonzero(picture.depth_m > 0.0)) / picture.depth_m.size
    if share < LEAST_DEPTH_SHARE:
        raise PictureError(f"{share:.1%} of the pixels have a depth; at least {LEAST_DEPTH_SHARE:.0%} must", code="depth_empty")


def see(picture: Picture, pose_camera_in_world: NDArray[np.float64], workspace: Workspace) -> View:
    """A checked picture and its cloud.

    Args:
        picture: as it came.
        pose_camera_in_world: (4, 4) of its optical frame at its stamp.
        workspace: what is kept.

    Raises:
        PictureError: as ``check_content``; ``depth_empty`` also when nothing lies in the workspace.
    """
    check_content(picture)
    with np.errstate(invalid="ignore"):
        near = np.where(picture.depth_m <= workspace.depth_max_m, picture.depth_m, np.float32(np.nan))
    cloud = crop(from_depth(near, picture.intrinsics, picture.rgb).transformed(pose_camera_in_world), workspace.low_m, workspace.high_m)
    if len(cloud) < LEAST_POINTS:
        raise PictureError(f"{len(cloud)} points lie in the workspace; at least {LEAST_POINTS} must", code="depth_empty")
    return View(picture, cloud, pose_camera_in_world)
