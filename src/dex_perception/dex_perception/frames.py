# SPDX-License-Identifier: Apache-2.0
"""Where a camera stands: quaternions of ``camera_link`` in the world and of the optical frame in it (REP 103)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OPTICAL_IN_LINK_XYZW = (-0.5, 0.5, -0.5, 0.5)
"""z forward, x right, y down in a link with x forward, y left, z up."""


def frame_names(stem: str = "camera") -> tuple[str, str]:
    """Link and optical frame of a camera, as realsense2_camera calls them when its name is ``stem`` (``CellConfig.camera_stem``)."""
    return f"{stem}_link", f"{stem}_color_optical_frame"


def quaternion_xyzw(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a (3, 3) rotation, w >= 0."""
    m = np.asarray(rotation, dtype=float)
    k = np.array([
        [m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0, 0.0],
        [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0.0, 0.0],
        [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0.0],
        [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
    ])
    _values, vectors = np.linalg.eigh(k / 3.0)  # reads the lower triangle; the largest eigenvector is the quaternion
    q = vectors[:, -1]
    q = -q if q[3] < 0.0 else q
    return float(q[0]), float(q[1]), float(q[2]), float(q[3])
