# SPDX-License-Identifier: Apache-2.0
"""Pictures of recorded states, each with looks of its own, and where the keypoints lie in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CameraConfig, CellConfig
from dex_core.images import crop_and_resize, to_policy_input
from dex_description.compose import TABLE_CENTRE_M, TABLE_SIZE_M
from dex_learn.progress import progress
from dex_sim.render import CellRenderer
from dex_sim.scene import Visual, randomise_look
from dex_sim.world import World, WorldState

FIXED_POINTS_M = (
    (0.0, 0.40, 0.0), (0.0, -0.40, 0.0),
    (TABLE_CENTRE_M[0] - 0.5 * TABLE_SIZE_M[0], 0.5 * TABLE_SIZE_M[1], 0.0), (TABLE_CENTRE_M[0] - 0.5 * TABLE_SIZE_M[0], -0.5 * TABLE_SIZE_M[1], 0.0),
    (TABLE_CENTRE_M[0] + 0.5 * TABLE_SIZE_M[0], 0.0, 0.0),
)


@dataclass(frozen=True)
class Pictures:
    """N drawn states.

    Attributes:
        image: (N, 224, 224, 3) uint8, through the same functions as on the robot.
        cans: (N, 4) true positions on the table [m].
        points: (N, 9, 2) taught keypoints in [-1, 1] of the picture (x right, y down); beyond that: outside of it.
        row: (N,) row of the records that was drawn.
    """

    image: NDArray[np.uint8]
    cans: NDArray[np.float32]
    points: NDArray[np.float32]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)


class Painter:
    """Draws states of one cell under random looks. One per process."""

    def __init__(self, cell: CellConfig) -> None:
        self._world = World(cell)
        self._nominal = Visual.of(self._world.model)
        self._camera: CameraConfig = next(iter(cell.cameras.values()))
        self._renderer = CellRenderer(self._world.model, *self._camera.native_wh)
        self._can_at = {name: int(self._world.model.joint(name).qposadr[0]) for name in ("left_can", "right_can")}
        self._height_m = self._world.task.objects["left_can"].size_m[2]
        self._epoch = 1_000_000

    def draw(self, qpos: NDArray, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray, NDArray]:
        """(224, 224, 3) picture, (9, 2) keypoints in [-1, 1], (4,) cans [m] of a state (nq,)."""
        visual = randomise_look(self._world.model, self._nominal, rng, self._world.task.objects)
        self._epoch += 1
        state = WorldState(0, np.asarray(qpos, dtype=np.float64), self._epoch, visual)
        native = self._renderer.rgb(state)
        picture = to_policy_input(crop_and_resize(native, self._camera.crop_xywh, self._camera.output_wh))
        poses = [state.qpos[a : a + 7] for a in self._can_at.values()]
        points = []
        for pose in poses:
            axis = _rotate(pose[3:7], np.array([0.0, 0.0, 0.5 * self._height_m]))
            points += [pose[:3] - axis, pose[:3] + axis]
        pixels = project(np.array([*points, *FIXED_POINTS_M]), visual, self._camera)
        return picture, pixels, np.concatenate([pose[:2] for pose in poses])


def _rotate(quat: NDArray, vector: NDArray) -> NDArray:
    return _matrix(quat) @ vector


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
    pixel = np.stack([0.5 * width - focal_px * local[:, 0] / local[:, 2], 0.5 * height + focal_px * local[:, 1] / local[:, 2]], axis=1)
    x, y, w, h = camera.crop_xywh
    return (2.0 * (pixel - np.array([x, y])) / np.array([w, h]) - 1.0).astype(np.float32)


def draw_all(cell: CellConfig, qpos: NDArray, rows: NDArray[np.intp], seed: int, title: str = "drawing") -> Pictures:
    """Draws the given rows of (N, nq) states, each once, under looks that ``seed`` and the place in ``rows`` decide."""
    painter = Painter(cell)
    n = len(rows)
    image, points, cans = np.empty((n, 224, 224, 3), np.uint8), np.empty((n, 9, 2), np.float32), np.empty((n, 4), np.float32)
    with progress(title, n) as show:
        for i, row in enumerate(rows):
            image[i], points[i], cans[i] = painter.draw(qpos[row], np.random.default_rng([seed, i]))
            if i % 100 == 0:
                show(i, "")
    return Pictures(image, cans, points, np.asarray(rows, dtype=np.int64))
