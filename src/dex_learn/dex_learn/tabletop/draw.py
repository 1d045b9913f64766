# SPDX-License-Identifier: Apache-2.0
"""Draws a MuJoCo model once: colours, depth and which geom each pixel shows. One OpenGL context per thread, kept from model to model."""

from __future__ import annotations

import threading
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

_local = threading.local()
CAMERA = "eye"
GEOMS = 512


class Drawn(NamedTuple):
    """``rgb`` (H, W, 3) uint8, ``depth_m`` (H, W) along the optical axis, ``geom`` (H, W) int32 with -1 where nothing is."""

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    geom: NDArray[np.int32]


def draw(model: mujoco.MjModel, width: int, height: int) -> Drawn:
    """The model at rest through its camera ``eye``, without shadows."""
    _make_current(width, height)
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    try:
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        return _draw(model, context, mujoco.MjrRect(0, 0, width, height))
    finally:
        context.free()


def _make_current(width: int, height: int) -> None:
    if getattr(_local, "size", None) != (width, height):
        if getattr(_local, "gl", None) is not None:
            _local.gl.free()
        _local.gl, _local.size = mujoco.GLContext(width, height), (width, height)
    _local.gl.make_current()


def _draw(model: mujoco.MjModel, context: mujoco.MjrContext, rect: mujoco.MjrRect) -> Drawn:
    data, scene, camera = mujoco.MjData(model), mujoco.MjvScene(model, maxgeom=GEOMS), mujoco.MjvCamera()
    mujoco.mj_forward(model, data)
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(CAMERA).id
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    shape = (rect.height, rect.width)
    rgb, depth = np.empty((*shape, 3), np.uint8), np.empty(shape, np.float32)
    mujoco.mjr_render(rect, scene, context)
    mujoco.mjr_readPixels(rgb, depth, rect, context)
    scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
    codes = np.empty((*shape, 3), np.uint8)
    mujoco.mjr_render(rect, scene, context)
    mujoco.mjr_readPixels(codes, None, rect, context)
    ids = np.full(scene.ngeom + 1, -1, np.int32)
    for geom in scene.geoms[: scene.ngeom]:
        if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
            ids[geom.segid + 1] = geom.objid
    flat = codes[..., 0].astype(np.int32) + 256 * codes[..., 1].astype(np.int32) + 65536 * codes[..., 2].astype(np.int32)
    near, far = (v * model.stat.extent for v in (model.vis.map.znear, model.vis.map.zfar))
    metres = near * far / (near + depth[::-1] * (far - near))  # depth reads 0 at the far end
    return Drawn(rgb[::-1].copy(), metres.astype(np.float32), ids[flat[::-1]])
