# SPDX-License-Identifier: Apache-2.0
"""The cloud itself: checked, read-only, cut to a box in any frame."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.clouds import Cloud, crop
from dex_core.errors import NonFiniteError, ShapeError

POINTS = np.array([[0, 0, 1], [1, 0, 1], [0, 2, 1], [0, 0, 3]], dtype=np.float32)


def full() -> Cloud:
    rgb = np.arange(12, dtype=np.uint8).reshape(4, 3)
    normals = np.tile(np.array([0, 0, -1], dtype=np.float32), (4, 1))
    return Cloud(POINTS, rgb, normals, np.array([0, 1, 4, 5], dtype=np.int32))


def test_is_read_only_and_leaves_the_givers_array_writable() -> None:
    mine = POINTS.copy()
    cloud = Cloud(mine)
    with pytest.raises(ValueError, match="read-only"):
        cloud.points_m[0, 0] = 5.0
    mine[0, 0] = 0.0
    assert len(cloud) == 4 and len(Cloud(np.empty((0, 3), np.float32))) == 0


@pytest.mark.parametrize(("change", "words"), [
    ({"points_m": POINTS.astype(np.float64)}, "points_m: got float64"), ({"points_m": POINTS[:, :2]}, r"\(4, 2\)"), ({"points_m": None}, "None"),
    ({"rgb": np.zeros((3, 3), np.uint8)}, "rgb"), ({"normals": np.zeros((4, 3))}, "normals"), ({"pixels": np.zeros(4, np.int64)}, "int64"),
])
def test_other_shapes_and_types_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Cloud(**{"points_m": POINTS, **change})


def test_select_takes_masks_and_indices_of_everything() -> None:
    cloud = full()
    by_mask, by_index = cloud.select([True, False, False, True]), cloud.select([3, 0])
    assert by_mask.points_m.tolist() == POINTS[[0, 3]].tolist() and by_mask.pixels.tolist() == [0, 5]
    assert by_index.points_m.tolist() == POINTS[[3, 0]].tolist() and by_index.rgb.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert len(cloud.select([])) == 0 and len(cloud.select(np.zeros(4, bool))) == 0
    with pytest.raises(ShapeError, match="4 points"):
        cloud.select([True, False])


def test_box_includes_its_faces_and_may_lie_in_another_frame() -> None:
    cloud = full()
    assert crop(cloud, [0, 0, 1], [1, 1, 2]).pixels.tolist() == [0, 1]
    assert len(crop(cloud, [-np.inf] * 3, [np.inf] * 3)) == 4
    pose = np.array([[0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # x of the cloud is y of the box
    assert crop(cloud, [9.5, 0.5, 0], [10.5, 1.5, 2], pose).pixels.tolist() == [1]


@pytest.mark.parametrize(("low", "high"), [([0, 0, 2], [1, 1, 1]), ([0, 0], [1, 1]), ([0, 0, np.nan], [1, 1, 1])])
def test_no_box_is_refused(low: list[float], high: list[float]) -> None:
    with pytest.raises(ShapeError, match="box"):
        crop(full(), low, high)


def test_points_that_are_not_finite_lie_in_no_box() -> None:
    cloud = Cloud(np.array([[np.nan, 0, 1], [0, 0, np.inf], [0, 0, 1]], np.float32))
    assert len(crop(cloud, [-9] * 3, [9] * 3)) == 1


def test_moves_points_and_turns_normals() -> None:
    pose = np.array([[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1.0]])
    moved = full().transformed(pose)
    np.testing.assert_allclose(moved.points_m, [[1, 1, 3], [2, 1, 3], [1, 1, 5], [1, -1, 3]], atol=1e-6)
    np.testing.assert_allclose(moved.normals, np.tile([0, 1, 0], (4, 1)), atol=1e-6)
    back = moved.transformed(np.linalg.inv(pose))
    np.testing.assert_allclose(back.points_m, POINTS, atol=1e-6)


@pytest.mark.parametrize("pose", [np.eye(3), 2.0 * np.eye(4), np.diag([1, 1, -1, 1.0])])
def test_what_is_no_pose_is_refused(pose: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="pose_cloud_in"):
        full().transformed(pose)
    with pytest.raises(NonFiniteError, match="pose_cloud_in_target"):
        full().transformed(np.full((4, 4), np.nan))


def test_values_go_back_into_the_picture() -> None:
    laid = full().picture(np.array([1, 2, 3, 4], np.int32), (2, 3), fill=-1)
    assert laid.tolist() == [[1, 2, -1], [-1, 3, 4]]
    with pytest.raises(ShapeError, match="no pixels"):
        Cloud(POINTS).picture(np.zeros(4), (2, 3))
    with pytest.raises(ShapeError, match="4 points of a picture of 2 x 2"):
        full().picture(np.zeros(4), (2, 2))
