# SPDX-License-Identifier: Apache-2.0
"""Renders snapshots of a world off screen, in any process."""
from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ShapeError
from dex_sim.bodies import VISUAL_GROUP
from dex_sim.world import WorldState

SLOW_FLAGS = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_FOG, mujoco.mjtRndFlag.mjRND_HAZE)


class CellRenderer:
    """Draws one camera of a model of a cell. One thread only: an OpenGL context belongs to the thread that made it.

    Args:
        model: the cell's model; the renderer writes each epoch's looks into it, so give it a copy of its own
            when a World uses the same one in another thread.
        width, height: picture size in pixels.
        camera: name of the camera in the model.
    """

    def __init__(self, model: mujoco.MjModel, width: int = 960, height: int = 540, camera: str = "front") -> None:
        self._model, self._camera = model, camera
        self._data = mujoco.MjData(model)
        self._renderer = mujoco.Renderer(model, height, width)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISUAL_GROUP] = 1
        self._epoch: int | None = None
        self.size_wh = (width, height)

    def rgb(self, state: WorldState) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 picture of ``state``."""
        self._pose(state)
        return self._renderer.render()

    def depth(self, state: WorldState) -> NDArray[np.float32]:
        """(height, width) float32 distance along the view axis in m."""
        self._pose(state)
        self._renderer.enable_depth_rendering()
        try:
            return self._renderer.render()
        finally:
            self._renderer.disable_depth_rendering()

    def close(self) -> None:
        """Frees the OpenGL context; any number of times."""
        self._renderer.close()

    def __enter__(self) -> CellRenderer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _pose(self, state: WorldState) -> None:
        if state.qpos.shape != (self._model.nq,):
            raise ShapeError(f"state has qpos {state.qpos.shape}, the model expects ({self._model.nq},)")
        if state.epoch != self._epoch:
            state.visual.apply(self._model)
            self._epoch = state.epoch
        self._data.qpos[:] = state.qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera, self._option)
        for flag in SLOW_FLAGS:
            self._renderer.scene.flags[flag] = 0
