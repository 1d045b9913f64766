# SPDX-License-Identifier: Apache-2.0
"""How a hand whose fingers point down picks a small thing from a table, and the grasp frame this gives."""
from __future__ import annotations

import math
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from dex_core.config import FixedFrame, load_robot, read_description
from dex_core.errors import ConfigError
from dex_core.kinematics.collision_shapes import read_shapes
from dex_core.kinematics.tree import rotation_rpy
from dex_core.retarget.compiled import make_problem
from dex_core.retarget.grasp_ball import BALL_M, Capsules, Parts, fit_ball, opposition
from dex_core.retarget.retargeter import spread_starts
from dex_core.retarget.target import TargetHand
from dex_core.types import Array

AZIMUTH_RAD, ELEVATION_RAD = math.radians(112.0), math.radians(0.0)
"""Where the index lies as seen from the thumb in the pinch: so far from straight behind it (palm -X) to the other fingers' side, and so far
towards the fingertips. Scanned over five hands: here all of them pinch nearly level and least of them is below the pinch."""
STARTS = 128
SEARCH_GAP_M, GAPS_M = 0.070, (0.056, 0.062, 0.068, 0.074, 0.080)
"""Tip to tip: of the posture that is searched from many starts, and of those in which the ball is then fitted."""
LOWEST_M = 0.020
"""The middle of the ball is so far above the lowest part of the hand: 5 mm of air over the table on which the ball lies."""
OTHERS, STRAIGHT, REST = 0.1, 3e-3, 1e-9
"""Weights beside the pinch vector's 1: the other fingers beside the index as in the open hand, fingertips near the open hand's, joints near rest;
and, where a pinch is narrowed, joints near that pinch [m^2/rad^2]."""
NEAR = 1e-5
FORWARD_M = (0.0, 0.04, 0.08, 0.12)
"""How far in front of the palm the fingertips are drawn, each tried."""
MISS_M, MISS_COST = 2e-3, 3.0
SQUINT_RAD, SQUINT_COST_M = math.radians(25.0), 0.08
"""Contacts that face each other within the first angle cost nothing, beyond it so many metres of room below per radian."""
WORST_SQUINT_RAD = math.radians(45.0)
"""A pinch of the tips whose contacts face each other less than this slips: the hand is held tilted."""
TILTS_RAD, FACING_RAD = tuple(math.radians(angle) for angle in range(5, 65, 5)), math.radians(15.0)
"""Tilts that are tried, smallest first, and how well the contacts of a tilted hand face each other."""


class Hold(NamedTuple):
    """A hand around a ball of 50 mm on a table: joints (n,) [rad], the ball's middle in the root frame [m], thumb tip to index tip (3,) on the
    palm's axes [m], by how much the two contacts fail to face each other [rad], and axes (3, 3) of the grasp frame, columns on the palm's."""

    position_rad: Array
    centre_m: Array
    vector_m: Array
    squint_rad: float
    axes: Array


class _Pinch(NamedTuple):
    """Joints (n,) [rad], the hand's shapes there, middle (3,) between the two tips and thumb tip to index tip (3,), palm's axes [m]."""

    position_rad: Array
    parts: Parts
    middle_m: Array
    vector_m: Array


def pinch_direction(side: str, azimuth_rad: float = AZIMUTH_RAD, elevation_rad: float = ELEVATION_RAD) -> Array:
    """(3,) unit vector from thumb tip to index tip on the palm's axes of a hand of ``side``; both sides mirror each other."""
    across = -math.cos(elevation_rad) * math.sin(azimuth_rad)
    return np.array([-math.cos(elevation_rad) * math.cos(azimuth_rad), across if side == "right" else -across, math.sin(elevation_rad)])


def tilted_axes(side: str, tilt_rad: float) -> Array:
    """(3, 3) axes of a hand of ``side`` that is turned about its pinch so that its palm looks down, columns on the palm's axes.

    The pinch itself stays level and keeps its heading, whatever the tilt.
    """
    across, down = pinch_direction(side), np.array([0.0, 0.0, 1.0])
    ahead = np.cross(across, down) if side == "left" else np.cross(down, across)  # level, square to the pinch, mostly out of the palm
    turned = math.cos(tilt_rad) * down + math.sin(tilt_rad) * ahead
    level = math.cos(tilt_rad) * ahead - math.sin(tilt_rad) * down
    return np.outer(across, across) + np.outer(level, ahead) + np.outer(turned, down)


class PinchingHand:
    """A hand that pinches between thumb and index, its other fingers beside the index.

    Where fingers that point straight down would hang below the pinch, the hand is held tilted (:attr:`tilt_rad`).

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
        self._capsules = Capsules(self.hand, read_shapes(read_description(robot.urdf, side), self.hand.kinematics.tree))

    def vector(self, q: Array) -> Array:
        """(3,) thumb tip to index tip on the palm's axes [m]."""
        tips = self.hand.in_palm(self.hand.kinematics.fingertips(q))
        return tips[self._rows[0]] - tips[self._thumb]

    def reach(self, q: Array) -> float:
        """How far any moving part goes along the palm's +Z, from the root's origin [m]."""
        return self._capsules.at(q).reach_m

    @cached_property
    def tilt_rad(self) -> float:
        """The smallest tilt with which it picks a ball from a table [rad]: 0 for a hand that can with its fingers straight down.

        Tilted, its pinch is enough above the lowest part, and contacts face each other there. 0 where no tilt will do.
        """
        if self._held(self._best_pinch(0.0), 0.0).squint_rad <= WORST_SQUINT_RAD:
            return 0.0
        for tilt in TILTS_RAD:
            below, squint = self._at_table(self._of(self._best_pinch(tilt)), tilt)
            if below <= LOWEST_M and squint <= FACING_RAD:
                return tilt
        return 0.0

    def pinch(self) -> Array:
        """(n,) joints of the pinch along :func:`pinch_direction` whose contacts face each other with least of the hand below them.

        The best of all solutions found from many starts; what it misses of the pinch counts against it. Deterministic.
        """
        return self._best_pinch(self.tilt_rad)

    @cached_property
    def _pinches(self) -> list[_Pinch]:
        """The common pinch, a solution per start."""
        hand, rows, found = self.hand, self._rows, []
        pairs = [(row, self._thumb) for row in rows] + [(row, -1) for row in rows]
        problem = make_problem(hand.kinematics, hand.kinematics.tips, pairs, hand.free)
        wanted = SEARCH_GAP_M * pinch_direction(hand.side)
        goal = hand.in_palm(hand.kinematics.fingertips(hand.rest_rad))[rows]
        beside = np.zeros((len(rows), 3))
        beside[:, 1] = goal[:, 1] - goal[0, 1]
        weights = np.array([1.0] + [OTHERS] * (len(rows) - 1) + [STRAIGHT] * len(rows))
        for forward in FORWARD_M:
            goal[:, 0] = forward
            targets = np.concatenate([hand.in_root(wanted + beside), hand.in_root(goal)])
            for start in spread_starts(hand, STARTS):
                found.append(self._of(problem.solve(targets, weights, hand.rest_rad, np.full(start.size, REST), start).position_rad))
        return found

    def _best_pinch(self, tilt_rad: float) -> Array:
        best, least = self.hand.rest_rad, math.inf
        for pinch in self._pinches:
            cost = self._cost(pinch, tilt_rad)
            if cost < least - 1e-6:
                best, least = pinch.position_rad, cost
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

    def narrowed(self, pinch: Array, vector_m: Array) -> Array:
        """(n,) joints nearest to ``pinch`` (n,) in which the index lies ``vector_m`` (3,) from the thumb's tip, palm's axes; all fingers may move."""
        hand, tips = self.hand, self.hand.kinematics.tips
        problem = make_problem(hand.kinematics, tips, [(row, self._thumb) for row in self._rows], hand.free)
        places = hand.kinematics.fingertips(pinch)
        closer = np.array([places[row] - places[self._thumb] for row in self._rows]) + hand.in_root(np.asarray(vector_m) - self.vector(pinch))
        weights = np.array([1.0] + [OTHERS] * (len(self._rows) - 1))
        return problem.solve(closer, weights, pinch, np.full(pinch.size, NEAR), pinch).position_rad

    def hold(self) -> Hold:
        """The hand as it just touches a ball of 50 mm on a table below it, upright or tilted."""
        return self._held(self.pinch(), self.tilt_rad)

    def frame(self) -> FixedFrame:
        """The grasp frame in the palm's link: origin in the middle of the ball of :meth:`hold`, axes of the palm, of a tilted hand turned with it."""
        pose, hold = self.hand.kinematics.pose(self.hand.rest_rad, self._palm.link), self.hold()
        centre = pose[:3, :3].T @ (hold.centre_m - pose[:3, 3])
        rpy = _rpy(rotation_rpy(self._palm.rpy_rad) @ hold.axes) if self.tilt_rad else self._palm.rpy_rad
        return FixedFrame(self._palm.link, tuple(float(v) for v in centre), rpy)

    def _held(self, pinch: Array, tilt_rad: float) -> Hold:
        """The best of the ball's fits between the tips of ``pinch`` (n,), narrowed to several gaps."""
        axes, found = tilted_axes(self.hand.side, tilt_rad), []
        for gap in GAPS_M:
            q = self.narrowed(pinch, gap * pinch_direction(self.hand.side))
            parts, middle = self._capsules.at(q).turned(axes), self._middle(q) @ axes
            ball = fit_ball(parts, np.array([middle[0], middle[1], parts.reach_m - LOWEST_M]))
            found.append((ball.cost_m, Hold(q, self.hand.in_root(axes @ ball.centre_m), self.vector(q), ball.squint_rad, axes)))
        return min(found, key=lambda entry: entry[0])[1]

    def _middle(self, q: Array) -> Array:
        """(3,) between the tips of thumb and index, on the palm's axes [m]."""
        tips = self.hand.kinematics.fingertips(q)
        return self.hand.in_palm(0.5 * (tips[self._rows[0]] + tips[self._thumb]))

    def _of(self, q: Array) -> _Pinch:
        return _Pinch(q, self._capsules.at(q), self._middle(q), self.vector(q))

    def _at_table(self, pinch: _Pinch, tilt_rad: float) -> tuple[float, float]:
        """How far the hand goes below its pinch's middle [m], and the contacts' squint at the height of a ball on the table [rad]."""
        axes = tilted_axes(self.hand.side, tilt_rad)
        parts, middle = pinch.parts.turned(axes), pinch.middle_m @ axes
        reach = parts.reach_m
        return reach - float(middle[2]), opposition(parts, np.array([middle[0], middle[1], reach - LOWEST_M]))

    def _cost(self, pinch: _Pinch, tilt_rad: float) -> float:
        """What of the hand is below the pinch's middle [m], plus what the pinch misses and how badly the contacts face each other.

        Of a tilted hand room enough is as good as more of it, but every degree of squint counts: it is tilted for the contacts' sake.
        """
        below, squint = self._at_table(pinch, tilt_rad)
        enough, free = (LOWEST_M, 0.0) if tilt_rad else (LOWEST_M - BALL_M / 2, SQUINT_RAD)
        miss = float(np.linalg.norm(pinch.vector_m - SEARCH_GAP_M * pinch_direction(self.hand.side)))
        return max(below, enough) + MISS_COST * max(0.0, miss - MISS_M) + SQUINT_COST_M * max(0.0, squint - free)


def _rpy(rotation: Array) -> tuple[float, float, float]:
    """Roll, pitch, yaw of (3, 3), R = Rz Ry Rx [rad]."""
    (r00, _, _), (r10, _, _), (r20, r21, r22) = rotation.tolist()
    return math.atan2(r21, r22), math.atan2(-r20, math.hypot(r21, r22)), math.atan2(r10, r00)


@cache
def grasp_frame(name: str, side: str) -> FixedFrame:
    """The grasp frame of a hand of ``config/hands``, computed; :class:`PinchingHand` says how. Takes up to a second or two."""
    return PinchingHand(name, side).frame()
