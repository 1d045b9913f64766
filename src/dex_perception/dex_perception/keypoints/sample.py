# SPDX-License-Identifier: Apache-2.0
"""What annotating starts from and what it gives: one moment of a cell in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config.camera import WORLD
from dex_core.devices.camera import Intrinsics
from dex_core.errors import ShapeError
from dex_core.types import Array, frozen_array
from dex_perception.keypoints.layout import Instance

MISSING, HIDDEN, VISIBLE = 0, 1, 2
"""COCO's visibility: no such point, or outside the picture; behind something; seen."""


@dataclass(frozen=True)
class Sample:
    """Everything known of one moment.

    Attributes:
        rgb: (H, W, 3) uint8. intrinsics: of this picture. frame_id: optical frame. stamp_ns: exposure, wall clock [ns].
        position_rad: (n,) joints at that stamp, in the order of ``cell.joint_names`` [rad or m].
        pose_in_mount: (4, 4) of the optical frame in the link ``mounted_on`` of the cell, which forward kinematics finds.
        depth_m: (H, W) aligned to rgb [m], NaN where unknown; None: there is none.
        object_mask: (H, W) whether something that is no robot is seen at a pixel; None: nobody segmented this picture.
    """

    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics
    frame_id: str
    stamp_ns: int
    position_rad: Array
    pose_in_mount: Array
    mounted_on: str = WORLD
    depth_m: NDArray[np.float32] | None = None
    object_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        size = (self.intrinsics.height, self.intrinsics.width)
        for what, picture in (("picture", self.rgb), ("depth", self.depth_m), ("object mask", self.object_mask)):
            if picture is not None and picture.shape[:2] != size:
                raise ShapeError(f"{what} is {picture.shape[1]} x {picture.shape[0]}, the intrinsics are of {size[1]} x {size[0]}", code="image_size")
        object.__setattr__(self, "position_rad", frozen_array(self.position_rad, (None,), "joint positions"))
        object.__setattr__(self, "pose_in_mount", frozen_array(self.pose_in_mount, (4, 4), "pose of the camera"))


@dataclass(frozen=True)
class Labelled:
    """One robot in one picture.

    Attributes:
        instance: which, with its k points.
        points_m: (k, 3) in the optical frame; NaN where the robot has no such point.
        uv: (k, 2) pixels; NaN where ``visibility`` is MISSING.
        visibility: (k,) MISSING, HIDDEN or VISIBLE.
        mask: (H, W) where the robot is seen; None: not asked for.
        box_xywh: around the mask [px], or around the labelled points where there is none; None: nothing of it is in the picture.
    """

    instance: Instance
    points_m: Array
    uv: Array
    visibility: NDArray[np.int8]
    mask: NDArray[np.bool_] | None
    box_xywh: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Annotation:
    """All robots of one picture.

    Attributes:
        by: what visibility was judged by: ``robots`` alone, or with ``+depth``, ``+mask``.
        points_without_depth: points in the picture around which depth was asked for and not known; for those the rest was asked alone.
        pose_camera_in_world: (4, 4) of the optical frame.
    """

    stamp_ns: int
    by: str
    robots: tuple[Labelled, ...]
    points_without_depth: int
    pose_camera_in_world: Array
