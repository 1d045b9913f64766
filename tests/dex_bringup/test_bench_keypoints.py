# SPDX-License-Identifier: Apache-2.0
"""Keypoints beside MuJoCo's: within a pixel, seen and hidden alike; and the truth itself is not fooled."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")

from dex_bringup.bench.keypoints import Tally, camera_pose, measure, scores
from dex_bringup.bench.keypoints_truth import Truth
from dex_core.config import load_cell
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.testing import at_rest, home, lens

pytestmark = pytest.mark.render


@pytest.mark.parametrize("hand", ["inspire", "ability", "leap", "xhand1", "dexh13"])
def test_points_and_visibility_are_mujocos(hand: str) -> None:
    found = scores(measure(load_cell("xarm_bimanual", hand=hand), 6, seed=11))
    assert found["points"] > 100 and found["error_largest_px"] < 0.01
    assert found["visibility_right"] >= 0.98 > found["visibility_right_if_all_were_seen"]


def test_the_truth_sees_what_is_put_in_the_way() -> None:
    cell = load_cell("xarm_bimanual")
    annotator = Annotator(cell, masks=False)
    truth = Truth(cell, annotator.instances)
    names = [(i.name, p.name) for i in annotator.instances for p in i.points]
    tip = names.index(("left_hand", "index_tip"))
    try:
        truth.pose(home(cell), {})
        before, free = truth.seen(), truth.depth()
        assert before.visible[tip] and before.by[tip] == ""
        halfway = 0.5 * (truth.camera_m + truth.place("left_index_tip"))
        truth.pose(home(cell), {truth.objects[0]: np.concatenate([halfway, (1.0, 0.0, 0.0, 0.0)])})
        after, covered = truth.seen(), truth.depth()
    finally:
        truth.close()
    assert not after.visible[tip] and after.by[tip] == truth.objects[0] and np.array_equal(after.uv, before.uv, equal_nan=True)
    assert (covered < free - 0.1).sum() > 50
    intrinsics = lens()
    labels = [annotator.annotate(at_rest(cell, intrinsics, depth_m=depth, pose_in_mount=camera_pose(cell))).robots for depth in (free, covered)]
    row = [instance.name for instance in annotator.instances].index("left_hand")
    at = [name for i, name in names if i == "left_hand"].index("index_tip")
    assert [robots[row].visibility[at] for robots in labels] == [2, 1]


def test_scores_tell_misses_apart() -> None:
    yes, no = True, False
    said = (np.array([yes, yes, no, no]), np.array([no, no, yes, no]), np.array([yes, no, no, yes]), np.array([yes] * 4))
    tally = Tally(np.zeros(4), *said, np.ones(1))
    found = scores(tally)
    assert found["visibility_right"] == found["visibility_right_if_all_were_seen"] == found["seen_called_seen"] == 0.5
    assert found["hidden_by_robots_called_hidden"] == 1.0 and found["hidden_by_others_called_hidden"] == 0.0
