# SPDX-License-Identifier: Apache-2.0
"""A cell at rest before its camera: what tests of annotators start from."""

from __future__ import annotations

import numpy as np

from dex_core.config import CellConfig
from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import link_poses
from dex_perception.keypoints.sample import Sample

OPTICAL = "camera_color_optical_frame"


def lens(width: int = 320, height: int = 240, fovy_rad: float = 0.89, distortion: tuple[float, ...] = ()) -> Intrinsics:
    """A camera of that size and vertical field of view."""
    return Intrinsics.of_view((width, height), fovy_rad, distortion)


def home(cell: CellConfig) -> Array:
    """(n,) rest posture."""
    return np.array([value for interface in cell.interfaces.values() for value in interface.home])


def camera_pose(cell: CellConfig) -> Array:
    """(4, 4) of the cell's camera in the world, at rest."""
    positions = dict(zip(cell.joint_names, home(cell), strict=True))
    return link_poses(parse_urdf(compose_cell_urdf(cell)), positions)[OPTICAL]


def at_rest(cell: CellConfig, intrinsics: Intrinsics | None = None, **given: object) -> Sample:
    """A grey picture of the cell at rest; ``given`` replaces fields."""
    intrinsics = intrinsics or lens()
    fields = {
        "rgb": np.full((intrinsics.height, intrinsics.width, 3), 90, dtype=np.uint8), "intrinsics": intrinsics, "frame_id": OPTICAL,
        "stamp_ns": 1_795_000_000_123_456_789, "position_rad": home(cell), "pose_in_mount": camera_pose(cell), **given,
    }
    return Sample(**fields)
