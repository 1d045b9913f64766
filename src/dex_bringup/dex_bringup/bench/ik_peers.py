# SPDX-License-Identifier: Apache-2.0
"""Other libraries' hand IK behind one call, each set up as its authors show; `make peers` installs them."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from dex_core.kinematics.hand_ik import HandModel
from dex_core.types import Array

MOST_STEPS = 30
SETTLED_RAD = 1e-4
POSTURE_COST = 1e-3
"""Beside 1 for a metre of a tip."""


class Peer(Protocol):
    """Fingertip targets to joints, to convergence."""

    def solve(self, targets_m: Array, start_rad: Array) -> Array:
        """(n,) joints in the hand's order for (k, 3) targets, from ``start_rad``."""


class DexRetargeting:
    """Its vector or position optimiser, defaults kept, without the low-pass filter."""

    def __init__(self, hand: HandModel, urdf_text: str, rest_rad: Array, kind: str) -> None:
        RetargetingConfig = importlib.import_module("dex_retargeting.retargeting_config").RetargetingConfig

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "hand.urdf"
            path.write_text(_without_geometry(urdf_text), encoding="utf-8")
            k = len(hand.tips)
            tips = list(hand.tips)
            vector = {"target_origin_link_names": [hand.tree.root] * k, "target_task_link_names": tips}
            links = vector if kind == "vector" else {"target_link_names": tips}
            indices = np.zeros((2, k) if kind == "vector" else (1, k), dtype=int)
            self._solver = RetargetingConfig(
                type=kind, urdf_path=str(path), target_joint_names=list(hand.names), target_link_human_indices=indices, low_pass_alpha=-1.0, **links
            ).build()
        names = self._solver.optimizer.robot.dof_joint_names
        self._from = np.array([names.index(name) for name in hand.names])
        self._limits = self._solver.joint_limits

    def solve(self, targets_m: Array, start_rad: Array) -> Array:
        """As :class:`Peer`."""
        self._solver.last_qpos = np.clip(start_rad, self._limits[:, 0], self._limits[:, 1]).astype(np.float32)
        return self._solver.retarget(targets_m)[self._from].astype(float)


class Pink:
    """Position tasks of the tips and a posture task, daqp, steps until they are small."""

    def __init__(self, hand: HandModel, urdf_text: str, rest_rad: Array) -> None:
        import pink
        import pinocchio as pin
        from pink.tasks import FrameTask, PostureTask

        self._pin, self._pink = pin, pink
        self._model = pin.buildModelFromXML(urdf_text, mimic=True)
        joints = [self._model.joints[self._model.getJointId(name)] for name in hand.names]
        self._idx = np.array([joint.idx_q for joint in joints])
        self._model.lowerPositionLimit[self._idx], self._model.upperPositionLimit[self._idx] = hand.lower_rad, hand.upper_rad
        self._model.velocityLimit[:] = 1e3
        self._configuration = pink.Configuration(self._model, self._model.createData(), self._full(rest_rad))
        self._limits = [self._configuration.model.configuration_limit]
        self._tips = [FrameTask(tip, position_cost=1.0, orientation_cost=0.0, gain=1.0) for tip in hand.tips]
        self._targets = [pin.SE3.Identity() for _ in hand.tips]
        posture = PostureTask(cost=POSTURE_COST, gain=1.0)
        posture.set_target(self._full(rest_rad))
        self._tasks = [*self._tips, posture]

    def solve(self, targets_m: Array, start_rad: Array) -> Array:
        """As :class:`Peer`."""
        for task, place, target in zip(self._tips, self._targets, targets_m, strict=True):
            place.translation = target
            task.set_target(place)
        configuration = self._configuration
        configuration.update(self._full(start_rad))
        for _ in range(MOST_STEPS):
            velocity = self._pink.solve_ik(configuration, self._tasks, 1.0, solver="daqp", limits=self._limits, safety_break=False)
            configuration.integrate_inplace(velocity, 1.0)
            if np.abs(velocity).max() < SETTLED_RAD:
                break
        return configuration.q[self._idx].copy()

    def _full(self, q: Array) -> Array:
        full = self._pin.neutral(self._model)
        full[self._idx] = q
        return full


class Mink:
    """Position tasks of the tips and a posture task on MuJoCo's model, couplings as its equality task, daqp, steps until they are small."""

    def __init__(self, hand: HandModel, urdf_text: str, rest_rad: Array) -> None:
        import mink
        import mujoco

        self._mink = mink
        spec = mujoco.MjSpec.from_string(_without_geometry(urdf_text, inertia=True))
        spec.compiler.fusestatic = False
        followers = _followers(urdf_text)
        for name, (leader, multiplier, offset) in followers.items():
            equality = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=name, name2=leader)
            equality.data[:5] = [offset, multiplier, 0.0, 0.0, 0.0]
        model = spec.compile()
        addresses = {name: int(model.joint(name).qposadr[0]) for name in (*hand.names, *followers)}
        self._idx = np.array([addresses[name] for name in hand.names])
        self._follow = [(addresses[name], addresses[leader], m, o) for name, (leader, m, o) in followers.items()]
        for name, low, high in zip(hand.names, hand.lower_rad, hand.upper_rad, strict=True):
            model.jnt_range[model.joint(name).id] = low, high
        self._size = model.nq
        self._configuration = mink.Configuration(model, self._full(rest_rad))
        self._tips = [mink.FrameTask(tip, "body", position_cost=1.0, orientation_cost=0.0) for tip in hand.tips]
        posture = mink.PostureTask(model, cost=POSTURE_COST)
        posture.set_target(self._full(rest_rad))
        self._tasks = [*self._tips, posture, *([mink.EqualityConstraintTask(model, cost=1.0)] if followers else [])]
        self._limits = [mink.ConfigurationLimit(model)]

    def solve(self, targets_m: Array, start_rad: Array) -> Array:
        """As :class:`Peer`."""
        for task, target in zip(self._tips, targets_m, strict=True):
            task.set_target(self._mink.SE3.from_translation(target))
        configuration = self._configuration
        configuration.update(self._full(start_rad))
        for _ in range(MOST_STEPS):
            velocity = self._mink.solve_ik(configuration, self._tasks, 1.0, "daqp", limits=self._limits)
            configuration.integrate_inplace(velocity, 1.0)
            if np.abs(velocity).max() < SETTLED_RAD:
                break
        return configuration.q[self._idx].copy()

    def _full(self, q: Array) -> Array:
        full = np.zeros(self._size)
        full[self._idx] = q
        for follower, leader, multiplier, offset in self._follow:
            full[follower] = multiplier * full[leader] + offset
        return full


PEERS: dict[str, Callable[[HandModel, str, Array], Peer]] = {
    "vector": lambda hand, text, rest: DexRetargeting(hand, text, rest, "vector"),
    "position": lambda hand, text, rest: DexRetargeting(hand, text, rest, "position"),
    "pink": Pink,
    "mink": Mink,
}
PACKAGES = {"vector": "dex_retargeting", "position": "dex_retargeting", "pink": "pink", "mink": "mink"}


def versions() -> dict[str, str]:
    """Package -> version of the peers that are installed."""
    found = {}
    for name in ("dex-retargeting", "pin-pink", "mink", "daqp", "pin"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _without_geometry(urdf_text: str, *, inertia: bool = False) -> str:
    """The same joints and links without anything to draw; where MuJoCo wants masses, each link gets a small one."""
    root = ElementTree.fromstring(urdf_text)
    for link in root.findall("link"):
        for part in [p for p in link if p.tag in ("visual", "collision", "inertial")]:
            link.remove(part)
        if inertia:
            body = ElementTree.SubElement(link, "inertial")
            ElementTree.SubElement(body, "mass", value="0.01")
            ElementTree.SubElement(body, "inertia", ixx="1e-5", iyy="1e-5", izz="1e-5", ixy="0", ixz="0", iyz="0")
    for extra in [e for e in root if e.tag not in ("link", "joint")]:
        root.remove(extra)
    return ElementTree.tostring(root, encoding="unicode")


def _followers(urdf_text: str) -> dict[str, tuple[str, float, float]]:
    found = {}
    for joint in ElementTree.fromstring(urdf_text).findall("joint"):
        mimic = joint.find("mimic")
        if mimic is not None:
            found[joint.attrib["name"]] = (mimic.attrib["joint"], float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0")))
    return found
