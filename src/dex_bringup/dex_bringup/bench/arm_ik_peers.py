# SPDX-License-Identifier: Apache-2.0
"""Other libraries' arm IK behind one call, run to convergence; `make peers` installs them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dex_core.kinematics import ArmKinematics
from dex_core.types import Array

MOST_STEPS = 50
CLOSE_M, CLOSE_RAD = 1e-6, 1e-6
SETTLED_RAD = 1e-7
POSTURE_COST = 1e-4
"""Beside 1 for a metre and for a radian of the flange: enough to choose, too little to pull the flange away."""


class Peer(Protocol):
    """A flange pose to joints, to convergence."""

    def solve(self, pose: Array, start_rad: Array) -> Array:
        """(n,) joints in the arm's order for a (4, 4) pose, from ``start_rad``."""


class _Stepping:
    """What both peers share: their steps, taken until the pose is reached or they are small."""

    _idx: Array
    _configuration: Any
    _task: Any

    def _converge(self, start_rad: Array, step: Callable[[], Array]) -> Array:
        configuration = self._configuration
        configuration.update(self._full(start_rad))
        for _ in range(MOST_STEPS):
            velocity = step()
            configuration.integrate_inplace(velocity, 1.0)
            error = self._task.compute_error(configuration)
            if (np.linalg.norm(error[:3]) < CLOSE_M and np.linalg.norm(error[3:]) < CLOSE_RAD) or np.abs(velocity).max() < SETTLED_RAD:
                break
        return configuration.q[self._idx].copy()

    def _full(self, q: Array) -> Array:
        """``q`` in the peer's own order of joints."""
        full = np.zeros(len(self._idx))
        full[self._idx] = q
        return full


class Pink(_Stepping):
    """A frame task and a posture task, daqp, steps until the pose is reached or they are small."""

    def __init__(self, arm: ArmKinematics, urdf_text: str, rest_rad: Array) -> None:
        import pink
        import pinocchio as pin
        from pink.tasks import FrameTask, PostureTask

        self._pin, self._pink = pin, pink
        model = pin.buildModelFromXML(urdf_text)
        self._idx = np.array([model.joints[model.getJointId(name)].idx_q for name in arm.names])
        model.lowerPositionLimit[self._idx], model.upperPositionLimit[self._idx] = arm.lower_rad, arm.upper_rad
        model.velocityLimit[:] = 1e3
        self._configuration = pink.Configuration(model, model.createData(), self._full(rest_rad))
        self._limits = [self._configuration.model.configuration_limit]
        self._task = FrameTask(arm.flange, position_cost=1.0, orientation_cost=1.0, gain=1.0)
        posture = PostureTask(cost=POSTURE_COST, gain=1.0)
        posture.set_target(self._full(rest_rad))
        self._tasks = [self._task, posture]

    def solve(self, pose: Array, start_rad: Array) -> Array:
        """As :class:`Peer`."""
        self._task.set_target(self._pin.SE3(pose))
        return self._converge(
            start_rad, lambda: self._pink.solve_ik(self._configuration, self._tasks, 1.0, solver="daqp", limits=self._limits, safety_break=False)
        )


class Mink(_Stepping):
    """A frame task and a posture task on MuJoCo's model, daqp, steps until the pose is reached or they are small."""

    def __init__(self, arm: ArmKinematics, urdf_text: str, rest_rad: Array) -> None:
        import mink
        import mujoco

        self._mink = mink
        spec = mujoco.MjSpec.from_string(urdf_text)
        spec.compiler.fusestatic = False
        model = spec.compile()
        self._idx = np.array([int(model.joint(name).qposadr[0]) for name in arm.names])
        for name, low, high in zip(arm.names, arm.lower_rad, arm.upper_rad, strict=True):
            model.jnt_range[model.joint(name).id] = low, high
        self._configuration = mink.Configuration(model, self._full(rest_rad))
        self._task = mink.FrameTask(arm.flange, "body", position_cost=1.0, orientation_cost=1.0)
        posture = mink.PostureTask(model, cost=POSTURE_COST)
        posture.set_target(self._full(rest_rad))
        self._tasks, self._limits = [self._task, posture], [mink.ConfigurationLimit(model)]

    def solve(self, pose: Array, start_rad: Array) -> Array:
        """As :class:`Peer`."""
        self._task.set_target(self._mink.SE3.from_matrix(pose))
        return self._converge(start_rad, lambda: self._mink.solve_ik(self._configuration, self._tasks, 1.0, "daqp", limits=self._limits))


PEERS: dict[str, Callable[[ArmKinematics, str, Array], Peer]] = {"pink": Pink, "mink": Mink}


def arm_alone(urdf_text: str, arm: ArmKinematics) -> str:
    """The URDF with every other joint fixed at zero, nothing to draw, and a small mass on each link, which MuJoCo wants."""
    root = ElementTree.fromstring(urdf_text)
    for link in root.findall("link"):
        for part in [p for p in link if p.tag in ("visual", "collision", "inertial")]:
            link.remove(part)
        body = ElementTree.SubElement(link, "inertial")
        ElementTree.SubElement(body, "mass", value="0.01")
        ElementTree.SubElement(body, "inertia", ixx="1e-5", iyy="1e-5", izz="1e-5", ixy="0", ixz="0", iyz="0")
    for joint in root.findall("joint"):
        if joint.get("name") not in arm.names:
            joint.set("type", "fixed")
    for extra in [e for e in root if e.tag not in ("link", "joint")]:
        root.remove(extra)
    return ElementTree.tostring(root, encoding="unicode")
