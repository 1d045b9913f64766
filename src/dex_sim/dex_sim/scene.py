# SPDX-License-Identifier: Apache-2.0
"""What a seed decides: where the objects stand and what the picture looks like."""
from __future__ import annotations

import itertools
from dataclasses import dataclass, fields

import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.config import ObjectConfig, TaskConfig
from dex_sim.model import CAMERA
from dex_sim.objects import LABEL

MIN_GAP_M = 0.02
CAN_COLOURS = ((0.78, 0.08, 0.07), (0.85, 0.20, 0.10), (0.65, 0.05, 0.08), (0.82, 0.12, 0.20))
TABLE_COLOURS = ((0.72, 0.62, 0.50), (0.55, 0.42, 0.30), (0.70, 0.70, 0.70), (0.48, 0.52, 0.50), (0.80, 0.76, 0.68))
CAMERA_SHIFT_M, CAMERA_TURN_RAD, CAMERA_ZOOM_DEG = 0.006, 0.008, 0.4


@dataclass(frozen=True)
class Visual:
    """The model fields that a reset may change, copies, read-only. Field names are those of MjModel and its headlight."""

    geom_rgba: NDArray[np.float32]
    light_pos: NDArray[np.float64]
    light_dir: NDArray[np.float64]
    light_diffuse: NDArray[np.float32]
    cam_pos: NDArray[np.float64]
    cam_quat: NDArray[np.float64]
    cam_fovy: NDArray[np.float64]
    head_ambient: NDArray[np.float32]
    head_diffuse: NDArray[np.float32]

    @staticmethod
    def of(model: mujoco.MjModel) -> Visual:
        """The visual fields of a model as they are now."""
        head = model.vis.headlight
        values = {"head_ambient": head.ambient, "head_diffuse": head.diffuse}
        arrays = {f.name: np.array(values.get(f.name, getattr(model, f.name, None))) for f in fields(Visual)}
        for array in arrays.values():
            array.setflags(write=False)
        return Visual(**arrays)

    def apply(self, model: mujoco.MjModel) -> None:
        """Writes the fields into a model of the same cell."""
        for field in fields(self):
            if not field.name.startswith("head_"):
                getattr(model, field.name)[:] = getattr(self, field.name)
        model.vis.headlight.ambient[:] = self.head_ambient
        model.vis.headlight.diffuse[:] = self.head_diffuse


def place_objects(task: TaskConfig, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Start positions (x, y) in m of each object, uniform in its region, never closer to another than 2 cm."""
    while True:
        spots = {}
        for name, thing in task.objects.items():
            spots[name] = np.array([rng.uniform(*thing.region.x_m), rng.uniform(*thing.region.y_m)])
        if all(_apart(spots, task.objects, first, second) for first, second in itertools.combinations(spots, 2)):
            return spots


def _apart(spots: dict[str, NDArray[np.float64]], things: dict[str, ObjectConfig], first: str, second: str) -> bool:
    room = things[first].radius_m + things[second].radius_m + MIN_GAP_M
    return bool(np.linalg.norm(spots[first] - spots[second]) > room)


def randomise_look(
    model: mujoco.MjModel, nominal: Visual, rng: np.random.Generator, objects: dict[str, ObjectConfig], own: np.random.Generator | None = None
) -> Visual:
    """Draws colours, light and camera jitter around ``nominal``, writes them into ``model`` and returns them.

    Args:
        model: of the cell.
        nominal: the looks to jitter.
        rng: for cans, room, light and camera; draws as often whatever other objects there are.
        objects: everything there may be on the table.
        own: for the objects that are no cans; ``rng`` when left out.
    """
    nominal.apply(model)
    _paint(model, rng, [name for name, thing in objects.items() if thing.kind == "can"])
    _paint_others(model, rng if own is None else own, [name for name, thing in objects.items() if thing.kind != "can"])
    model.light_pos[:] += rng.uniform(-0.4, 0.4, model.light_pos.shape)
    model.light_dir[:] = np.array([0.35, 0.0, 0.0]) - model.light_pos
    model.light_dir[:] /= np.linalg.norm(model.light_dir, axis=1, keepdims=True)
    warmth = 1.0 + rng.uniform(-0.12, 0.12) * np.array([1.0, 0.0, -1.0])
    model.light_diffuse[:] = nominal.light_diffuse * rng.uniform(0.6, 1.35, (model.nlight, 1)) * warmth
    model.vis.headlight.ambient[:] = nominal.head_ambient * rng.uniform(0.75, 1.25)
    model.vis.headlight.diffuse[:] = nominal.head_diffuse * rng.uniform(0.5, 1.3)
    _jitter_camera(model, rng)
    return Visual.of(model)


def _paint(model: mujoco.MjModel, rng: np.random.Generator, cans: list[str]) -> None:
    base = np.array(CAN_COLOURS[rng.integers(len(CAN_COLOURS))])
    for name in cans:
        model.geom(f"{name}_{LABEL}").rgba[:3] = np.clip(base + rng.uniform(-0.05, 0.05, 3), 0.0, 1.0)
        model.geom(f"{name}_band").rgba[:3] = np.clip(np.array([0.93, 0.91, 0.82]) + rng.uniform(-0.1, 0.07, 3), 0.0, 1.0)
    table = np.array(TABLE_COLOURS[rng.integers(len(TABLE_COLOURS))])
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] == model.body("table").id:
            model.geom_rgba[geom, :3] = np.clip(table + rng.uniform(-0.06, 0.06, 3), 0.0, 1.0)
    for name in ("floor", "wall"):
        model.geom(name).rgba[:3] = np.clip(model.geom(name).rgba[:3] + rng.uniform(-0.12, 0.12), 0.0, 1.0)


def _paint_others(model: mujoco.MjModel, rng: np.random.Generator, names: list[str]) -> None:
    """Fruits and bowl: every part of one thing brighter or darker alike, its hue a little off."""
    for name in names:
        tint = rng.uniform(0.85, 1.12) * (1.0 + rng.uniform(-0.06, 0.06, 3))
        for geom in range(model.ngeom):
            if model.geom_bodyid[geom] == model.body(name).id:
                model.geom_rgba[geom, :3] = np.clip(model.geom_rgba[geom, :3] * tint, 0.0, 1.0)


def _jitter_camera(model: mujoco.MjModel, rng: np.random.Generator) -> None:
    camera = model.camera(CAMERA).id
    model.cam_pos[camera] += rng.uniform(-CAMERA_SHIFT_M, CAMERA_SHIFT_M, 3)
    turn, turned = np.zeros(4), np.zeros(4)
    axis = rng.uniform(-1.0, 1.0, 3)
    mujoco.mju_axisAngle2Quat(turn, axis / np.linalg.norm(axis), rng.uniform(-CAMERA_TURN_RAD, CAMERA_TURN_RAD))
    mujoco.mju_mulQuat(turned, model.cam_quat[camera], turn)
    model.cam_quat[camera] = turned
    model.cam_fovy[camera] += rng.uniform(-CAMERA_ZOOM_DEG, CAMERA_ZOOM_DEG)
