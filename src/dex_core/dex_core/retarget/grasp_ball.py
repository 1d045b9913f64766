# SPDX-License-Identifier: Apache-2.0
"""A ball between the thumb and the index of a hand made of capsules: where it fits, and how well the two contacts face each other."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dex_core.kinematics.collision_shapes import Shapes
from dex_core.retarget.target import TargetHand
from dex_core.types import Array

BALL_M = 0.050
SPAN_M, GRID_M = 0.018, 0.0015
"""The middle of the ball is looked for so far around the middle of the tips, on a grid of this width."""
SQUINT_M = 0.009
"""One radian by which the contacts fail to face each other counts as much as this distance between ball and fingers."""


class Parts(NamedTuple):
    """Capsules of the thumb, of the index and of the whole hand: ends (k, 3) twice and radii (k,), on the palm's axes or as turned [m]."""

    thumb: tuple[Array, Array, Array]
    index: tuple[Array, Array, Array]
    whole: tuple[Array, Array, Array]

    @property
    def reach_m(self) -> float:
        """How far the whole hand reaches along +Z."""
        first, last, radius = self.whole
        return float((np.maximum(first[:, 2], last[:, 2]) + radius).max())

    def turned(self, axes: Array) -> Parts:
        """The same on other axes (3, 3), columns on those it is given on."""
        return Parts(*((first @ axes, last @ axes, radius) for first, last, radius in self))


class Ball(NamedTuple):
    """Middle (3,) on the axes of the fingers' parts [m], how far the contacts are from facing each other [rad], and the cost of both misfits [m]."""

    centre_m: Array
    squint_rad: float
    cost_m: float


class Capsules:
    """The moving capsules of a hand, at any joints.

    Args:
        hand: whose.
        shapes: of its URDF.
    """

    def __init__(self, hand: TargetHand, shapes: Shapes) -> None:
        self._hand = hand
        joint = np.repeat(shapes.joint, np.diff(shapes.first))
        moving = (joint >= 0) & (shapes.is_box == 0)
        self._joint, self._data = joint[moving], shapes.data[moving]
        self._joints = [int(j) for j in np.unique(self._joint)]
        own = {finger: self._above(hand.kinematics.tips[hand.fingers.index(finger)]) for finger in ("thumb", "index")}
        both = own["thumb"] & own["index"]
        self._of = {finger: np.isin(self._joint, list(joints - both)) for finger, joints in own.items()}

    def at(self, q: Array) -> Parts:
        """Where they are at joints (n,), on the palm's axes."""
        kinematics, first, last = self._hand.kinematics, np.empty((len(self._data), 3)), np.empty((len(self._data), 3))
        for joint in self._joints:
            pose, rows = kinematics.pose(q, kinematics.tree.joints[joint]), self._joint == joint
            first[rows] = self._data[rows, 0:3] @ pose[:3, :3].T + pose[:3, 3]
            last[rows] = self._data[rows, 3:6] @ pose[:3, :3].T + pose[:3, 3]
        first, last, radius = self._hand.in_palm(first), self._hand.in_palm(last), self._data[:, 6]
        thumb, index = ((first[rows], last[rows], radius[rows]) for rows in (self._of["thumb"], self._of["index"]))
        return Parts(thumb, index, (first, last, radius))

    def _above(self, tip: str) -> set[int]:
        tree, found = self._hand.kinematics.tree, set()
        joint = tree.place(tip).joint
        while joint >= 0:
            found.add(int(joint))
            joint = int(tree.parent[joint])
        return found


def fit_ball(parts: Parts, start_m: Array) -> Ball:
    """The place near ``start_m`` (3,), at its height, where the ball touches thumb and index most nearly and most squarely."""
    steps = np.arange(-SPAN_M, SPAN_M + 0.5 * GRID_M, GRID_M)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    centres = np.stack([start_m[0] + x.ravel(), start_m[1] + y.ravel(), np.full(x.size, start_m[2])], axis=1)
    (thumb, to_thumb), (index, to_index) = nearest(parts.thumb, centres), nearest(parts.index, centres)
    squint = np.arccos(np.clip(-np.sum(to_thumb * to_index, axis=1), -1.0, 1.0))
    cost = np.abs(thumb - BALL_M / 2) + np.abs(index - BALL_M / 2) + SQUINT_M * squint
    best = int(np.argmin(cost))
    return Ball(centres[best], float(squint[best]), float(cost[best]))


def opposition(parts: Parts, centre_m: Array) -> float:
    """How far thumb and index are from facing each other as seen from ``centre_m`` (3,) [rad]."""
    directions = [nearest(part, centre_m[None])[1][0] for part in (parts.thumb, parts.index)]
    return float(np.arccos(np.clip(-directions[0] @ directions[1], -1.0, 1.0)))


def nearest(capsules: tuple[Array, Array, Array], points: Array) -> tuple[Array, Array]:
    """(p,) distance of points (p, 3) to the nearest surface and (p, 3) unit vectors towards it."""
    first, last, radius = capsules
    along = last - first
    length2 = np.maximum(np.sum(along**2, axis=1), 1e-12)
    share = np.clip(np.einsum("pkc,kc->pk", points[:, None] - first, along) / length2, 0.0, 1.0)
    away = first + share[:, :, None] * along - points[:, None]
    distance = np.linalg.norm(away, axis=2)
    nearest = np.argmin(distance - radius, axis=1)
    rows = np.arange(len(points))
    return (distance - radius)[rows, nearest], away[rows, nearest] / np.maximum(distance[rows, nearest], 1e-9)[:, None]
