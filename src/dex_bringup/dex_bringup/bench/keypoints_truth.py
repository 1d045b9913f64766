# SPDX-License-Identifier: Apache-2.0
"""Where keypoints are and which are seen according to MuJoCo alone: its kinematics, its camera, its rays, its depth picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig, load_task
from dex_core.types import Array
from dex_perception.keypoints.layout import Instance
from dex_sim.bodies import VISUAL_GROUP
from dex_sim.model import CAMERA, build_model, objects_of
from dex_sim.render import CellRenderer
from dex_sim.scene import Visual
from dex_sim.world import WorldState

SKIN_M = 0.001


class Seen(NamedTuple):
    """Of k points: ``uv`` (k, 2) pixels of the native picture, NaN for a point that is not there or behind the camera; ``visible`` (k,);
    ``by`` (k,) what hides it: the body's name, or empty."""

    uv: Array
    visible: NDArray[np.bool_]
    by: tuple[str, ...]


class Truth:
    """A simulated cell that is posed, not stepped.

    Args:
        cell: with at least one camera.
        instances: whose points are asked for; only their names of links and what is a point's own are taken from them.
    """

    def __init__(self, cell: CellConfig, instances: Sequence[Instance]) -> None:
        tasks = [load_task(name) for name in cell.sim.every_task]
        self.model = build_model(cell, tasks)
        self._data = mujoco.MjData(self.model)
        self._cell, self._camera = cell, next(iter(cell.cameras.values()))
        self._points = [point for instance in instances for point in instance.points]
        self._joints = [self.model.joint(name).qposadr[0] for name in cell.joint_names]
        self.objects = tuple(objects_of(tasks))
        self._parked = self._data.qpos.copy()
        self._renderer = CellRenderer(self.model, *self._camera.native_wh)
        self._group = np.zeros(mujoco.mjNGROUP, dtype=np.uint8)
        self._group[VISUAL_GROUP] = 1

    def close(self) -> None:
        """Frees the renderer."""
        self._renderer.close()

    def pose(self, position_rad: Array, objects: dict[str, Array]) -> None:
        """Joints in the order of ``cell.joint_names``; objects by name at (7,) position and quaternion, the others away."""
        qpos = self._data.qpos
        qpos[:] = self._parked
        qpos[self._joints] = position_rad
        for equality in range(self.model.neq):  # joints that follow others, as MuJoCo itself defines it
            if self.model.eq_type[equality] == mujoco.mjtEq.mjEQ_JOINT:
                follower, leader = self.model.eq_obj1id[equality], self.model.eq_obj2id[equality]
                q = qpos[self.model.jnt_qposadr[leader]]
                qpos[self.model.jnt_qposadr[follower]] = np.polyval(self.model.eq_data[equality][4::-1], q)
        for name, place in objects.items():
            start = self.model.joint(name).qposadr[0]
            qpos[start : start + 7] = place
        mujoco.mj_kinematics(self.model, self._data)
        mujoco.mj_camlight(self.model, self._data)

    @property
    def camera_m(self) -> Array:
        """(3,) the camera's centre in the world."""
        return self._data.cam_xpos[self.model.camera(CAMERA).id].copy()

    def place(self, link: str) -> Array:
        """(3,) origin of a link in the world [m]."""
        return self._data.xpos[self.model.body(link).id].copy()

    def seen(self) -> Seen:
        """Every point of the pose."""
        found = [self._look(point.link, point.own, point.flesh_m) if point.link else (np.full(2, np.nan), False, "") for point in self._points]
        uv, visible, by = zip(*found, strict=True)
        return Seen(np.array(uv), np.array(visible), tuple(by))

    def depth(self) -> NDArray[np.float32]:
        """The depth picture as the camera's node publishes it [m]."""
        state = WorldState(0, self._data.qpos.copy(), 0, Visual.of(self.model))
        x, y, w, h = self._camera.crop_xywh
        return cv2.resize(self._renderer.depth(state)[y : y + h, x : x + w], self._camera.output_wh, interpolation=cv2.INTER_NEAREST)

    def _look(self, link: str, own: frozenset[str], flesh_m: float) -> tuple[Array, bool, str]:
        camera = self.model.camera(CAMERA).id
        eye, axes = self._data.cam_xpos[camera], self._data.cam_xmat[camera].reshape(3, 3)
        way = self.place(link) - eye
        right, up, back = axes.T @ way
        width, height = self._camera.native_wh
        if -back <= 0.0:
            return np.full(2, np.nan), False, ""
        focal = 0.5 * height / np.tan(0.5 * np.radians(self.model.cam_fovy[camera]))
        uv = np.array([0.5 * (width - 1) + focal * right / -back, 0.5 * (height - 1) + focal * up / back])
        distance = float(np.linalg.norm(way))
        geom = np.full(1, -1, dtype=np.int32)
        met = mujoco.mj_ray(self.model, self._data, eye, way / distance, self._group, 1, -1, geom)
        name = self.model.body(self.model.geom_bodyid[geom[0]]).name if geom[0] >= 0 else ""
        hidden = geom[0] >= 0 and distance - met > (flesh_m if name in own else SKIN_M)
        return uv, not hidden, name if hidden else ""
