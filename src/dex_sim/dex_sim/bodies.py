# SPDX-License-Identifier: Apache-2.0
"""Turns a parsed URDF into MuJoCo bodies, joints, couplings and servos."""
from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from dex_description.urdf import Joint, Link, Origin, RobotDescription, Shape
from dex_sim.servos import Servo

VISUAL_GROUP, COLLISION_GROUP = 1, 3
OBJECT_BIT, LEFT_BIT, RIGHT_BIT, TABLE_BIT, PEER_BIT, BODY_BIT = 1, 2, 4, 8, 16, 32
BOX, CYLINDER, CAPSULE, SPHERE = (
    mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE,
)
MOTIONS = {"revolute": mujoco.mjtJoint.mjJNT_HINGE, "prismatic": mujoco.mjtJoint.mjJNT_SLIDE}


def quaternion(rpy_rad: tuple[float, ...]) -> np.ndarray:
    """(4,) w, x, y, z of the fixed-axis roll, pitch, yaw of a URDF (R = Rz Ry Rx)."""
    half = 0.5 * np.asarray(rpy_rad, dtype=float)
    (cr, cp, cy), (sr, sp, sy) = np.cos(half), np.sin(half)
    return np.array([
        cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy,
    ])


def add_robot_tree(
    spec: mujoco.MjSpec, description: RobotDescription, servos: dict[str, Servo], friction: float, body_links: frozenset[str] = frozenset()
) -> None:
    """Adds every link below the root of ``description`` to the world body of ``spec``.

    Args:
        spec: model under construction.
        description: composed cell; links are named with the side's prefix.
        servos: actuated joint name -> servo; a missing one is an error.
        friction: sliding friction of the robots' surfaces.
        body_links: links of a robot with two arms. They touch objects only: its feet are below the table, its wrists inside its hands.
    """
    builder = _Builder(spec, description, servos, friction, body_links)
    builder.add_shapes(spec.worldbody, description.link(description.root))
    builder.add_children(spec.worldbody, description.root)
    for joint in description.joints:
        if joint.mimic is not None:
            _add_coupling(spec, joint)


@dataclass(frozen=True)
class _Builder:
    """What every link of one description needs to become a body."""

    spec: mujoco.MjSpec
    description: RobotDescription
    servos: dict[str, Servo]
    friction: float
    body_links: frozenset[str]

    def add_children(self, body: mujoco.MjsBody, link: str) -> None:
        for joint in self.description.joints_below(link):
            child_link = self.description.link(joint.child)
            child = body.add_body(name=joint.child, pos=joint.origin.xyz_m, quat=quaternion(joint.origin.rpy_rad), gravcomp=1.0)
            _add_inertia(child, child_link)
            if joint.kind != "fixed":
                _add_joint(self.spec, child, joint, self.servos)
            self.add_shapes(child, child_link)
            self.add_children(child, joint.child)

    def add_shapes(self, body: mujoco.MjsBody, link: Link) -> None:
        for shape in link.visuals:
            kind, size = _visual_size(shape)
            _geom(body, shape.origin, kind, size, group=VISUAL_GROUP, contype=0, conaffinity=0, rgba=shape.rgba or (0.7, 0.7, 0.7, 1.0))
        if body.name == "table":  # a plane carries everything: its contacts are exact and cheap
            return
        own, others = self._bits(link.name)
        for shape in link.collisions:
            kind, size = _contact_size(shape)
            _geom(
                body, shape.origin, kind, size, group=COLLISION_GROUP, contype=own, conaffinity=others,
                friction=(self.friction, 0.005, 0.0001), rgba=(0.2, 0.6, 0.9, 0.4),
            )

    def _bits(self, link: str) -> tuple[int, int]:
        """(contype, conaffinity): a side touches objects, the table and the other side, never itself."""
        if link in self.body_links:
            return BODY_BIT, OBJECT_BIT
        own, other = (LEFT_BIT, RIGHT_BIT) if link.startswith("left_") else (RIGHT_BIT, LEFT_BIT)
        return own, OBJECT_BIT | TABLE_BIT | other


def _add_inertia(body: mujoco.MjsBody, link: Link) -> None:
    if link.inertia is not None:
        body.explicitinertial = True
        body.mass = link.inertia.mass_kg
        body.ipos = link.inertia.centre_m
        body.fullinertia = link.inertia.inertia_kg_m2


def _add_joint(spec: mujoco.MjSpec, body: mujoco.MjsBody, joint: Joint, servos: dict[str, Servo]) -> None:
    actuated = joint.mimic is None
    servo = servos[joint.name if joint.mimic is None else joint.mimic.joint]
    body.add_joint(
        name=joint.name, type=MOTIONS[joint.kind], axis=joint.axis, armature=servo.armature_kg_m2,
        frictionloss=servo.friction_nm if actuated else 0.0, limited=1 if actuated else 0, range=(joint.lower_rad, joint.upper_rad),
        damping=0.0 if actuated else 0.1 * servo.damping_nms_rad,
    )
    if actuated:
        stiffness, damping, effort = servo.stiffness_nm_rad, servo.damping_nms_rad, servo.effort_nm or joint.effort_nm
        spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED, gainprm=[stiffness] + [0.0] * 9,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=[0.0, -stiffness, -damping] + [0.0] * 7,
            forcelimited=1, forcerange=(-effort, effort),
        )


def _add_coupling(spec: mujoco.MjSpec, joint: Joint) -> None:
    assert joint.mimic is not None
    equality = spec.add_equality(
        name=f"{joint.name}_coupling", type=mujoco.mjtEq.mjEQ_JOINT, name1=joint.name, name2=joint.mimic.joint,
        objtype=mujoco.mjtObj.mjOBJ_JOINT, solref=(0.008, 1.0),
    )
    data = np.zeros(len(equality.data))
    data[:2] = joint.mimic.offset_rad, joint.mimic.multiplier
    equality.data = data


def _geom(body: mujoco.MjsBody, origin: Origin, kind: int, size: tuple[float, ...], **fields: object) -> None:
    body.add_geom(type=kind, size=size, pos=origin.xyz_m, quat=quaternion(origin.rpy_rad), mass=0.0, **fields)


def _visual_size(shape: Shape) -> tuple[int, tuple[float, ...]]:
    if shape.kind == "box":
        return BOX, tuple(0.5 * edge for edge in shape.size_m)
    if shape.kind == "sphere":
        return SPHERE, (shape.size_m[0], 0.0, 0.0)
    return CYLINDER, (shape.size_m[0], 0.5 * shape.size_m[1], 0.0)


def _contact_size(shape: Shape) -> tuple[int, tuple[float, ...]]:
    """A long cylinder touches as the capsule of the same radius and total length: such contacts are smooth and cheap."""
    if shape.kind == "cylinder" and shape.size_m[1] > 2.0 * shape.size_m[0]:
        radius, length = shape.size_m
        return CAPSULE, (radius, 0.5 * length - radius, 0.0)
    return _visual_size(shape)
