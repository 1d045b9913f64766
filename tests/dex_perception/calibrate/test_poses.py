# SPDX-License-Identifier: Apache-2.0
"""Poses: round trips, means, and what is no pose."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.errors import ShapeError
from dex_perception.calibrate.poses import (
    angle,
    checked_pose,
    from_xyz_rpy,
    inverse,
    mean_pose,
    nearest_rotation,
    pose,
    rotation,
    rotation_vector,
    to_rpy,
)

TURN = st.tuples(*[st.floats(-1.7, 1.7)] * 3)


@given(TURN, TURN)
def test_inverse_and_round_trips(turn: tuple, shift: tuple) -> None:
    one = pose(turn, shift)
    assert one @ inverse(one) == pytest.approx(np.eye(4), abs=1e-9)
    assert pose(rotation_vector(one), one[:3, 3]) == pytest.approx(one, abs=1e-9)
    assert from_xyz_rpy(one[:3, 3], to_rpy(one)) == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_roll_pitch_yaw_straight_up_and_down(pitch: float) -> None:
    one = from_xyz_rpy((0, 0, 0), (0.4, pitch, -0.9))
    assert from_xyz_rpy((0, 0, 0), to_rpy(one)) == pytest.approx(one, abs=1e-6)


def test_roll_pitch_yaw_is_urdfs_order() -> None:
    one = from_xyz_rpy((1, 2, 3), (0.1, 0.2, 0.3))
    assert one[:3, :3] == pytest.approx(rotation((0, 0, 0.3)) @ rotation((0, 0.2, 0)) @ rotation((0.1, 0, 0)))


def test_mean_of_poses_lies_between_them() -> None:
    middle = mean_pose([pose((0, 0, 0.1), (0, 0, 0)), pose((0, 0, 0.3), (2, 0, 0))])
    assert rotation_vector(middle) == pytest.approx([0, 0, 0.2])
    assert middle[:3, 3] == pytest.approx([1, 0, 0])


def test_the_nearest_rotation_is_no_mirror() -> None:
    found = nearest_rotation(np.diag([1.0, 1.0, -0.2]))
    assert np.linalg.det(found) == pytest.approx(1.0)
    assert angle(np.eye(4), pose((0.2, 0, 0), (5, 5, 5))) == pytest.approx(0.2)


@pytest.mark.parametrize("wrong", [np.eye(3), np.diag([1.0, 1.0, 1.1, 1.0]), np.full((4, 4), np.nan), np.diag([1.0, 1.0, -1.0, 1.0])])
def test_what_is_no_pose_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="flange of view 'x'"):
        checked_pose(wrong, "flange of view 'x'")
