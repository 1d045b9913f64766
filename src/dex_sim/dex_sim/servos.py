# SPDX-License-Identifier: Apache-2.0
"""Position servos of every joint: those that were tuned by hand, and for every other robot a law from effort and inertia."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import RobotConfig
from dex_core.errors import ConfigError
from dex_description.forward import link_poses
from dex_description.urdf import Inertia, Joint, RobotDescription

LAG_S = 0.025
BANDWIDTH_RAD_S = 63.0
DAMPING_RATIO = 0.7
SATURATION = {("hand", "revolute"): 0.1, ("hand", "prismatic"): 0.005, ("arm", "revolute"): 1.0 / 60.0, ("arm", "prismatic"): 0.005}
"""Deviation at which a joint pushes as hard as it can: [rad], of a prismatic joint [m]."""
FRICTION = 0.005
LEAST_ARMATURE = 0.05


@dataclass(frozen=True)
class Servo:
    """Position servo of one joint: force = stiffness * (target - q) - damping * qd, clamped to its effort.

    ``damping / stiffness`` is the lag in s with which the joint follows a ramp. Of a prismatic joint: N/m, N s/m, kg, N.

    Attributes:
        effort_nm: largest torque; None: the description's.
    """

    stiffness_nm_rad: float
    damping_nms_rad: float
    armature_kg_m2: float
    friction_nm: float
    effort_nm: float | None = None


TUNED: dict[str, tuple[Servo, ...]] = {
    "xarm7": (
        Servo(3000.0, 75.0, 0.40, 0.5), Servo(3000.0, 75.0, 0.40, 0.5), Servo(1800.0, 45.0, 0.25, 0.4), Servo(1800.0, 45.0, 0.25, 0.4),
        Servo(700.0, 17.5, 0.10, 0.2), Servo(700.0, 17.5, 0.10, 0.2), Servo(500.0, 12.5, 0.08, 0.2),
    ),
    "inspire": (Servo(10.0, 0.25, 0.0025, 0.005),) * 6,
}
"""Policies were trained against these: they stay as they are, whatever the law below says."""


def servos_of(robot: RobotConfig, description: RobotDescription, home_rad: dict[str, float], prefix: str = "") -> dict[str, Servo]:
    """Servos of one robot.

    Args:
        robot: its configuration.
        description: what it is part of; everything it carries counts as load.
        home_rad: every actuated joint of ``description`` -> position the load is judged at.
        prefix: what stands before the robot's joint names in ``description``.

    Returns:
        Joint name with prefix -> servo, for every actuated joint of the robot.
    """
    if robot.name in TUNED:
        return {prefix + joint: servo for joint, servo in zip(robot.actuated, TUNED[robot.name], strict=True)}
    poses = link_poses(description, home_rad)
    paths = _paths(description)
    return {
        prefix + joint: _servo(robot, joint, description.joint(prefix + joint), _inertia(description, poses, paths, prefix + joint))
        for joint in robot.actuated
    }


def _servo(robot: RobotConfig, name: str, joint: Joint, inertia: float) -> Servo:
    """Stiff enough to reach the effort at a small deviation; the gear's inertia keeps the bandwidth where a 2 ms step is stable."""
    effort = robot.limits[name].effort_nm or joint.effort_nm
    if not effort or not math.isfinite(effort):
        raise ConfigError(f"{robot.name}: joint {name!r} has no effort; give effort_nm in its configuration")
    stiffness = effort / SATURATION[(robot.kind, joint.kind)]
    wanted = stiffness / BANDWIDTH_RAD_S**2
    armature = max(wanted - inertia, LEAST_ARMATURE * wanted)
    damping = max(LAG_S * stiffness, 2.0 * DAMPING_RATIO * math.sqrt(stiffness * (inertia + armature)))
    return Servo(stiffness, damping, armature, FRICTION * effort, effort)


def _paths(description: RobotDescription) -> dict[str, tuple[Joint, ...]]:
    """Link -> its moving joints from the root on."""
    paths: dict[str, tuple[Joint, ...]] = {description.root: ()}
    waiting = [description.root]
    while waiting:
        parent = waiting.pop()
        for joint in description.joints_below(parent):
            paths[joint.child] = paths[parent] + ((joint,) if joint.kind != "fixed" else ())
            waiting.append(joint.child)
    return paths


def _inertia(description: RobotDescription, poses: dict[str, NDArray[np.float64]], paths: dict[str, tuple[Joint, ...]], name: str) -> float:
    """Inertia that an actuated joint moves, followers included [kg m^2], of a prismatic joint [kg]."""
    rates = {name: 1.0} | {j.name: j.mimic.multiplier for j in description.joints if j.mimic is not None and j.mimic.joint == name}
    total = 0.0
    for link in description.links:
        moving = [joint for joint in paths[link.name] if joint.name in rates]
        if link.inertia is not None and moving:
            total += _energy(link.inertia, poses[link.name], [(rates[j.name], j, poses[j.child]) for j in moving])
    return total


def _energy(body: Inertia, pose: NDArray[np.float64], moving: list[tuple[float, Joint, NDArray[np.float64]]]) -> float:
    """Twice the kinetic energy of one link when each joint moves at its rate."""
    centre = pose[:3, :3] @ np.asarray(body.centre_m) + pose[:3, 3]
    linear, angular = np.zeros(3), np.zeros(3)
    for rate, joint, at in moving:
        axis = at[:3, :3] @ (np.asarray(joint.axis, dtype=float) / np.linalg.norm(joint.axis))
        if joint.kind == "prismatic":
            linear += rate * axis
        else:
            angular += rate * axis
            linear += rate * np.cross(axis, centre - at[:3, 3])
    ixx, iyy, izz, ixy, ixz, iyz = body.inertia_kg_m2
    own = pose[:3, :3].T @ angular
    return float(body.mass_kg * linear @ linear + own @ np.array([[ixx, ixy, ixz], [ixy, iyy, iyz], [ixz, iyz, izz]]) @ own)
