# SPDX-License-Identifier: Apache-2.0
"""Pictures of recorded states, each with looks of its own, and where the keypoints lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CameraConfig, CellConfig, load_task
from dex_core.errors import DexError
from dex_core.images import crop_and_resize
from dex_description.compose import TABLE_CENTRE_M, TABLE_SIZE_M
from dex_learn.policy.layout import OBJECTS, to_input
from dex_learn.policy.vision import POINT_OF, TAUGHT
from dex_learn.progress import progress
from dex_sim.render import CellRenderer
from dex_sim.scene import Visual, randomise_look
from dex_sim.world import World, WorldState

FIXED_POINTS_M = (
    (0.0, 0.40, 0.0), (0.0, -0.40, 0.0),
    (TABLE_CENTRE_M[0] - 0.5 * TABLE_SIZE_M[0], 0.5 * TABLE_SIZE_M[1], 0.0), (TABLE_CENTRE_M[0] - 0.5 * TABLE_SIZE_M[0], -0.5 * TABLE_SIZE_M[1], 0.0),
    (TABLE_CENTRE_M[0] + 0.5 * TABLE_SIZE_M[0], 0.0, 0.0),
)


class Scenes(Protocol):
    """States to draw: qpos (N, nq), tools (N, 2, 4), objects (N, 5, 3) [m] and which are there (N, 5)."""

    qpos: NDArray
    tools: NDArray
    objects: NDArray
    there: NDArray


@dataclass(frozen=True)
class Pictures:
    """N drawn states.

    Attributes:
        image: (N, 224, 224, 3) uint8, through the same functions as on the robot.
        objects: (N, 5, 3) true positions [m]. there: (N, 5) which are in the scene.
        tools: (N, 2, 4) tool poses, x, y, z [m], yaw [rad].
        points: (N, 12, 2) taught keypoints in [-1, 1] of the picture (x right, y down); beyond that: outside of it.
        visible: (N, 12) whether the point exists.
    """

    image: NDArray[np.uint8]
    objects: NDArray[np.float32]
    there: NDArray[np.bool_]
    tools: NDArray[np.float32]
    points: NDArray[np.float32]
    visible: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)

    def save(self, path: Path) -> None:
        """Writes one npz; it appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **{f.name: getattr(self, f.name) for f in fields(self)})
        partial.rename(path)

    @staticmethod
    def load(paths: Sequence[Path]) -> Pictures:
        """All pictures of several files. Raises DexError when there are none."""
        if not paths:
            raise DexError("there are no pictures")
        parts: dict[str, list[NDArray]] = {f.name: [] for f in fields(Pictures)}
        for path in paths:
            with np.load(path, allow_pickle=False) as data:
                for name, values in parts.items():
                    values.append(data[name])
        return Pictures(**{name: np.concatenate(values) for name, values in parts.items()})


def taught_picture(native: NDArray[np.uint8], camera: CameraConfig) -> NDArray[np.uint8]:
    """What the network sees of a camera's native picture: as its node publishes it, then as the policy takes it."""
    return to_input(crop_and_resize(native, camera.crop_xywh, camera.output_wh))


class Painter:
    """Draws states of one cell under random looks. One per process."""

    def __init__(self, cell: CellConfig) -> None:
        self._world = World(cell)
        model = self._world.model
        self._nominal = Visual.of(model)
        self._things = {name: thing for task in self._world.tasks.values() for name, thing in task.objects.items()}
        self._camera: CameraConfig = next(iter(cell.cameras.values()))
        self._renderer = CellRenderer(model, *self._camera.native_wh)
        self._at = [int(model.joint(name).qposadr[0]) for name in OBJECTS]
        self._height_m = load_task("push_cans").objects["left_can"].size_m[2]
        self._epoch = 1_000_000

    def close(self) -> None:
        """Frees the renderer."""
        self._renderer.close()

    def draw(self, qpos: NDArray, there: NDArray, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray, NDArray]:
        """(224, 224, 3) picture, (12, 2) keypoints in [-1, 1] and (12,) whether each exists, of a state (nq,) with the objects ``there`` (5,)."""
        visual = randomise_look(self._world.model, self._nominal, rng, self._things)
        self._epoch += 1
        state = WorldState(0, np.asarray(qpos, dtype=np.float64), self._epoch, visual)
        native = self._renderer.rgb(state)
        picture = taught_picture(native, self._camera)
        points = self._points_m(state.qpos)
        visible = np.array([bool(there[k]) for k in POINT_OF] + [True] * (len(TAUGHT) - len(POINT_OF)))
        return picture, project(points, visual, self._camera), visible

    def _points_m(self, qpos: NDArray) -> NDArray:
        poses = [qpos[a : a + 7] for a in self._at]
        points = []
        for pose in poses[:2]:
            axis = _matrix(pose[3:7]) @ np.array([0.0, 0.0, 0.5 * self._height_m])
            points += [pose[:3] - axis, pose[:3] + axis]
        return np.array([*points, *(pose[:3] for pose in poses[2:]), *FIXED_POINTS_M])


def _matrix(quat: NDArray) -> NDArray:
    """(3, 3) rotation of a unit quaternion w, x, y, z."""
    w, x, y, z = quat
    return np.array([
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ])


def project(points_m: NDArray, visual: Visual, camera: CameraConfig) -> NDArray:
    """World points (n, 3) [m] -> (n, 2) in [-1, 1] of the cropped picture (x right, y down), for the camera of ``visual``."""
    local = (points_m - visual.cam_pos[0]) @ _matrix(visual.cam_quat[0])  # x right, y up, looks along -z
    width, height = camera.native_wh
    focal_px = 0.5 * height / np.tan(0.5 * np.radians(visual.cam_fovy[0]))
    depth = np.where(np.abs(local[:, 2]) < 1e-6, -1e-6, local[:, 2])
    pixel = np.stack([0.5 * width - focal_px * local[:, 0] / depth, 0.5 * height + focal_px * local[:, 1] / depth], axis=1)
    x, y, w, h = camera.crop_xywh
    return (2.0 * (pixel - np.array([x, y])) / np.array([w, h]) - 1.0).astype(np.float32)


def draw_all(cell: CellConfig, scenes: Scenes, seed: int, title: str = "drawing") -> Pictures:
    """Draws states of one cell, each once, under looks that ``seed`` and the row decide."""
    painter, n, taught = Painter(cell), len(scenes.qpos), len(TAUGHT)
    image, points, visible = np.empty((n, 224, 224, 3), np.uint8), np.empty((n, taught, 2), np.float32), np.empty((n, taught), bool)
    try:
        with progress(title, n) as show:
            for i in range(n):
                image[i], points[i], visible[i] = painter.draw(scenes.qpos[i], scenes.there[i], np.random.default_rng([seed, i]))
                if i % 100 == 0:
                    show(i, "")
    finally:
        painter.close()
    return Pictures(
        image, np.asarray(scenes.objects, np.float32), np.asarray(scenes.there, bool), np.asarray(scenes.tools, np.float32), points, visible
    )
