# SPDX-License-Identifier: Apache-2.0
"""Pinches of one hand held by another."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import DexError, NonFiniteError, ShapeError
from dex_core.retarget import Retargeter, TargetHand, closest_pinch, pinch_oracle
from dex_core.retarget.pinch import pinch_vectors


def test_a_hand_does_what_it_does_itself(reachable):
    for name in ("inspire", "ability", "leap", "xhand1"):
        hand = TargetHand.load(name, "right")
        for q in reachable(hand, 2):
            found = pinch_oracle(hand, q, hand)
            assert found.residual_m.max() < 1e-4, name
            assert found.reached_m == pytest.approx(pinch_vectors(hand, found.position_rad, found.fingers))


def test_the_other_side_pinches_in_the_mirror(reachable):
    right, left = (TargetHand.load("shadow", side) for side in ("right", "left"))
    q = reachable(right, 1)[0]
    found = pinch_oracle(right, q, left)
    assert found.wanted_m == pytest.approx(pinch_vectors(right, q, found.fingers) * (1.0, -1.0, 1.0))
    assert found.residual_m.max() < 1e-3


def test_a_pinch_is_carried_over_to_another_hand(human):
    source, target = TargetHand.load("shadow", "right"), TargetHand.load("leap", "right")
    q = Retargeter(source).retarget(human("right", {"index": 0.7}, "index")).position_rad
    assert np.linalg.norm(pinch_vectors(source, q, ["index"])) < 5e-3
    found = pinch_oracle(source, q, target, fingers=["index"])
    assert np.linalg.norm(found.reached_m) < 6e-3 and found.residual_m.max() < 1e-4
    limits = target.kinematics
    assert (found.position_rad >= limits.lower_rad).all() and (found.position_rad <= limits.upper_rad).all()


def test_only_fingers_that_both_have_are_compared(reachable):
    source, target = TargetHand.load("inspire", "right"), TargetHand.load("leap", "right")
    q = reachable(source, 1)[0]
    assert pinch_oracle(source, q, target, starts=2).fingers == ("index", "middle", "ring")
    for fingers in (["little"], ["thumb"], []):
        with pytest.raises(DexError, match="index"):
            pinch_oracle(source, q, target, fingers=fingers)


def test_more_starts_are_never_worse(reachable):
    source, target = TargetHand.load("shadow", "right"), TargetHand.load("xhand1", "right")
    for q in reachable(source, 3):
        few, many = (pinch_oracle(source, q, target, starts=count).residual_m for count in (1, 32))
        assert np.sum(many**2) <= np.sum(few**2) + 1e-9


def test_bad_joints_are_refused():
    hand = TargetHand.load("inspire", "right")
    with pytest.raises(NonFiniteError):
        pinch_oracle(hand, np.full(6, np.nan), hand)
    with pytest.raises(ShapeError):
        pinch_oracle(hand, np.zeros(5), hand)


def test_a_touch_is_asked_for_by_a_vector_of_no_length():
    hand = TargetHand.load("leap", "right")
    found = closest_pinch(hand, ["middle"], np.zeros((1, 3)))
    assert found.residual_m.max() < 1e-4
    for vectors in (np.zeros((2, 3)), np.zeros(3)):
        with pytest.raises(ShapeError):
            closest_pinch(hand, ["middle"], vectors)
    with pytest.raises(DexError, match="little"):
        closest_pinch(hand, ["little"], np.zeros((1, 3)))
