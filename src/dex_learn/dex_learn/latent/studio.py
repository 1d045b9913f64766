# SPDX-License-Identifier: Apache-2.0
"""One hand drawn off screen in any posture, always from the same place, on even paper."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from dex_core.config import RobotConfig
from dex_core.errors import DexError
from dex_core.retarget import TargetHand
from dex_core.types import Array

if TYPE_CHECKING:
    from PIL import Image

PAPER = (244, 245, 246)
EYE_RAD = (-0.5, 0.22)
"""Azimuth and elevation of the eye before the palm; a left hand is seen as a right one in a mirror."""
ROOM = 1.06
"""Picture to hand, so that it does not touch the rim."""
FOVY_DEG = 24.0
FINER = 2
"""Drawn so many times larger and made small again: smooth edges."""
VISUAL_GROUP = 1


class Studio:
    """A hand before a camera.

    Args:
        robot, side: the hand.
        size_wh: of the pictures [px].

    Raises:
        DexError: this machine cannot draw off screen.
    """

    def __init__(self, robot: RobotConfig, side: str, size_wh: tuple[int, int]) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")
        import mujoco

        from dex_sim.model import build_robot_model

        self._model, self._size, self._hand = build_robot_model(robot, side), size_wh, TargetHand.load(robot.name, side)
        self._data = mujoco.MjData(self._model)
        light = self._model.vis.headlight
        light.ambient[:], light.diffuse[:], light.specular[:] = 0.45, 0.55, 0.1
        scene = self._model.vis.global_
        scene.fovy, scene.offwidth, scene.offheight = FOVY_DEG, FINER * size_wh[0], FINER * size_wh[1]
        self._camera = mujoco.MjvCamera()
        self._turn = EYE_RAD[0] if side == "right" else -EYE_RAD[0]
        self._camera.azimuth, self._camera.elevation = math.degrees(self._turn) + 180.0, -math.degrees(EYE_RAD[1])
        self._model.vis.quality.numslices, self._model.vis.quality.numstacks = 48, 32
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISUAL_GROUP] = 1
        try:
            self._renderer = mujoco.Renderer(self._model, FINER * size_wh[1], FINER * size_wh[0])
        except (mujoco.FatalError, RuntimeError, AttributeError, ImportError, OSError) as error:
            way = os.environ["MUJOCO_GL"]
            text = f"this machine cannot draw off screen with MUJOCO_GL={way}: {error}; apt install libegl1 libgl1-mesa-dri"
            raise DexError(text, code="no_renderer") from error

    def look_at(self, postures: Array) -> None:
        """Places the camera so that the hand is in the picture in all of (k, n) postures [rad]; it stays there."""
        azimuth, elevation = self._turn, EYE_RAD[1]
        across = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        up = np.array([-math.sin(elevation) * math.cos(azimuth), -math.sin(elevation) * math.sin(azimuth), math.cos(elevation)])
        shown = self._model.geom_group == VISUAL_GROUP
        radius = self._model.geom_rbound[shown]
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        centre = np.zeros(3)
        for q in postures:
            self._stand(q)
            points = self._data.geom_xpos[shown]
            centre += points.mean(axis=0) / len(postures)
            flat = points @ np.stack([across, up], axis=1)  # (geoms, 2)
            low, high = np.minimum(low, (flat - radius[:, None]).min(axis=0)), np.maximum(high, (flat + radius[:, None]).max(axis=0))
        middle = 0.5 * (low + high) - centre @ np.stack([across, up], axis=1)
        self._camera.lookat[:] = centre + middle[0] * across + middle[1] * up
        width, height = high - low
        self._camera.distance = 0.5 * ROOM * max(height, width * self._size[1] / self._size[0]) / math.tan(math.radians(FOVY_DEG) / 2.0)

    def picture(self, q: Array) -> Image.Image:
        """The hand at (n,) actuated joints [rad]."""
        from PIL import Image

        self._stand(q)
        self._renderer.update_scene(self._data, self._camera, self._option)
        colour = self._renderer.render().copy()
        self._renderer.enable_segmentation_rendering()
        nothing = self._renderer.render()[:, :, 0] < 0
        self._renderer.disable_segmentation_rendering()
        colour[nothing] = PAPER
        return Image.fromarray(np.ascontiguousarray(colour)).resize(self._size, Image.Resampling.LANCZOS)

    def _stand(self, q: Array) -> None:
        import mujoco

        tree = self._hand.kinematics.tree
        positions, _ = tree.expand(q)
        for name, position in zip(tree.joints, positions, strict=True):
            self._data.qpos[self._model.joint(name).qposadr[0]] = position
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def close(self) -> None:
        """Gives the renderer back."""
        self._renderer.close()
