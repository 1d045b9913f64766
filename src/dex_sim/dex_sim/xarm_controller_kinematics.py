# SPDX-License-Identifier: Apache-2.0
"""Flange pose of an xArm7 in plain floats: the controller's own model, 5 microseconds, no arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vec = tuple[float, float, float]

JOINT_RANGES_RAD = (
    (-2 * math.pi, 2 * math.pi), (-2.059488, 2.094395), (-2 * math.pi, 2 * math.pi), (-0.191986, 3.92699),
    (-2 * math.pi, 2 * math.pi), (-1.692969, math.pi), (-2 * math.pi, 2 * math.pi),
)
"""Ranges of arm type 7 as the vendor's SDK has them."""

# joint i: offset of its frame in the one before [m], and the quarter turns about x of that frame
_ORIGINS: tuple[tuple[Vec, int], ...] = (
    ((0.0, 0.0, 0.267), 0), ((0.0, 0.0, 0.0), -1), ((0.0, -0.293, 0.0), 1), ((0.0525, 0.0, 0.0), 1),
    ((0.0775, -0.3425, 0.0), 1), ((0.0, 0.0, 0.0), 1), ((0.076, 0.097, 0.0), -1),
)


def _to_base(vector: Vec, turns: Sequence[tuple[float, float]], *, direction: bool) -> Vec:
    x, y, z = vector
    for (cos, sin), ((ox, oy, oz), quarter) in zip(reversed(turns), reversed(_ORIGINS), strict=True):
        x, y = cos * x - sin * y, sin * x + cos * y
        if quarter == 1:
            y, z = -z, y
        elif quarter == -1:
            y, z = z, -y
        if not direction:
            x, y, z = x + ox, y + oy, z + oz
    return x, y, z


def flange_position_m(position_rad: Sequence[float]) -> Vec:
    """Flange in the arm's base [m] for seven joints [rad]."""
    turns = [(math.cos(q), math.sin(q)) for q in position_rad]
    return _to_base((0.0, 0.0, 0.0), turns, direction=False)


def flange_pose_mm_rad(position_rad: Sequence[float]) -> tuple[float, ...]:
    """x, y, z [mm], roll, pitch, yaw [rad] as the controller reports them (R = Rz Ry Rx)."""
    turns = [(math.cos(q), math.sin(q)) for q in position_rad]
    x, y, z = _to_base((0.0, 0.0, 0.0), turns, direction=False)
    x_axis = _to_base((1.0, 0.0, 0.0), turns, direction=True)
    y_axis = _to_base((0.0, 1.0, 0.0), turns, direction=True)
    z_axis = _to_base((0.0, 0.0, 1.0), turns, direction=True)
    pitch = math.atan2(-x_axis[2], math.hypot(x_axis[0], x_axis[1]))
    roll, yaw = math.atan2(y_axis[2], z_axis[2]), math.atan2(x_axis[1], x_axis[0])
    return x * 1e3, y * 1e3, z * 1e3, roll, pitch, yaw
