# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo model of a cell, built from the same description that ROS publishes: robots, table, objects, camera and lights."""
from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from dex_core.config import CameraConfig, CellConfig, ObjectConfig, RobotConfig, TaskConfig
from dex_core.config.load import default_home
from dex_core.errors import ConfigError
from dex_description import RobotDescription, camera_rotation, compose_cell_urdf, interface_description, parse_urdf, read_urdf
from dex_sim.bodies import BOX, COLLISION_GROUP, TABLE_BIT, VISUAL_GROUP, add_robot_tree
from dex_sim.objects import add_object
from dex_sim.servos import Servo, servos_of

CAMERA = "front"
ROBOT_FRICTION = 0.35
TABLE_FRICTION = 0.3
GRIP_STIFFNESS = 10.0
"""Of friction beside that of the contacts' normals. At 3 a fruit creeps out of a pinch whose contacts do not quite face each other: out of
Ability's (30 degrees) within 3 s, here by 4 mm. At 20 a hand that leaves a can draws it along, from 40 on the squeeze throws the fruit about."""


def build_model(cell: CellConfig, tasks: TaskConfig | Sequence[TaskConfig]) -> mujoco.MjModel:
    """Compiles the model of one cell with the objects of its tasks. Time step 1 / sim.rate_hz, z = 0 is the table's top.

    Raises:
        ConfigError: two tasks have an object of the same name.
    """
    spec = mujoco.MjSpec()
    spec.modelname = cell.name
    _set_options(spec, 1.0 / cell.sim.rate_hz)
    _add_room(spec)
    description = parse_urdf(compose_cell_urdf(cell))
    add_robot_tree(spec, description, _servos(cell, description), ROBOT_FRICTION, _body_links(cell))
    for name, thing in objects_of(tasks).items():
        add_object(spec, name, thing)
    for camera in cell.cameras.values():
        _add_camera(spec, CAMERA, camera)
        break
    return spec.compile()


def objects_of(tasks: TaskConfig | Sequence[TaskConfig]) -> dict[str, ObjectConfig]:
    """The objects of all tasks by name. Raises ConfigError when two share a name."""
    found: dict[str, ObjectConfig] = {}
    for task in (tasks,) if isinstance(tasks, TaskConfig) else tasks:
        both = sorted(set(found) & set(task.objects))
        if both:
            raise ConfigError(f"task {task.name!r} names the objects {both}, which another task of the cell has too")
        found.update(task.objects)
    return found


def build_robot_model(robot: RobotConfig, side: str = "right", rate_hz: float = 500.0) -> mujoco.MjModel:
    """Compiles one arm or hand alone, its root link fixed at the origin, joints named without prefix.

    Args:
        side: of a hand: left or right; an arm has the same description on both.
        rate_hz: physics rate.
    """
    spec, robot = mujoco.MjSpec(), robot.for_side(side)
    spec.modelname = robot.name
    _set_options(spec, 1.0 / rate_hz)
    description = parse_urdf(read_urdf("urdf/" + robot.urdf.format(side=side)))
    add_robot_tree(spec, description, servos_of(robot, description, default_home(robot)), ROBOT_FRICTION)
    return spec.compile()


def _servos(cell: CellConfig, description: RobotDescription) -> dict[str, Servo]:
    home: dict[str, float] = {}
    for interface in cell.interfaces.values():
        home.update(zip(interface.names, interface.home, strict=True))
    servos: dict[str, Servo] = {}
    for interface in cell.interfaces.values():
        servos.update(servos_of(interface.robot, description, home, interface.prefix))
    return servos


def _body_links(cell: CellConfig) -> frozenset[str]:
    bodies = [interface for interface in cell.interfaces.values() if not interface.prefix]
    return frozenset(link.name for interface in bodies for link in interface_description(interface).links)


def _set_options(spec: mujoco.MjSpec, timestep_s: float) -> None:
    spec.compiler.degree = False
    spec.compiler.balanceinertia = True
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = GRIP_STIFFNESS
    spec.option.iterations = 30
    spec.option.ls_iterations = 15
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.quality.numslices = 12
    spec.visual.quality.numstacks = 4
    spec.visual.global_.offwidth = 960
    spec.visual.global_.offheight = 540
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 10.0


def _add_room(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_geom(
        name="table_top", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(1.0, 1.0, 0.1), group=COLLISION_GROUP, contype=TABLE_BIT,
        conaffinity=0, friction=(TABLE_FRICTION, 0.005, 0.0001),
    )
    plain = {"contype": 0, "conaffinity": 0, "group": VISUAL_GROUP}
    world.add_geom(name="floor", type=BOX, size=(4.0, 4.0, 0.05), pos=(0.0, 0.0, -0.85), rgba=(0.45, 0.47, 0.50, 1.0), **plain)
    world.add_geom(name="wall", type=BOX, size=(0.05, 4.0, 2.0), pos=(-1.3, 0.0, 0.6), rgba=(0.80, 0.82, 0.84, 1.0), **plain)
    for name, position in (("key", (1.0, 0.8, 1.8)), ("fill", (0.6, -1.0, 1.6))):
        world.add_light(
            name=name, pos=position, dir=tuple(np.subtract((0.35, 0.0, 0.0), position)), castshadow=False,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, diffuse=(0.4, 0.4, 0.4), ambient=(0.0, 0.0, 0.0), specular=(0.15, 0.15, 0.15),
        )


def _add_camera(spec: mujoco.MjSpec, name: str, camera: CameraConfig) -> None:
    forward, left, up = camera_rotation(camera).T
    rotation = np.stack([-left, up, -forward], axis=1)  # MuJoCo: x right, y up, looks along -z
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    carrier = spec.worldbody if camera.mounted_on == "world" else spec.body(camera.mounted_on)
    carrier.add_camera(name=name, pos=camera.centre_m, quat=quat, fovy=np.degrees(camera.fovy_rad))
