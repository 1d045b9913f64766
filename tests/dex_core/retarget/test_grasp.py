# SPDX-License-Identifier: Apache-2.0
"""Hands around a ball on a table, and the grasp frames that the hands' files carry."""
from __future__ import annotations

import functools

import numpy as np
import pytest

from dex_core.config import load_robot
from dex_core.errors import ConfigError
from dex_core.kinematics.tree import rotation_rpy
from dex_core.retarget.grasp import LOWEST_M, TILTS_RAD, WORST_SQUINT_RAD, Hold, PinchingHand, grasp_frame, pinch_direction, tilted_axes
from dex_core.retarget.grasp_ball import BALL_M, Parts, fit_ball, nearest

HANDS = ("ability", "dexh13", "inspire", "leap", "xhand1")
SIDES = ("left", "right")


@functools.cache
def held(name: str, side: str) -> tuple[PinchingHand, Hold]:
    pinching = PinchingHand(name, side)
    return pinching, pinching.hold()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HANDS)
def test_the_file_has_the_computed_frame(name: str, side: str) -> None:
    given, computed = (load_robot(name).grasp or {})[side], grasp_frame(name, side)
    assert given.link == computed.link and np.allclose(given.rpy_rad, computed.rpy_rad, atol=1e-9)
    assert np.allclose(given.xyz_m, computed.xyz_m, atol=1e-4)


@pytest.mark.parametrize("name", HANDS)
def test_the_ball_is_touched_from_both_sides_with_room_above_the_table(name: str) -> None:
    pinching, hold = held(name, "right")
    parts, centre = pinching._capsules.at(hold.position_rad).turned(hold.axes), pinching.hand.in_palm(hold.centre_m) @ hold.axes
    assert (pinching.hand.kinematics.clip(hold.position_rad) == hold.position_rad).all()
    for part in (parts.thumb, parts.index):
        assert nearest(part, centre[None])[0][0] == pytest.approx(BALL_M / 2, abs=5e-3)
    assert hold.squint_rad < WORST_SQUINT_RAD
    assert parts.reach_m - centre[2] < LOWEST_M + 2e-3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HANDS)
def test_only_a_hand_whose_fingers_hang_below_its_pinch_is_tilted(name: str, side: str) -> None:
    pinching, hold = held(name, side)
    assert pinching.tilt_rad == pytest.approx(np.radians(35.0) if name == "leap" else 0.0)
    assert np.allclose(hold.axes, tilted_axes(side, pinching.tilt_rad))
    assert np.array_equal(pinching.pinch(), pinching.pinch())


@pytest.mark.parametrize("side", SIDES)
def test_a_tilted_hand_pinches_well_above_the_table_and_an_upright_one_would_not(side: str) -> None:
    pinching = held("leap", side)[0]
    pinch = pinching._capsules.at(pinching.pinch())
    middle = pinching._middle(pinching.pinch())
    axes = tilted_axes(side, pinching.tilt_rad)
    assert pinch.turned(axes).reach_m - (middle @ axes)[2] <= LOWEST_M
    assert pinch.reach_m - middle[2] > 2.0 * LOWEST_M
    assert held("leap", side)[1].squint_rad < np.radians(15.0)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tilt", [0.0, *TILTS_RAD])
def test_a_tilt_turns_the_palm_down_about_the_pinch(side: str, tilt: float) -> None:
    axes, across = tilted_axes(side, tilt), pinch_direction(side)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1.0)
    assert np.allclose(axes @ across, across) and axes[2, 2] == pytest.approx(np.cos(tilt))
    assert axes[0, 2] == pytest.approx(np.sin(tilt) * np.sin(np.radians(112.0)))  # of the palm's +X so much looks down
    mirror = np.diag([1.0, -1.0, 1.0])
    assert np.allclose(mirror @ axes @ mirror, tilted_axes("left" if side == "right" else "right", tilt))


@pytest.mark.parametrize("side", SIDES)
def test_leaps_wedge_holds_its_grasp_frame_upright_on_the_flange(side: str) -> None:
    robot = load_robot("leap")
    mount, grasp = (robot.mounts or {})["xarm7"][side], (robot.grasp or {})[side]
    in_flange = rotation_rpy(mount.rpy_rad) @ rotation_rpy(grasp.rpy_rad)
    inspire = rotation_rpy((load_robot("inspire").mounts or {})["xarm7"][side].rpy_rad)
    assert np.allclose(in_flange, inspire, atol=1e-9)


@pytest.mark.parametrize("name", HANDS)
def test_the_thumb_alone_opens(name: str) -> None:
    pinching, hold = held(name, "right")
    q, wanted = hold.position_rad, hold.vector_m + 0.02 * pinch_direction("right")
    opened = pinching.thumb_to(q, wanted)
    thumb = list(pinching.hand.kinematics.tree.columns_of(pinching.hand.kinematics.tips[pinching.hand.fingers.index("thumb")]))
    assert np.linalg.norm(pinching.vector(opened) - wanted) < 0.016
    assert np.array_equal(np.delete(opened, thumb), np.delete(q, thumb)) and np.abs(opened - q)[thumb].max() > 0.05


def test_narrowing_brings_the_tips_together() -> None:
    pinching, hold = held("inspire", "right")
    closed = pinching.narrowed(hold.position_rad, hold.vector_m - 0.015 * pinch_direction("right"))
    assert np.linalg.norm(pinching.vector(closed)) < np.linalg.norm(hold.vector_m) - 0.01


def test_a_ball_between_two_posts_is_found_in_the_middle() -> None:
    post = [(np.array([[0.0, y, 0.0]]), np.array([[0.0, y, 0.1]]), np.array([0.008])) for y in (-0.033, 0.033)]
    parts = Parts(post[0], post[1], post[0])
    ball = fit_ball(parts, np.array([0.004, -0.003, 0.05]))
    assert np.allclose(ball.centre_m, [0.0, 0.0, 0.05], atol=2e-3) and ball.squint_rad < 0.1


def test_both_sides_mirror() -> None:
    left, right = (pinch_direction(side) for side in SIDES)
    assert np.allclose(left * [1.0, -1.0, 1.0], right) and np.linalg.norm(left) == pytest.approx(1.0)


def test_an_unknown_hand_has_no_pinch() -> None:
    with pytest.raises(ConfigError):
        PinchingHand("no_such_hand", "right")
