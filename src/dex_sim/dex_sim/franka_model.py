# SPDX-License-Identifier: Apache-2.0
"""A Franka arm as its controller knows it: limits, kinematics, dynamics, and the URDF that it hands to its clients."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
import pinocchio
from numpy.typing import NDArray

from dex_core.errors import ConfigError
from dex_description.paths import read_urdf

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class FrankaLimits:
    """What the controller enforces on the joints, (7,) each: rad, rad/s, rad/s^2, rad/s^3, N m.

    The speed towards an end of the range is at most ``sqrt(2 deceleration distance) - offset``, and never above ``velocity``.
    """

    lower: Vector
    upper: Vector
    velocity: Vector
    offset: Vector
    deceleration: Vector
    acceleration: Vector
    jerk: Vector
    torque: Vector

    def velocity_range(self, position: Vector) -> tuple[Vector, Vector]:
        """Lowest and highest velocity (7,) allowed at ``position`` (7,)."""
        up = np.sqrt(2.0 * self.deceleration * np.maximum(self.upper - position, 0.0)) - self.offset
        down = np.sqrt(2.0 * self.deceleration * np.maximum(position - self.lower, 0.0)) - self.offset
        return -np.clip(down, 0.0, self.velocity), np.clip(up, 0.0, self.velocity)


def _limits(*rows: tuple[float, ...]) -> FrankaLimits:
    return FrankaLimits(*np.array(rows).T)


LIMITS = {
    # libfranka 6474466: test/fr3.urdf and include/franka/rate_limiting.h
    "fr3": _limits(
        (-2.7501, 2.7501, 2.62, 0.30, 6.0, 10.0, 5000.0, 87.0), (-1.7918, 1.7918, 2.62, 0.20, 2.585, 10.0, 5000.0, 87.0),
        (-2.9065, 2.9065, 2.62, 0.20, 3.5, 10.0, 5000.0, 87.0), (-3.0481, -0.1458, 2.62, 0.30, 4.0, 10.0, 5000.0, 87.0),
        (-2.8101, 2.8101, 5.26, 0.35, 17.0, 10.0, 5000.0, 12.0), (0.54092, 4.5205, 4.18, 0.35, 5.5, 10.0, 5000.0, 12.0),
        (-3.0196, 3.0196, 5.26, 0.35, 17.0, 10.0, 5000.0, 12.0),
    ),
    # FCI documentation of the Panda; its speed limits do not depend on the position
    "panda": _limits(
        (-2.8973, 2.8973, 2.175, 0.0, 1e4, 15.0, 7500.0, 87.0), (-1.7628, 1.7628, 2.175, 0.0, 1e4, 7.5, 3750.0, 87.0),
        (-2.8973, 2.8973, 2.175, 0.0, 1e4, 10.0, 5000.0, 87.0), (-3.0718, -0.0698, 2.175, 0.0, 1e4, 12.5, 6250.0, 87.0),
        (-2.8973, 2.8973, 2.61, 0.0, 1e4, 15.0, 7500.0, 12.0), (-0.0175, 3.7525, 2.61, 0.0, 1e4, 20.0, 10000.0, 12.0),
        (-2.8973, 2.8973, 2.61, 0.0, 1e4, 20.0, 10000.0, 12.0),
    ),
}
_PREFIXES = ("fr3_", "fer_")
ROTOR_INERTIA_KG_M2 = 0.1
"""Added to each joint where torques are commanded: gears and motors, chosen here; links alone would be too light at the wrist."""
JOINT_DAMPING_NMS = 1.0


class FrankaModel:
    """Kinematics and dynamics of one robot at its flange.

    Args:
        robot: fr3 or panda.
    """

    def __init__(self, robot: str) -> None:
        if robot not in LIMITS:
            raise ConfigError(f"no Franka is called {robot!r}; there is: {', '.join(LIMITS)}")
        self.robot, self.limits = robot, LIMITS[robot]
        self.urdf = _served_urdf(robot, self.limits)
        self._model = pinocchio.buildModelFromXML(self.urdf)
        self._model.armature[:] = ROTOR_INERTIA_KG_M2
        self._data = self._model.createData()
        self._flange = self._model.getFrameId("link8")

    def flange(self, position: Vector) -> NDArray[np.float64]:
        """(4, 4) pose of the flange in the base."""
        pinocchio.framesForwardKinematics(self._model, self._data, position)
        return self._data.oMf[self._flange].homogeneous

    def jacobian(self, position: Vector, point: Vector) -> NDArray[np.float64]:
        """(6, 7) from joint velocities to velocity of ``point`` (3,) [m, in the base], which moves with the flange, and rotation, in the base."""
        jacobian = np.array(pinocchio.computeFrameJacobian(self._model, self._data, position, self._flange, pinocchio.LOCAL_WORLD_ALIGNED))
        jacobian[:3] += np.cross(jacobian[3:].T, point - self.flange(position)[:3, 3]).T
        return jacobian

    def gravity(self, position: Vector) -> Vector:
        """(7,) torque that the arm's own weight needs [N m]."""
        return pinocchio.computeGeneralizedGravity(self._model, self._data, position)

    def acceleration(self, position: Vector, velocity: Vector, torque: Vector) -> Vector:
        """(7,) [rad/s^2] under joint torques to which the controller adds the arm's weight, as Franka's does."""
        whole = torque + self.gravity(position) - JOINT_DAMPING_NMS * velocity
        return pinocchio.aba(self._model, self._data, position, velocity, whole)


def _served_urdf(robot: str, limits: FrankaLimits) -> str:
    """This project's description with the vendor's names (``joint1``, ``link8``), his limits, and no shapes."""
    root = ElementTree.fromstring(read_urdf(f"urdf/arms/{robot}.urdf"))
    for element in list(root):
        if element.tag not in ("link", "joint"):
            root.remove(element)
    for link in root.iter("link"):
        for shape in link.findall("visual") + link.findall("collision"):
            link.remove(shape)
    for element in root.iter():
        for key in ("name", "link"):
            for prefix in _PREFIXES:
                if element.get(key, "").startswith(prefix):
                    element.set(key, element.get(key, "").removeprefix(prefix))
    joints = {joint.get("name"): joint for joint in root.iter("joint")}
    for i in range(7):
        joint = joints[f"joint{i + 1}"]
        limit = joint.find("limit")
        assert limit is not None
        for key, values in (("lower", limits.lower), ("upper", limits.upper), ("velocity", limits.velocity), ("effort", limits.torque)):
            limit.set(key, repr(float(values[i])))
        ElementTree.SubElement(
            joint, "position_based_velocity_limits",
            {"deceleration_limit": repr(float(limits.deceleration[i])), "velocity_offset": repr(float(limits.offset[i]))},
        )
    return ElementTree.tostring(root, encoding="unicode")
