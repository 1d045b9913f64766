# SPDX-License-Identifier: Apache-2.0
"""Quaternions of the camera and intrinsics after the crop, against projected points."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.devices.camera import Intrinsics
from dex_core.images import crop_and_resize
from dex_description import camera_rotation
from dex_perception.frames import OPTICAL_IN_LINK_XYZW, quaternion_xyzw


def rotate(q: tuple[float, ...], v: np.ndarray) -> np.ndarray:
    xyz, w = np.array(q[:3]), q[3]
    return v + 2.0 * np.cross(xyz, np.cross(xyz, v) + w * v)


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternion_of_a_rotation_turns_as_the_rotation(values: list[float]) -> None:
    q = np.array(values) / np.linalg.norm(values)
    rotation = np.stack([rotate(tuple(q), axis) for axis in np.eye(3)], axis=1)
    found = quaternion_xyzw(rotation)
    assert np.isclose(np.linalg.norm(found), 1.0) and found[3] >= 0.0
    for axis in np.eye(3):
        assert np.allclose(rotate(found, axis), rotation @ axis, atol=1e-9)


def test_the_optical_axis_of_the_cells_camera_meets_the_point_it_looks_at() -> None:
    config = load_cell("xarm_bimanual").cameras["front"]
    link = quaternion_xyzw(camera_rotation(config))
    axis = rotate(link, rotate(OPTICAL_IN_LINK_XYZW, np.array([0.0, 0.0, 1.0])))
    wanted = np.subtract(config.look_at_m, config.position_m)
    assert np.allclose(axis, wanted / np.linalg.norm(wanted), atol=1e-9)
    down = rotate(link, rotate(OPTICAL_IN_LINK_XYZW, np.array([0.0, 1.0, 0.0])))
    assert down[2] < 0.0  # y of the optical frame points down
    assert np.allclose(rotate(OPTICAL_IN_LINK_XYZW, np.array([1.0, 0.0, 0.0])), [0.0, -1.0, 0.0])


@pytest.mark.parametrize("point", [(0.0, 0.0, 1.0), (0.2, -0.1, 0.9), (-0.3, 0.2, 1.4), (0.1, 0.3, 2.0)])
def test_intrinsics_after_the_crop_project_to_the_same_spot_of_the_picture(point: tuple[float, float, float]) -> None:
    config = load_cell("xarm_bimanual").cameras["front"]
    width, height = config.native_wh
    native = Intrinsics(width, height, 559.0, 559.0, width / 2 - 0.5, height / 2 - 0.5)
    cut = native.cropped_and_resized(config.crop_xywh, config.output_wh)
    x, y, z = point
    u, v = native.fx * x / z + native.cx, native.fy * y / z + native.cy
    rows, columns = np.mgrid[0:height, 0:width]
    blob = 255.0 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 8.0**2))
    small = crop_and_resize(np.repeat(blob[:, :, None], 3, axis=2).astype(np.uint8), config.crop_xywh, config.output_wh)[:, :, 0].astype(float)
    rows, columns = np.mgrid[0 : small.shape[0], 0 : small.shape[1]]
    centre = (small * columns).sum() / small.sum(), (small * rows).sum() / small.sum()
    assert centre == pytest.approx((cut.fx * x / z + cut.cx, cut.fy * y / z + cut.cy), abs=0.05)
