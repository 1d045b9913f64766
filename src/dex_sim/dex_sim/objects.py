# SPDX-License-Identifier: Apache-2.0
"""The things on the table as MuJoCo bodies: cans, fruits and an open bowl. Every one is a free body that friction alone holds."""
from __future__ import annotations

import math

import mujoco
import numpy as np

from dex_core.config import ObjectConfig
from dex_sim.bodies import BOX, CAPSULE, COLLISION_GROUP, CYLINDER, OBJECT_BIT, PEER_BIT, TABLE_BIT, VISUAL_GROUP

LABEL = "label"
ELLIPSOID = mujoco.mjtGeom.mjGEOM_ELLIPSOID
PARK_M = (-2.6, 0.0, -0.4)
"""Behind the wall and below the table: no camera of a cell looks there."""
PARK_STEP_M = 0.4
ROLLING = (0.01, 0.0008)
"""Torsional and rolling friction of a fruit [m]: its soft skin lets it neither spin in the fingers nor roll for ever."""
BOWL_SIDES = 10
BOWL_THICK_M = 0.005
BOWL_BASE = 0.62
"""Radius of a bowl's base beside its rim's."""
PLAIN = {"contype": 0, "conaffinity": 0, "group": VISUAL_GROUP, "mass": 0.0}
WHOLE = {"group": COLLISION_GROUP, "contype": OBJECT_BIT, "conaffinity": TABLE_BIT | OBJECT_BIT}


def add_object(spec: mujoco.MjSpec, name: str, thing: ObjectConfig) -> None:
    """Adds a free body ``name`` with a free joint of the same name, its origin in its middle."""
    body = spec.worldbody.add_body(name=name, pos=(PARK_M[0], 0.0, 0.5 * thing.size_m[2]))
    body.add_freejoint(name=name)
    {"can": _add_can, "fruit": _add_fruit, "bowl": _add_bowl}[thing.kind](body, name, thing)


def _add_can(body: mujoco.MjsBody, name: str, can: ObjectConfig) -> None:
    radius, half = can.radius_m, 0.5 * can.size_m[2]
    body.add_geom(
        name=name, type=CYLINDER, size=(radius, half, 0.0), mass=can.mass_kg, group=COLLISION_GROUP, contype=OBJECT_BIT,
        conaffinity=TABLE_BIT, friction=(can.friction, 0.005, 0.0001),
    )
    body.add_geom(  # two upright cylinders meet along a line, which only capsules do well
        name=f"{name}_side", type=CAPSULE, size=(radius, half - radius, 0.0), mass=0.0, group=COLLISION_GROUP, contype=PEER_BIT,
        conaffinity=PEER_BIT, friction=(can.friction, 0.005, 0.0001),
    )
    plain = {"type": CYLINDER, **PLAIN}
    body.add_geom(name=f"{name}_{LABEL}", size=(radius, half - 0.004, 0.0), rgba=(0.80, 0.10, 0.08, 1.0), **plain)
    body.add_geom(name=f"{name}_band", size=(radius + 0.0004, 0.013, 0.0), pos=(0.0, 0.0, 0.006), rgba=(0.95, 0.93, 0.85, 1.0), **plain)
    for end in (-1.0, 1.0):
        body.add_geom(size=(radius + 0.0006, 0.003, 0.0), pos=(0.0, 0.0, end * (half - 0.003)), rgba=(0.75, 0.76, 0.78, 1.0), **plain)
    body.add_geom(size=(radius - 0.003, 0.0005, 0.0), pos=(0.0, 0.0, half), rgba=(0.62, 0.63, 0.65, 1.0), **plain)


def _add_fruit(body: mujoco.MjsBody, name: str, fruit: ObjectConfig) -> None:
    half = tuple(0.5 * width for width in fruit.size_m)
    body.add_geom(
        name=name, type=ELLIPSOID, size=half, mass=fruit.mass_kg, condim=6, friction=(fruit.friction, *ROLLING), priority=1,
        solref=(0.01, 1.0), **WHOLE,
    )
    body.add_geom(name=f"{name}_{LABEL}", type=ELLIPSOID, size=half, rgba=(*fruit.rgb, 1.0), **PLAIN)
    for end in (-1.0, 1.0):
        body.add_geom(
            name=f"{name}_end{'ab'[end > 0]}", type=ELLIPSOID, size=(0.006, 0.009, 0.009), pos=(end * (half[0] - 0.0035), 0.0, 0.0),
            rgba=(*(0.8 * np.array(fruit.rgb)), 1.0), **PLAIN,
        )


def _add_bowl(body: mujoco.MjsBody, name: str, bowl: ObjectConfig) -> None:
    """A round base and a wall of flat panels that lean outwards."""
    rim, half = bowl.radius_m, 0.5 * bowl.size_m[2]
    base = BOWL_BASE * rim
    lean = math.atan2(rim - base, bowl.size_m[2])
    length = math.hypot(rim - base, bowl.size_m[2])
    apothem = 0.5 * (rim + base) - 0.5 * BOWL_THICK_M
    width = rim * math.tan(math.pi / BOWL_SIDES)
    solid = {"friction": (bowl.friction, 0.005, 0.0001), "rgba": (*bowl.rgb, 1.0)}
    disc = (base, 0.5 * BOWL_THICK_M, 0.0)
    low = (0.0, 0.0, 0.5 * BOWL_THICK_M - half)
    body.add_geom(name=name, type=CYLINDER, size=disc, pos=low, mass=0.6 * bowl.mass_kg, **solid, **WHOLE)
    body.add_geom(name=f"{name}_{LABEL}", type=CYLINDER, size=disc, pos=low, rgba=(*bowl.rgb, 1.0), **PLAIN)
    for side in range(BOWL_SIDES):
        angle = 2.0 * math.pi * side / BOWL_SIDES
        out = np.array([math.cos(angle), math.sin(angle), 0.0])
        panel = {
            "type": BOX, "size": (0.5 * BOWL_THICK_M, width, 0.5 * length), "pos": tuple(apothem * out), "quat": _panel_turn(angle, lean),
        }
        body.add_geom(name=f"{name}_wall{side}", mass=0.4 * bowl.mass_kg / BOWL_SIDES, **panel, **solid, **WHOLE)
        body.add_geom(name=f"{name}_{LABEL}{side}", rgba=(*bowl.rgb, 1.0), **panel, **PLAIN)


def _panel_turn(angle: float, lean: float) -> np.ndarray:
    """(4,) quaternion: about z by ``angle``, then the panel's top leans outwards by ``lean``."""
    turn, tilt, both = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), angle)
    mujoco.mju_axisAngle2Quat(tilt, np.array([0.0, 1.0, 0.0]), lean)
    mujoco.mju_mulQuat(both, turn, tilt)
    return both
