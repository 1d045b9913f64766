# SPDX-License-Identifier: Apache-2.0
"""Postures in which a hand pinches with its fingers pointing down at a table, and the grasp frame they give."""
from __future__ import annotations

import math
from functools import cache

import numpy as np

from dex_core.config import FixedFrame, load_robot, read_description
from dex_core.errors import ConfigError
from dex_core.kinematics.collision_shapes import read_shapes
from dex_core.retarget.compiled import make_problem
from dex_core.retarget.retargeter import spread_starts
from dex_core.retarget.target import TargetHand
from dex_core.types import Array

GRASP_GAP_M = 0.050
AZIMUTH_RAD, ELEVATION_RAD = math.radians(80.0), math.radians(40.0)
"""Where the index lies as seen from the thumb in the pinch: so far from straight behind it (palm -X) to the other fingers' side, and so far
towards the fingertips. Scanned over five hands: here the rest of all of them stays least below the pinch, so that it can pick from a table."""
STARTS = 96
OTHERS, STRAIGHT, REST = 0.1, 3e-3, 1e-9
"""Weights beside the pinch vector's 1: the other fingers beside the index as in the open hand, fingertips near the open hand's, joints near rest."""
FORWARD_M = (0.0, 0.04, 0.08, 0.12)
"""How far in front of the palm the fingertips are drawn, each tried."""
MISS_M, MISS_COST = 2e-3, 3.0


def pinch_direction(side: str, azimuth_rad: float = AZIMUTH_RAD, elevation_rad: float = ELEVATION_RAD) -> Array:
    """(3,) unit vector from thumb tip to index tip on the palm's axes of a hand of ``side``; both sides mirror each other."""
    across = -math.cos(elevation_rad) * math.sin(azimuth_rad)
    return np.array([-math.cos(elevation_rad) * math.cos(azimuth_rad), across if side == "right" else -across, math.sin(elevation_rad)])


class PinchingHand:
    """A hand that pinches between thumb and index, its other fingers beside the index.

    Args:
        name: of ``config/hands``, or an alias.
        side: left or right.

    Attributes:
        hand: with its palm's axes.

    Raises:
        ConfigError: not known, without a palm frame, or without an index finger.
    """

    def __init__(self, name: str, side: str) -> None:
        self.hand = TargetHand.load(name, side)
        robot = load_robot(name)
        self._palm = robot.palm[side] if robot.palm else FixedFrame(robot.root_link)
        fingers = [finger for finger in self.hand.fingers if finger != "thumb"]
        if fingers[0] != "index":
            raise ConfigError(f"hand {name!r} has the fingers {list(self.hand.fingers)}; a pinch needs a thumb and an index")
        self._rows = [self.hand.fingers.index(finger) for finger in fingers]
        self._thumb = self.hand.fingers.index("thumb")
        tree = self.hand.kinematics.tree
        shapes = read_shapes(read_description(robot.urdf, side), tree)
        of_shape = np.repeat(shapes.joint, np.diff(shapes.first))
        moving = (of_shape >= 0) & (shapes.is_box == 0)
        self._joint, self._capsules = of_shape[moving], shapes.data[moving]

    def vector(self, q: Array) -> Array:
        """(3,) thumb tip to index tip on the palm's axes [m]."""
        tips = self.hand.in_palm(self.hand.kinematics.fingertips(q))
        return tips[self._rows[0]] - tips[self._thumb]

    def centre(self, q: Array) -> Array:
        """(3,) middle between the tips of thumb and index in the root frame [m]."""
        tips = self.hand.kinematics.fingertips(q)
        return 0.5 * (tips[self._rows[0]] + tips[self._thumb])

    def reach(self, q: Array) -> float:
        """How far any moving part goes along the palm's +Z, from the root's origin [m]."""
        kinematics, down = self.hand.kinematics, self.hand.palm[:, 2]
        poses = {joint: kinematics.pose(q, kinematics.tree.joints[joint]) for joint in set(self._joint.tolist())}
        ends = [
            max(down @ (pose[:3, :3] @ capsule[at : at + 3] + pose[:3, 3]) for at in (0, 3)) + capsule[6]
            for pose, capsule in ((poses[int(joint)], capsule) for joint, capsule in zip(self._joint, self._capsules, strict=True))
        ]
        return float(max(ends))

    def pinch(self, gap_m: float = GRASP_GAP_M) -> Array:
        """(n,) joints of the pinch of ``gap_m`` along :func:`pinch_direction` in which the rest of the hand is least below its middle.

        Of all solutions found from many starts, the one that leaves most room above a table, what it misses of the pinch counted against it.
        """
        hand, rows = self.hand, self._rows
        pairs = [(row, self._thumb) for row in rows] + [(row, -1) for row in rows]
        problem = make_problem(hand.kinematics, hand.kinematics.tips, pairs, hand.free)
        wanted = gap_m * pinch_direction(hand.side)
        goal = hand.in_palm(hand.kinematics.fingertips(hand.rest_rad))[rows]
        beside = np.zeros((len(rows), 3))
        beside[:, 1] = goal[:, 1] - goal[0, 1]
        weights = np.array([1.0] + [OTHERS] * (len(rows) - 1) + [STRAIGHT] * len(rows))
        best, least = hand.rest_rad, math.inf
        for forward in FORWARD_M:
            goal[:, 0] = forward
            targets = np.concatenate([hand.in_root(wanted + beside), hand.in_root(goal)])
            for start in spread_starts(hand, STARTS):
                q = problem.solve(targets, weights, hand.rest_rad, np.full(start.size, REST), start).position_rad
                miss = float(np.linalg.norm(self.vector(q) - wanted))
                below = self.reach(q) - float(hand.palm[:, 2] @ self.centre(q))
                cost = below + MISS_COST * max(0.0, miss - MISS_M)
                if cost < least - 1e-6:
                    best, least = q, cost
        return best

    def thumb_to(self, pinch: Array, vector_m: Array) -> Array:
        """(n,) joints: fingers as in ``pinch`` (n,), the thumb's alone moved until the index lies ``vector_m`` (3,) from its tip, palm's axes."""
        hand, tips = self.hand, self.hand.kinematics.tips
        free = np.zeros(hand.free.size, dtype=bool)
        free[list(hand.kinematics.tree.columns_of(tips[self._thumb]))] = True
        problem = make_problem(hand.kinematics, tips, [(self._rows[0], self._thumb)], free & hand.free)
        target, hold = hand.in_root(np.asarray(vector_m, dtype=float)[None]), np.full(free.size, 10.0 * REST)
        starts = [pinch, *(np.where(free, start, pinch) for start in spread_starts(hand, STARTS))]
        return min((problem.solve(target, np.ones(1), pinch, hold, start) for start in starts), key=lambda solved: solved.cost).position_rad

    def frame(self) -> FixedFrame:
        """The grasp frame in the palm's link: origin in the middle of the 50 mm pinch, axes of the palm."""
        pose = self.hand.kinematics.pose(self.hand.rest_rad, self._palm.link)
        centre = pose[:3, :3].T @ (self.centre(self.pinch()) - pose[:3, 3])
        return FixedFrame(self._palm.link, tuple(float(v) for v in centre), self._palm.rpy_rad)


@cache
def grasp_frame(name: str, side: str) -> FixedFrame:
    """The grasp frame of a hand of ``config/hands``, computed; :class:`PinchingHand` says how. Takes up to a second or two."""
    return PinchingHand(name, side).frame()
