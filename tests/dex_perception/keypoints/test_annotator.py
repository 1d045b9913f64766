# SPDX-License-Identifier: Apache-2.0
"""From a moment to labels: every robot, masks that agree with the points, cameras on links, objects that cover."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.errors import ShapeError
from dex_description import compose_cell_urdf, parse_urdf
from dex_description.forward import link_poses
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.sample import MISSING, VISIBLE, Annotation
from dex_perception.keypoints.testing import at_rest, camera_pose, home, lens
from dex_perception.keypoints.visibility import DepthTolerance

CELL = load_cell("xarm_bimanual", right_hand="leap")
ANNOTATOR = Annotator(CELL, DepthTolerance(0.004))


@pytest.fixture(scope="module")
def annotation() -> Annotation:
    return ANNOTATOR.annotate(at_rest(CELL))


def test_every_robot_is_labelled_in_the_order_of_the_cell(annotation: Annotation) -> None:
    assert [robot.instance.name for robot in annotation.robots] == list(CELL.interfaces)
    assert annotation.by == "robots" and np.allclose(annotation.pose_camera_in_world, camera_pose(CELL))
    for robot in annotation.robots:
        there = np.array([point.link is not None for point in robot.instance.points])
        assert np.isfinite(robot.points_m).all(axis=1).tolist() == there.tolist()
        assert (robot.visibility[~there] == MISSING).all()
        assert np.array_equal(np.isfinite(robot.uv).all(axis=1), robot.visibility != MISSING)


def test_points_are_where_forward_kinematics_and_the_lens_put_them(annotation: Annotation) -> None:
    poses = link_poses(parse_urdf(compose_cell_urdf(CELL)), dict(zip(CELL.joint_names, home(CELL), strict=True)))
    view, i = np.linalg.inv(camera_pose(CELL)), lens()
    for robot in annotation.robots:
        for point, uv, visibility in zip(robot.instance.points, robot.uv, robot.visibility, strict=True):
            if visibility != MISSING:
                x, y, z, _ = view @ poses[point.link][:, 3]
                assert uv == pytest.approx((i.cx + i.fx * x / z, i.cy + i.fy * y / z), abs=1e-6)


def test_masks_boxes_and_points_agree(annotation: Annotation) -> None:
    total = np.zeros((240, 320), dtype=int)
    anything = np.any([robot.mask for robot in annotation.robots], axis=0)
    for robot in annotation.robots:
        total += robot.mask
        x, y, w, h = (round(value) for value in robot.box_xywh)
        assert robot.mask[y : y + h, x : x + w].sum() == robot.mask.sum() > 100
        assert robot.mask[y].any() and robot.mask[y + h - 1].any() and robot.mask[:, x].any() and robot.mask[:, x + w - 1].any()
        column, row = np.clip(np.rint(robot.uv[robot.visibility == VISIBLE]).astype(int), 0, (319, 239)).T
        assert all(anything[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3].any() for r, c in zip(row, column, strict=True))
    assert total.max() == 1, "a pixel shows one robot"


def test_without_masks_boxes_are_around_the_points() -> None:
    for robot in Annotator(CELL, masks=False).annotate(at_rest(CELL)).robots:
        known = robot.uv[robot.visibility != MISSING]
        x, y, w, h = robot.box_xywh
        assert robot.mask is None and known.min(axis=0) == pytest.approx((x, y), abs=0.51)
        assert known.max(axis=0) == pytest.approx((x + w, y + h), abs=1.0)


def test_a_thing_before_a_robot_covers_mask_and_points(annotation: Annotation) -> None:
    arm = annotation.robots[0]
    covered = np.zeros((240, 320), dtype=bool)
    covered[:, 160:] = arm.mask[:, 160:]
    depth = np.where(covered, np.float32(0.3), np.float32(np.inf))
    for given in ({"depth_m": depth}, {"object_mask": covered}):
        found = ANNOTATOR.annotate(at_rest(CELL, **given)).robots[0]
        assert not (found.mask & covered).any()
        assert np.count_nonzero(found.visibility == VISIBLE) < np.count_nonzero(arm.visibility == VISIBLE)
        assert np.array_equal(found.uv, arm.uv, equal_nan=True)


def test_what_was_judged_by_is_told() -> None:
    nothing = np.full((240, 320), np.nan, dtype=np.float32)
    found = ANNOTATOR.annotate(at_rest(CELL, depth_m=nothing, object_mask=np.zeros((240, 320), dtype=bool)))
    assert found.by == "robots+depth+mask"
    assert found.points_without_depth == sum(np.count_nonzero(robot.visibility) for robot in found.robots)


def test_a_camera_on_a_hand_sees_the_hand_stand_still() -> None:
    """Wherever the arm goes; the other arm moves."""
    pose = np.eye(4)
    pose[:3, 3] = (0.0, 0.0, -0.4)
    moved = home(CELL)
    moved[:3] += (0.2, -0.1, 0.3)
    here, there = (
        ANNOTATOR.annotate(at_rest(CELL, position_rad=q, pose_in_mount=pose, mounted_on="left_link_eef")).robots for q in (home(CELL), moved)
    )
    names = list(CELL.interfaces)
    hand, other = names.index("left_hand"), names.index("right_hand")
    assert np.allclose(here[hand].points_m, there[hand].points_m, equal_nan=True)
    assert not np.allclose(here[other].points_m, there[other].points_m, equal_nan=True)


def test_a_sample_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="depth is 320 x 100"):
        at_rest(CELL, depth_m=np.zeros((100, 320), dtype=np.float32))
    with pytest.raises(ShapeError, match="joint positions"):
        ANNOTATOR.annotate(at_rest(CELL, position_rad=np.zeros(3)))
