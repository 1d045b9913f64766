# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.rot6d import (
    POSE_COLUMNS,
    pose_columns,
    poses_from_columns,
    rot6d_columns,
    rot6d_rows,
    rotation_from_columns,
    rotation_from_rows,
    tool_pose_columns,
    tool_poses_from_columns,
)

# Rz(30 deg) Ry(-20 deg) Rx(50 deg). No two entries are alike, so nothing read transposed or in another order passes.
GOLDEN = np.array([[0.81379768, -0.54829474, 0.19262973], [0.46984631, 0.42566908, -0.7733371], [0.34202014, 0.71984631, 0.60402277]])
GOLDEN_COLUMNS = (0.81379768, 0.46984631, 0.34202014, -0.54829474, 0.42566908, 0.71984631)
GOLDEN_ROWS = (0.81379768, -0.54829474, 0.19262973, 0.46984631, 0.42566908, -0.7733371)


def rotations(seed: int, count: int) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))[0]
    q[:, :, 2] *= np.linalg.det(q)[:, None]
    return q


def test_golden_rotation_both_ways() -> None:
    np.testing.assert_allclose(rot6d_columns(GOLDEN), GOLDEN_COLUMNS, atol=1e-12)
    np.testing.assert_allclose(rot6d_rows(GOLDEN), GOLDEN_ROWS, atol=1e-12)
    np.testing.assert_allclose(rotation_from_columns(GOLDEN_COLUMNS), GOLDEN, atol=1e-7)
    np.testing.assert_allclose(rotation_from_rows(GOLDEN_ROWS), GOLDEN, atol=1e-7)
    assert np.abs(rotation_from_columns(GOLDEN_ROWS) - GOLDEN).max() > 0.5, "the two conventions are not each other"


def test_column_names_say_where_each_number_stands() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = GOLDEN, (0.1, 0.2, 0.3)
    named = dict(zip(POSE_COLUMNS, pose_columns(pose), strict=True))
    assert (named["x"], named["y"], named["z"]) == (0.1, 0.2, 0.3)
    assert all(named[f"r{row}{column}"] == GOLDEN[row, column] for row in range(3) for column in range(2))


@given(st.integers(0, 2**31))
def test_round_trip_and_scaled_columns_give_the_same_rotation(seed: int) -> None:
    rng, matrix = np.random.default_rng(seed), rotations(seed, 5)
    np.testing.assert_allclose(rotation_from_columns(rot6d_columns(matrix)), matrix, atol=1e-12)
    six = rot6d_columns(matrix)
    a, b = six[:, :3] * rng.uniform(0.35, 3.0, (5, 1)), six[:, 3:] * rng.uniform(0.35, 3.0, (5, 1)) + six[:, :3] * rng.uniform(-0.5, 0.5, (5, 1))
    np.testing.assert_allclose(rotation_from_columns(np.concatenate([a, b], axis=1)), matrix, atol=1e-9)
    noisy = rotation_from_columns(six + rng.normal(0.0, 0.05, six.shape))
    np.testing.assert_allclose(np.swapaxes(noisy, 1, 2) @ noisy, np.tile(np.eye(3), (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(noisy), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    "six",
    [(0, 0, 0, 0, 1, 0), (0.29, 0, 0, 0, 1, 0), (1, 0, 0, 1, 0.05, 0), (1, 0, 0, -2, 0, 0), (1, 0, 0, 0, 0.01, 0), (1, 0, 0, 0, 0, 0), (0,) * 6],
)
def test_no_rotation_is_made_up(six: tuple[float, ...]) -> None:
    with pytest.raises(DexError) as info:
        rotation_from_columns(six)
    assert info.value.code == "rotation"
    good = np.array([[1.0, 0, 0, 0, 1, 0]] * 4)
    good[2] = six
    with pytest.raises(DexError, match="step 2"):
        rotation_from_columns(good)


def test_shapes_and_nan_are_refused() -> None:
    with pytest.raises(ShapeError):
        rotation_from_columns(np.zeros(5))
    with pytest.raises(ShapeError):
        poses_from_columns(np.zeros((4, 6)))
    with pytest.raises(ShapeError):
        pose_columns(np.eye(3))
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteError):
            poses_from_columns([0, 0, bad, 1, 0, 0, 0, 1, 0])


@given(st.floats(-3.1, 3.1), st.floats(-1, 1))
def test_tool_poses_point_fingers_down_and_palm_along_yaw(yaw: float, x: float) -> None:
    columns = tool_pose_columns([x, 0.2, 0.3, yaw])
    pose = poses_from_columns(columns)
    np.testing.assert_allclose(pose[:3, 2], (0.0, 0.0, -1.0), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 0], (np.cos(yaw), np.sin(yaw), 0.0), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(tool_poses_from_columns(columns), (x, 0.2, 0.3, yaw), atol=1e-12)
    np.testing.assert_allclose(tool_pose_columns([[x, 0.2, 0.3, yaw]] * 3), [columns] * 3)
