# SPDX-License-Identifier: Apache-2.0
"""A random table with things on it, seen by a depth camera: picture, noisy and true depth, which pixel is which thing, and the things' surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.devices.camera import Intrinsics
from dex_core.errors import DexError
from dex_learn.tabletop.draw import CAMERA, Drawn, draw
from dex_learn.tabletop.looks import expose, paint, two_coloured
from dex_learn.tabletop.mesh import Mesh
from dex_learn.tabletop.noise import LEVELS, add_noise
from dex_learn.tabletop.objects import draw_thing
from dex_learn.tabletop.placing import Placed, place_all
from dex_learn.tabletop.robot import draw_robot

Array = NDArray[np.float64]
SIZE_WH = (320, 240)
OBJECTS = (2, 8)
ROBOT_SHARE = 0.35
FRONT_SHARE = 0.5
"""Of the cameras that look from about where the cell's front camera stands."""
FRONT_POSITION_M, FRONT_LOOK_AT_M, FRONT_FOVY_RAD = np.array([1.20, 0.0, 0.80]), np.array([0.37, 0.0, 0.09]), 0.89
FLOOR_M = -0.75
NEAR_M, FAR_M = 0.05, 12.0
OPTICAL = np.diag([1.0, -1.0, -1.0])
"""From a camera of MuJoCo (y up, looking along -z) to an optical frame (y down, looking along z)."""
WALL_SHARE = 0.6
TWO_COLOURED_SHARE = 0.25
"""Of the things of the varied split: painted in another colour beyond a plane through them."""


@dataclass(frozen=True)
class RenderedScene:
    """One picture with all that is true of it.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 as a camera measures it, NaN where it sees nothing. depth_true_m: without noise.
        labels: (H, W) int32, 0 for table, room and robot, k for thing k - 1 of the lists below; a hidden thing has no pixel.
        names: family of each thing. colours: word for each thing's colour. trained: whether its family is one that is trained on.
        poses_in_world: (n, 4, 4) of the things' own frames.
        surfaces: per thing (M, 3) points [m] and (M, 3) outward normals in its own frame.
        intrinsics, pose_camera_in_world: of the camera; (4, 4), optical frame.
        noise: name of the level of noise.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    depth_true_m: NDArray[np.float32]
    labels: NDArray[np.int32]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    trained: tuple[bool, ...]
    poses_in_world: Array
    surfaces: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    intrinsics: Intrinsics
    pose_camera_in_world: Array
    noise: str


def render(rng: np.random.Generator, split: str = "train", n_objects: int | None = None, noise: str | None = None) -> RenderedScene:
    """Draws a scene; the same generator state gives the same scene.

    Args:
        rng: of everything.
        split: ``train``, ``unseen`` or ``varied``.
        n_objects: how many things are put on the table (2 to 8 at random when left out); in a crowd the last ones may find no place.
        noise: level of depth noise, one of ``noise.LEVELS``; any of low, typical and high when left out.

    Raises:
        DexError: ``bad_argument``.
    """
    if noise is not None and noise not in LEVELS:
        raise DexError(f"noise {noise!r}; allowed: {list(LEVELS)}", code="bad_argument")
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1)) if n_objects is None else n_objects
    if count < 1:
        raise DexError(f"n_objects {count}; at least 1", code="bad_argument")
    low, high = np.array([-0.25, -0.8]), np.array([0.85, 0.8])  # the table top
    middle = np.array([0.4, 0.0]) + rng.normal(0.0, (0.06, 0.12))
    placed = place_all(rng, [draw_thing(rng, split) for _ in range(count)], middle, rng.uniform(0.05, 0.2), low, high)
    pose, intrinsics = _camera(rng, middle)
    robot = draw_robot(rng, middle, placed) if rng.random() < ROBOT_SHARE else None
    model, owner, base = _model(rng, placed, robot, (low, high), pose, intrinsics)
    seen = draw(model, *SIZE_WH)
    level = str(rng.choice(["low", "typical", "high"], p=[0.3, 0.5, 0.2])) if noise is None else noise
    return _finish(rng, seen, placed, owner, base, pose, intrinsics, level, TWO_COLOURED_SHARE if split == "varied" else 0.0)


def _camera(rng: np.random.Generator, middle: Array) -> tuple[Array, Intrinsics]:
    """Pose (4, 4) of the optical frame in the world, and the lens."""
    if rng.random() < FRONT_SHARE:
        position, target = FRONT_POSITION_M + rng.normal(0.0, 0.06, 3), FRONT_LOOK_AT_M + rng.normal(0.0, 0.04, 3)
        fovy = FRONT_FOVY_RAD + rng.uniform(-0.06, 0.06)
    else:
        around, up, away = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.4), rng.uniform(0.45, 1.4)
        target = np.array([*(middle + rng.normal(0.0, 0.05, 2)), 0.04])
        position = target + away * np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
        fovy = rng.uniform(0.7, 1.1)
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    roll = rng.normal(0.0, 0.05)
    right = np.cos(roll) * right + np.sin(roll) * np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], axis=1), position
    return pose, Intrinsics.of_view(SIZE_WH, float(fovy))


def _model(
    rng: np.random.Generator, placed: list[Placed], robot: tuple[list[Mesh], Any] | None, table: tuple[Array, Array], pose: Array, lens: Intrinsics,
) -> tuple[mujoco.MjModel, NDArray[np.int32], NDArray[np.float32]]:
    """The model; per geom the thing it belongs to (1..n, 0 the table, -1 the rest) and the colour it was given."""
    spec = mujoco.MjSpec()
    spec.visual.quality.shadowsize = spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = SIZE_WH
    spec.stat.extent, spec.visual.map.znear, spec.visual.map.zfar = 1.0, NEAR_M, FAR_M
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = np.full(3, rng.uniform(0.2, 0.45)), np.full(3, rng.uniform(0.1, 0.5))
    world, owner = spec.worldbody, []
    low, high = table
    half = 0.5 * (high - low)
    _solid(world, owner, 0, mujoco.mjtGeom.mjGEOM_BOX, (*half, 0.02), (*(0.5 * (low + high)), -0.02), rng.uniform(0.1, 0.95, 3))
    _solid(world, owner, -1, mujoco.mjtGeom.mjGEOM_BOX, (6.0, 6.0, 0.01), (0.0, 0.0, FLOOR_M - 0.01), rng.uniform(0.1, 0.9, 3))
    if rng.random() < WALL_SHARE:
        _solid(world, owner, -1, mujoco.mjtGeom.mjGEOM_BOX, (0.02, 6.0, 3.0), (-rng.uniform(0.5, 2.0), 0.0, 1.0), rng.uniform(0.1, 0.9, 3))
    for number, item in enumerate(placed, 1):
        turn, offset = item.pose_in_world[:3, :3], item.pose_in_world[:3, 3]
        for mesh, rgb in zip(item.thing.meshes, item.thing.rgb, strict=True):
            _shaped(spec, owner, number, mesh.moved(offset, turn), rgb, rng.uniform(0.0, 0.8))
    for mesh in robot[0] if robot else ():
        _shaped(spec, owner, -1, mesh, robot[1] if robot else (0.5, 0.5, 0.5), 0.3)
    world.add_camera(
        name=CAMERA, pos=pose[:3, 3], quat=_quaternion(pose[:3, :3] @ OPTICAL), fovy=float(np.rad2deg(2.0 * np.arctan(0.5 * lens.height / lens.fy))),
    )
    for _ in range(int(rng.integers(1, 3))):
        spot = np.array([rng.uniform(-0.6, 1.4), rng.uniform(-1.2, 1.2), rng.uniform(1.2, 2.2)])
        aim = np.array([0.4, 0.0, 0.0]) - spot
        world.add_light(pos=spot, dir=aim / np.linalg.norm(aim), diffuse=np.full(3, rng.uniform(0.3, 0.8)), castshadow=False)
    model = spec.compile()
    return model, np.array(owner, np.int32), model.geom_rgba[:, :3].copy()


def _solid(world: Any, owner: list[int], number: int, kind: Any, size: Any, pos: Any, rgb: Any) -> None:
    world.add_geom(type=kind, size=size, pos=pos, rgba=(*rgb, 1.0), contype=0, conaffinity=0)
    owner.append(number)


def _shaped(spec: mujoco.MjSpec, owner: list[int], number: int, mesh: Mesh, rgb: Any, shine: float) -> None:
    name = f"part{len(owner)}"
    asset = spec.add_mesh(name=name, uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel().astype(np.int32))
    asset.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    material = spec.add_material(name=name, rgba=(*rgb, 1.0), specular=shine, shininess=0.5 * shine)
    geom = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=0, conaffinity=0, rgba=(*rgb, 1.0))
    geom.material = material.name
    owner.append(number)


def _quaternion(turn: Array) -> Array:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, turn.ravel())
    return quaternion


def _finish(
    rng: np.random.Generator, seen: Drawn, placed: list[Placed], owner: NDArray[np.int32], base: NDArray[np.float32], pose: Array, lens: Intrinsics,
    level: str, two_coloured_share: float,
) -> RenderedScene:
    """Paints patterns, exposes, adds noise."""
    shown = np.where(seen.geom >= 0, owner[seen.geom], -1)
    points = _points_in_world(seen.depth_m, pose, lens)
    rgb = seen.rgb.reshape(-1, 3) / 255.0
    flat, colours = shown.ravel(), base[np.maximum(seen.geom, 0)].reshape(-1, 3)
    here = np.flatnonzero(flat == 0)
    rgb[here] = paint(rgb[here], points[here] * [1.0, 1.0, 0.0], colours[here], rng, (0.01, 0.3))
    for number, item in enumerate(placed, 1):
        here = np.flatnonzero(flat == number)
        local = (points[here] - item.pose_in_world[:3, 3]) @ item.pose_in_world[:3, :3]
        if two_coloured_share and rng.random() < two_coloured_share:
            rgb[here], colours[here] = two_coloured(rgb[here], local, colours[here], rng)
        rgb[here] = paint(rgb[here], local, colours[here], rng, (0.006, 0.06))
    picture = expose(rgb.reshape(seen.rgb.shape), rng)
    depth = add_noise(seen.depth_m, picture, lens.fx, LEVELS[level], rng)
    things = [item.thing for item in placed]
    return RenderedScene(
        rgb=picture, depth_m=depth, depth_true_m=seen.depth_m, labels=np.maximum(shown, 0).astype(np.int32),
        names=tuple(t.name for t in things), colours=tuple(t.colour for t in things), trained=tuple(t.trained for t in things),
        poses_in_world=np.array([item.pose_in_world for item in placed]).reshape(-1, 4, 4), surfaces=tuple(t.surface(rng) for t in things),
        intrinsics=lens, pose_camera_in_world=pose, noise=level,
    )


def _points_in_world(depth_m: NDArray[np.float32], pose: Array, lens: Intrinsics) -> Array:
    """(H W, 3)."""
    v, u = np.mgrid[: lens.height, : lens.width]
    rays = np.stack([(u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy, np.ones(u.shape)], axis=-1)
    return (rays * depth_m[..., None]).reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
