# SPDX-License-Identifier: Apache-2.0
"""Keypoints to retarget: of a plausible human hand, and of a robot hand's own fingertips."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import FINGERS
from dex_core.retarget import TargetHand
from dex_core.retarget.keypoints import phalanx_row, tip_row
from dex_core.retarget.target import WRIST_BEHIND

KNUCKLES_M = {"index": (0.0, 0.025, 0.09), "middle": (0.0, 0.0, 0.095), "ring": (0.0, -0.021, 0.09), "little": (0.0, -0.04, 0.08)}
BONES_M = {"index": (0.042, 0.025, 0.022), "middle": (0.047, 0.029, 0.024), "ring": (0.043, 0.027, 0.023), "little": (0.033, 0.02, 0.02)}
OPEN_THUMB_M = (0.04, 0.09, 0.075)


def _human(side="right", bend_rad=0.1, pinch=None, closeness=1.0):
    """(21, 3) on the palm's axes: every finger's joints bent by ``bend_rad`` (number or finger -> number), the thumb's tip ``closeness``
    of the way from the open hand to the tip of ``pinch``."""
    points = np.zeros((21, 3))
    for finger, knuckle in KNUCKLES_M.items():
        bend = bend_rad.get(finger, 0.1) if isinstance(bend_rad, dict) else bend_rad
        row, angle = tip_row(finger) - 3, 0.0
        points[row] = knuckle
        for bone in BONES_M[finger]:
            angle += bend
            row += 1
            points[row] = points[row - 1] + bone * np.array([np.sin(angle), 0.0, np.cos(angle)])
    points[1] = (0.015, 0.025, 0.025)
    tip = np.array(OPEN_THUMB_M)
    if pinch:
        tip = (1.0 - closeness) * tip + closeness * points[tip_row(pinch)]
    points[2], points[3], points[4] = points[1] + 0.4 * (tip - points[1]), points[1] + 0.75 * (tip - points[1]), tip
    points[2:4] += ((0.0, 0.01, 0.006), (0.0, 0.0075, 0.0045))
    return points if side == "right" else points * (1.0, -1.0, 1.0)


def _of_robot(hand: TargetHand, q):
    """(21, 3) on the palm's axes, in the robot's size: its own tips and phalanges on a palm of a human's proportions."""
    length, thumb_side = hand.length_m, 1.0 if hand.side == "right" else -1.0
    points = np.zeros((21, 3))
    for row in (5, 9, 13, 17):
        points[row] = (0.0, thumb_side * 0.2 * length * (9 - row) / 4, WRIST_BEHIND * length)
    points[1] = (0.1 * length, thumb_side * 0.3 * length, 0.3 * length)
    tips = dict(zip(hand.fingers, hand.in_palm(hand.kinematics.fingertips(q) - hand.wrist_m), strict=True))
    for finger in FINGERS:
        row = tip_row(finger)
        tip = tips.get(finger, points[row - 3] + (0.0, 0.0, length))
        middle = 0.5 * (points[row - 3] + tip)
        if finger in hand.phalanges:
            middle = hand.in_palm(hand.kinematics.positions(q, (hand.phalanges[finger],))[0] - hand.wrist_m)
        points[phalanx_row(finger)], points[row - 1], points[row] = middle, 0.5 * (middle + tip), tip
    return points


def _reachable(hand: TargetHand, count, seed=4):
    """(count, n) random joints; those that carry the palm at rest."""
    k = hand.kinematics
    return np.where(hand.free, np.random.default_rng(seed).uniform(k.lower_rad, k.upper_rad, (count, len(k.names))), hand.rest_rad)


def _turned(points, seed=1):
    """The same keypoints somewhere else in the world."""
    from dex_core.kinematics.tree import rotation_rpy

    rng = np.random.default_rng(seed)
    return points @ rotation_rpy(rng.uniform(-3.0, 3.0, 3)).T + rng.normal(size=3)


@pytest.fixture(scope="session")
def human():
    """Keypoints of a human hand."""
    return _human


@pytest.fixture(scope="session")
def of_robot():
    """Keypoints of a robot hand."""
    return _of_robot


@pytest.fixture(scope="session")
def reachable():
    """Random joints of a robot hand."""
    return _reachable


@pytest.fixture(scope="session")
def turned():
    """Moves keypoints as a whole."""
    return _turned
