# SPDX-License-Identifier: Apache-2.0
"""Order, frame and size of a human hand's keypoints."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.retarget import from_mano
from dex_core.retarget.keypoints import checked, finger_length_m, in_palm, phalanx_row, tip_row


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_palm_is_found_wherever_the_hand_is(human, turned, side):
    points = human(side)
    for seed in range(5):
        assert in_palm(checked(turned(points, seed)), side)[0] == pytest.approx(points, abs=1e-12)


def test_left_is_the_mirror_of_right(human):
    right, left = (in_palm(checked(human(side)), side)[0] for side in ("right", "left"))
    assert left == pytest.approx(right * (1.0, -1.0, 1.0), abs=1e-12)


def test_a_finger_is_as_long_bent_as_straight(human):
    for finger in ("index", "middle", "ring", "little"):
        straight, bent = (finger_length_m(checked(human(bend_rad=bend)), finger)[0] for bend in (0.0, 1.0))
        assert bent == pytest.approx(straight)


def test_mano_has_the_same_points_in_another_order():
    joints, tips = np.arange(48.0).reshape(16, 3), 100.0 + np.arange(15.0).reshape(5, 3)
    points = from_mano(joints, tips)
    assert (points[0] == joints[0]).all()
    assert (points[1:4] == joints[13:16]).all() and (points[4] == tips[0]).all()  # thumb
    assert (points[5:8] == joints[1:4]).all() and (points[8] == tips[1]).all()  # index
    assert (points[13:16] == joints[10:13]).all() and (points[16] == tips[3]).all()  # ring comes last but one in MANO
    assert (points[17:20] == joints[7:10]).all() and (points[20] == tips[4]).all()
    assert len(np.unique(points, axis=0)) == 21


def test_rows_are_those_of_mediapipe():
    assert [tip_row(f) for f in ("thumb", "index", "middle", "ring", "little")] == [4, 8, 12, 16, 20]
    assert [phalanx_row(f) for f in ("thumb", "index", "little")] == [2, 6, 18]


@pytest.mark.parametrize("shape", [(21,), (20, 3), (21, 2), (1, 1, 21, 3), (3, 21)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match="21, 3"):
        checked(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_with_its_place(human, bad):
    points = human()
    points[7, 1] = bad
    with pytest.raises(NonFiniteError, match=r"\(0, 7, 1\)"):
        checked(points)


def test_a_palm_without_area_has_no_frame(human):
    points = np.stack([human(), human()])
    points[1, 5] = points[1, 9] * 1.1
    with pytest.raises(DexError, match="step 1"):
        in_palm(checked(points), "right")
    with pytest.raises(DexError) as found:
        in_palm(checked(np.zeros((21, 3))), "right")
    assert found.value.code == "degenerate"
