# SPDX-License-Identifier: Apache-2.0
"""Pinches above a table, and the grasp frames that the hands' files carry."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_robot
from dex_core.errors import ConfigError
from dex_core.retarget.grasp import GRASP_GAP_M, PinchingHand, grasp_frame, pinch_direction

HANDS = ("ability", "dexh13", "inspire", "leap", "xhand1")
SIDES = ("left", "right")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HANDS)
def test_the_file_has_the_computed_frame(name: str, side: str) -> None:
    given, computed = (load_robot(name).grasp or {})[side], grasp_frame(name, side)
    assert given.link == computed.link and given.rpy_rad == computed.rpy_rad
    assert np.allclose(given.xyz_m, computed.xyz_m, atol=1e-4)


@pytest.mark.parametrize("name", HANDS)
def test_the_pinch_is_held_with_room_above_the_table(name: str) -> None:
    for side in SIDES:
        pinching = PinchingHand(name, side)
        q = pinching.pinch()
        assert (pinching.hand.kinematics.clip(q) == q).all()
        assert np.linalg.norm(pinching.vector(q) - GRASP_GAP_M * pinch_direction(side)) < 4e-3
        assert pinching.reach(q) - pinching.hand.palm[:, 2] @ pinching.centre(q) < 0.032


@pytest.mark.parametrize("name", HANDS)
def test_the_thumb_alone_opens(name: str) -> None:
    pinching = PinchingHand(name, "right")
    q, wanted = pinching.pinch(), 0.09 * pinch_direction("right", np.radians(95.0), np.radians(35.0))
    opened = pinching.thumb_to(q, wanted)
    thumb = list(pinching.hand.kinematics.tree.columns_of(pinching.hand.kinematics.tips[pinching.hand.fingers.index("thumb")]))
    assert np.linalg.norm(pinching.vector(opened) - wanted) < 5e-3
    assert np.array_equal(np.delete(opened, thumb), np.delete(q, thumb)) and np.abs(opened - q)[thumb].max() > 0.2


def test_both_sides_mirror() -> None:
    left, right = (pinch_direction(side) for side in SIDES)
    assert np.allclose(left * [1.0, -1.0, 1.0], right) and np.linalg.norm(left) == pytest.approx(1.0)


def test_a_gripper_has_no_pinch_of_this_kind() -> None:
    with pytest.raises(ConfigError):
        PinchingHand("no_such_hand", "right")
