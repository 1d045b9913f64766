# SPDX-License-Identifier: Apache-2.0
"""Where every link of a description is: forward kinematics over values, couplings followed, no solver needed."""
from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import JointNameError
from dex_description.urdf import Joint, Origin, RobotDescription

Array = NDArray[np.float64]


def transform(origin: Origin) -> Array:
    """(4, 4) homogeneous transform of an origin (R = Rz Ry Rx)."""
    (cr, cp, cy), (sr, sp, sy) = ([f(angle) for angle in origin.rpy_rad] for f in (math.cos, math.sin))
    out = np.eye(4)
    out[:3, :3] = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    out[:3, 3] = origin.xyz_m
    return out


def joint_positions(description: RobotDescription, actuated: Mapping[str, float]) -> dict[str, float]:
    """Position of every joint that moves [rad or m], coupled ones included; an actuated joint that is not named is at 0.

    Raises:
        JointNameError: a name is no actuated joint of the description.
    """
    if not set(actuated) <= set(description.actuated):
        raise JointNameError("joint positions", tuple(actuated), description.actuated)
    found = {name: float(actuated.get(name, 0.0)) for name in description.actuated}
    coupled = [j for j in description.joints if j.mimic is not None]
    return found | {j.name: j.mimic.multiplier * found[j.mimic.joint] + j.mimic.offset_rad for j in coupled}  # type: ignore[union-attr]


def joint_transform(joint: Joint, position: float) -> Array:
    """(4, 4) pose of a joint's child link in its parent link with the joint at ``position`` [rad or m]."""
    out = transform(joint.origin)
    if joint.kind == "fixed":
        return out
    axis = np.asarray(joint.axis, dtype=float) / np.linalg.norm(joint.axis)
    motion = np.eye(4)
    if joint.kind == "prismatic":
        motion[:3, 3] = position * axis
    else:
        x, y, z = axis
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        motion[:3, :3] += math.sin(position) * cross + (1.0 - math.cos(position)) * cross @ cross
    return out @ motion


def link_poses(description: RobotDescription, actuated: Mapping[str, float]) -> dict[str, Array]:
    """Link -> (4, 4) pose in the root link. ``actuated`` as for :func:`joint_positions`."""
    positions = joint_positions(description, actuated)
    below: dict[str, list[Joint]] = {}
    for joint in description.joints:
        below.setdefault(joint.parent, []).append(joint)
    poses, waiting = {description.root: np.eye(4)}, [description.root]
    while waiting:
        parent = waiting.pop()
        for joint in below.get(parent, ()):
            poses[joint.child] = poses[parent] @ joint_transform(joint, positions.get(joint.name, 0.0))
            waiting.append(joint.child)
    return poses
