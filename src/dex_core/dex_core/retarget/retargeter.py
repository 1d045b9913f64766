# SPDX-License-Identifier: Apache-2.0
"""Keypoints of a human hand -> joints of a robot hand, step by step or a whole track."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import ConfigError, DexError
from dex_core.retarget import keypoints
from dex_core.retarget.compiled import make_problem
from dex_core.retarget.objectives import DexPilotVectors, Objective, TipVectors, Wanted
from dex_core.retarget.problem import Solved
from dex_core.retarget.target import TargetHand
from dex_core.types import Array, frozen_array

_OBJECTIVES: dict[str, Callable[[TargetHand], Objective]] = {
    "dexpilot": DexPilotVectors, "vector": TipVectors, "position": lambda hand: TipVectors(hand, 0.0),
}
OBJECTIVES = tuple(_OBJECTIVES)
REACHED, CLOSEST, STOPPED = "reached", "closest", "stopped"
TOLERANCE_M = 1e-3
SMOOTHING = 1e-5
"""Weight of a step's distance from the step before [m^2/rad^2], beside 1 for a fingertip: a lag below 1 % of a finger's motion."""
MAX_STEP_RAD = 0.3
REST_WEIGHT = 1e-7
"""Weight of the distance from the open hand [m^2/rad^2]: decides what no keypoint decides."""
COLD_STARTS = 16
"""Postures a first step is searched from, besides the open hand."""
STUCK_M, WORTH, PATIENCE = 5e-3, 0.25, 8
"""A step that leaves a fingertip further away than the first is tried from one more posture, another one at every step, and leaves its branch
only where that brings such a fingertip to within the second part of where it was. When all postures were tried in vain, only every so many-th
step is tried: most keypoints are out of reach of a hand of other proportions."""


class Retargeted(NamedTuple):
    """Joints for one set of keypoints.

    Attributes:
        position_rad: (n,) inside the limits.
        residual_m: (k,) distance of each fingertip from where the scaled human one is, in the order of ``fingers`` [m].
        cost: of the objective [m^2].
        scale: human to robot.
        status: reached (every residual within a millimetre), closest (out of reach: the nearest posture), stopped (iterations ran out).
    """

    position_rad: Array
    residual_m: Array
    cost: float
    scale: float
    status: str


class RetargetedTrack(NamedTuple):
    """The same for T steps: (T, n), (T, k), (T,), one scale, T words."""

    position_rad: Array
    residual_m: Array
    cost: Array
    scale: float
    status: tuple[str, ...]


class Retargeter:
    """Follows 21 keypoints with any hand. Fingers the hand does not have are dropped.

    Deterministic: no random numbers, no time limit. A step follows the branch of the step before and leaves it only where that is stuck;
    what lies further than ``max_step_rad`` is gone to in several. It remembers which pinches have begun, which postures were tried and
    where it is going; a first step (no previous joints) forgets that. One thread at a time.

    Args:
        hand: e.g. ``TargetHand.load("leap", "right")``.
        objective: ``dexpilot`` (thumb-finger vectors, pinches closed), ``vector`` (wrist to tips and middle phalanges) or ``position``
            (tips where they are, no scaling unless given).
        scale: human to robot; None: length of the robot's middle finger by the human's, from the keypoints' bones, so that hands of any
            size and posture give the same joints.
        smoothing: weight of the distance from the step before [m^2/rad^2].
        max_step_rad: largest move of a joint from one step to the next; infinite: none.
        tolerance_m: residual up to which fingertips count as reached.
    """

    def __init__(
        self, hand: TargetHand, objective: str = "dexpilot", scale: float | None = None, *,
        smoothing: float = SMOOTHING, max_step_rad: float = MAX_STEP_RAD, tolerance_m: float = TOLERANCE_M,
    ) -> None:
        if objective not in OBJECTIVES:
            raise ConfigError(f"objective {objective!r} is not known; allowed: {list(OBJECTIVES)}")
        if scale is not None and not 1e-3 <= scale <= 1e3:
            raise ConfigError(f"scale is {scale}; allowed: 0.001 to 1000, or None to estimate it")
        if not 0.0 <= smoothing <= 1e3:
            raise ConfigError(f"smoothing is {smoothing}; allowed: 0 to 1000 m^2/rad^2")
        if not max_step_rad > 0.0:
            raise ConfigError(f"max_step_rad is {max_step_rad}; it must be above 0")
        self.hand, self.fingers, self.names = hand, hand.fingers, hand.kinematics.names
        self._scale = 1.0 if scale is None and objective == "position" else scale
        self._smoothing, self._max_step_rad, self._tolerance_m = smoothing, max_step_rad, tolerance_m
        self._objective = _OBJECTIVES[objective](hand)
        self._problem = make_problem(hand.kinematics, self._objective.frames, self._objective.pairs, hand.free)
        self._tip_rows = [keypoints.tip_row(finger) for finger in hand.fingers]
        self._starts = spread_starts(hand, COLD_STARTS)
        self._tried = 0
        self._goal: Array | None = None

    @classmethod
    def load(cls, name: str, side: str, objective: str = "dexpilot", scale: float | None = None, *, coupling: str = "") -> Retargeter:
        """For a hand of ``config/hands`` by name."""
        return cls(TargetHand.load(name, side, coupling=coupling), objective, scale)

    def retarget(self, keypoints_m: ArrayLike, previous_rad: ArrayLike | None = None) -> Retargeted:
        """Joints for one (21, 3) set of keypoints in any frame [m].

        Args:
            keypoints_m: (21, 3), see ``keypoints``.
            previous_rad: (n,) joints of the step before; None: a first step, searched from many postures.

        Raises:
            ShapeError, NonFiniteError: with the place.
            DexError: code ``degenerate``: the palm's keypoints lie on a line.
        """
        points = keypoints.checked(keypoints_m)
        if len(points) != 1:
            raise DexError(f"{len(points)} steps of keypoints; retarget takes one, retarget_track takes many", code="shape")
        n = len(self.names)
        previous = None if previous_rad is None else self.hand.kinematics.clip(frozen_array(previous_rad, (n,), "previous joints"))
        return self._step(keypoints.in_palm(points, self.hand.side)[0], self._scale_of(points), previous)

    def retarget_track(self, keypoints_m: ArrayLike, previous_rad: ArrayLike | None = None) -> RetargetedTrack:
        """Joints for a (T, 21, 3) track, each step from the one before, with one scale: the median of the track. T may be 0."""
        points = keypoints.checked(keypoints_m)
        n, k = len(self.names), len(self.fingers)
        if len(points) == 0:
            return RetargetedTrack(np.zeros((0, n)), np.zeros((0, k)), np.zeros(0), self._scale or 1.0, ())
        scale = self._scale_of(points)
        previous = None if previous_rad is None else self.hand.kinematics.clip(frozen_array(previous_rad, (n,), "previous joints"))
        steps = []
        for step in keypoints.in_palm(points, self.hand.side):
            steps.append(self._step(step, scale, previous))
            previous = steps[-1].position_rad
        return RetargetedTrack(
            np.array([s.position_rad for s in steps]), np.array([s.residual_m for s in steps]), np.array([s.cost for s in steps]), scale,
            tuple(s.status for s in steps),
        )

    def _scale_of(self, points: Array) -> float:
        if self._scale is not None:
            return self._scale
        human = float(np.median(keypoints.finger_length_m(points, self.hand.reference_finger)))
        if human < keypoints.SMALLEST_M:
            raise DexError(f"keypoints: the {self.hand.reference_finger} finger is {human} m long; give a scale", code="degenerate")
        return self.hand.length_m / human

    def _step(self, points: Array, scale: float, previous: Array | None) -> Retargeted:
        wanted = self._objective.wanted(points, scale, first=previous is None)
        targets = self.hand.wrist_m + self.hand.in_root(scale * points[self._tip_rows])
        solved = self._first(wanted) if previous is None else self._next(wanted, previous, targets)
        residual = self._away(solved, targets)
        status = REACHED if residual.max() <= self._tolerance_m else CLOSEST if solved.settled else STOPPED
        return Retargeted(solved.position_rad, residual, solved.cost, scale, status)

    def _next(self, wanted: Wanted, previous: Array, targets_m: Array) -> Solved:
        """The step after ``previous``; where the goal is too far for one step, one of several on the straight way there."""
        branch = previous if self._goal is None else np.where(self.hand.free, self._goal, previous)
        goal = self._follow(wanted, branch, targets_m)
        way = goal.position_rad - previous
        if np.abs(way).max() <= self._max_step_rad:
            self._goal = None
            return goal
        self._goal = goal.position_rad
        q = previous + np.clip(way, -self._max_step_rad, self._max_step_rad)
        return self._problem.at(q, wanted.targets_m, wanted.weights, previous, np.full(q.size, self._smoothing))

    def _follow(self, wanted: Wanted, branch: Array, targets_m: Array) -> Solved:
        """The nearest solution to ``branch``, or a better one elsewhere when that is stuck."""
        task = wanted.targets_m, wanted.weights, branch, np.full(branch.size, self._smoothing)
        near = self._problem.solve(*task, branch)
        away = self._away(near, targets_m)
        if away.max() <= STUCK_M:
            self._tried = 0
            return near
        posture = self._posture_to_try()
        if posture is None:
            return near
        far = self._problem.search(*task, [np.where(self.hand.free, posture, branch)], self.hand.groups, [near])
        found = (away > STUCK_M) & (self._away(far, targets_m) < WORTH * away)
        return far if far.cost < near.cost and found.any() else near

    def _posture_to_try(self) -> Array | None:
        """Where a stuck step is searched from as well; None where it is another step's turn."""
        self._tried += 1
        beyond = self._tried - len(self._starts)
        if beyond > 0 and beyond % PATIENCE:
            return None
        return self._starts[(self._tried if beyond <= 0 else beyond // PATIENCE) % len(self._starts)]

    def _away(self, solved: Solved, targets_m: Array) -> Array:
        """(k,) distance of each fingertip, which are the first points of every objective, from its target [m]."""
        return np.linalg.norm(solved.points_m[: len(self.fingers)] - targets_m, axis=1)

    def _first(self, wanted: Wanted) -> Solved:
        self._tried, self._goal = 0, None
        rest = self.hand.rest_rad
        hold = np.full(rest.size, REST_WEIGHT)
        return self._problem.search(wanted.targets_m, wanted.weights, rest, hold, self._starts, self.hand.groups)


def kronecker(dimensions: int, count: int) -> list[Array]:
    """``count`` points (dimensions,) spread evenly over the unit cube."""
    root = 2.0
    for _ in range(50):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))  # of x^(n+1) = x + 1
    steps = (1.0 / root) ** np.arange(1, dimensions + 1)
    return [np.mod(0.5 + i * steps, 1.0) for i in range(1, count + 1)]


def spread_starts(hand: TargetHand, count: int) -> list[Array]:
    """The open hand, then ``count`` postures spread evenly over the limits (a Kronecker sequence); joints that must not move are at rest."""
    lower, upper = hand.kinematics.lower_rad, hand.kinematics.upper_rad
    spread = [lower + share * (upper - lower) for share in kronecker(len(lower), count)]
    return [hand.rest_rad, *(np.where(hand.free, start, hand.rest_rad) for start in spread)]
