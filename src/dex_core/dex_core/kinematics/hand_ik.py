# SPDX-License-Identifier: Apache-2.0
"""Fingertip targets -> joints of a hand, inside its limits: ``load_hand_ik("leap", "right").solve(targets_m)``."""
from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.config import load_robot, read_description
from dex_core.config.robot import RobotConfig
from dex_core.errors import ConfigError, DexError, NonFiniteError, ShapeError
from dex_core.kinematics.hand_ik_groups import FingerGroup, groups_of
from dex_core.kinematics.hand_ik_kernel import COLD, NOT_FINITE, PREVIOUS, START, KernelEngine
from dex_core.kinematics.hand_ik_numpy import NumpyEngine
from dex_core.kinematics.kernel import kernel
from dex_core.kinematics.tree import KinematicTree
from dex_core.types import Array, frozen_array

TOLERANCE_M = 1e-5
MAX_ITERATIONS = 60
POSTURE_WEIGHT = 0.1
ENGINES = ("", "numpy")


class HandIkStatus(IntEnum):
    """How a solve ended, the worst of its fingers."""

    CONVERGED = 0
    """Every weighted target is reached within the tolerance."""
    CLOSEST = 1
    """Some target is out of reach, or out of reach together with the others: the closest point found."""
    MAX_ITERATIONS = 2
    """A search was cut off before it came to rest."""


class HandIkSolution(NamedTuple):
    """Joints for one set of targets.

    Attributes:
        position_rad: (n,) inside the limits, in the order of ``HandIk.names``.
        residual_m: (k,) distance of each tip from its target, in the order asked for.
        status: how it ended. iterations: steps taken, over all fingers.
    """

    position_rad: Array
    residual_m: Array
    status: HandIkStatus
    iterations: int


class HandModel(NamedTuple):
    """What the IK needs of a hand; ``HandKinematics`` has all of it as well, at the price of a second library."""

    tree: KinematicTree
    names: tuple[str, ...]
    fingers: tuple[str, ...]
    tips: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array


class HandIk:
    """Minimises the weighted sum of squared tip distances inside the limits.

    Fingers that share no actuated joint are solved apart. Deterministic; no time limit, but bounded work. One thread at a time.

    Args:
        hand: a ``HandKinematics`` or a ``HandModel``; its root frame is the wrist frame of the targets.
        rest_rad: (n,) posture a redundant finger is drawn to, as far as its target leaves it free; None: the middle of the range,
            from where tracks are followed furthest.
        posture_weight: how far on the way to the rest posture one solve may draw from the previous solution, 0 to 1.
        tolerance_m: a target this near counts as reached.
        max_iterations: of one search from one start.
        engine: empty: compiled where that can be; ``numpy``: the reference.

    Attributes:
        names, fingers, lower_rad, upper_rad: of the hand. rest_rad: (n,).
        tolerance_m: as given. groups: the independent problems.
        compiled: whether the compiled kernel solves.
    """

    def __init__(
        self, hand: HandModel, *, rest_rad: ArrayLike | None = None, posture_weight: float = POSTURE_WEIGHT,
        tolerance_m: float = TOLERANCE_M, max_iterations: int = MAX_ITERATIONS, engine: str = "",
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine {engine!r}; allowed: {list(ENGINES)}")
        if not 0.0 <= posture_weight <= 1.0 or not 0.0 < tolerance_m < 0.1 or max_iterations < 1:
            raise ConfigError(
                f"posture_weight {posture_weight} (0 to 1), tolerance_m {tolerance_m} (above 0, below 0.1) or "
                f"max_iterations {max_iterations} (at least 1)"
            )
        n = len(hand.names)
        self.names, self.fingers = tuple(hand.names), tuple(hand.fingers)
        self.lower_rad = frozen_array(hand.lower_rad, (n,), "lower limits")
        self.upper_rad = frozen_array(hand.upper_rad, (n,), "upper limits")
        rest = 0.5 * (self.lower_rad + self.upper_rad) if rest_rad is None else frozen_array(rest_rad, (n,), "rest posture")
        self.rest_rad = frozen_array(np.clip(rest, self.lower_rad, self.upper_rad), (n,), "rest posture")
        self.groups: list[FingerGroup] = groups_of(hand.tree, hand.tips, self.lower_rad, self.upper_rad)
        self.tolerance_m = tolerance_m
        self.compiled = engine != "numpy" and kernel() is not None
        self.engine = (KernelEngine if self.compiled else NumpyEngine)(
            self.groups, self.lower_rad, self.upper_rad, self.rest_rad, len(self.fingers), tolerance_m, posture_weight, max_iterations
        )

    def solve(
        self, targets_m: ArrayLike, fingers: Sequence[str] | None = None, weights: ArrayLike | None = None,
        start_rad: ArrayLike | None = None, previous_rad: ArrayLike | None = None,
    ) -> HandIkSolution:
        """Joints for (k, 3) targets in the wrist frame.

        With ``previous_rad`` the solution stays on its branch, at the nearest joints, and changes it only where that branch no longer
        reaches. Without it the whole range is searched, from ``start_rad`` first where that is given. Joints that move no wanted finger
        stay at ``previous_rad``, else ``start_rad``, else the rest posture; all three are brought inside the limits first.

        Args:
            targets_m: (k, 3).
            fingers: which k fingers; None: all, in the order of ``self.fingers``.
            weights: (k,) at least 0 each; only their ratio counts, and only between fingers that share joints. 0: the finger has no say.
            start_rad, previous_rad: (n,).

        Raises:
            NonFiniteError: a NaN or infinity; names the finger. ShapeError: another shape. DexError: unknown, repeated or no finger.
        """
        engine, rows = self.engine, self.rows(fingers)
        self.load(rows, weights)
        engine.target[rows] = self._shaped(targets_m, (len(self.fingers) if fingers is None else len(rows), 3), "fingertip targets")
        status = engine.solve(self.start_from(start_rad, previous_rad))
        if status == NOT_FINITE:
            self._name_not_finite(targets_m, fingers)
        return HandIkSolution(engine.q.copy(), engine.residual[rows].copy(), _STATUSES[status], engine.iterations)

    def rows(self, fingers: Sequence[str] | None) -> slice | list[int]:
        """Rows of ``fingers`` among the hand's. Raises DexError on an unknown, repeated or no finger."""
        if fingers is None:
            return _ALL
        if not fingers or len(set(fingers)) != len(fingers) or not set(fingers) <= set(self.fingers):
            raise DexError(f"fingers {list(fingers)}: each of {list(self.fingers)} at most once, at least one", code="joint_names")
        return [self.fingers.index(finger) for finger in fingers]

    def load(self, rows: slice | list[int], weights: ArrayLike | None) -> None:
        """Puts the weights of the wanted rows where the engine reads them; the other fingers have none."""
        engine = self.engine
        if rows is not _ALL:
            engine.weight[:] = 0.0
            engine.target[:] = 0.0
        if weights is None:
            engine.weight[rows] = 1.0
            return
        count = len(self.fingers) if rows is _ALL else len(rows)
        checked = frozen_array(weights, (count,), "weights of the fingers")
        if (checked < 0.0).any():
            raise DexError(f"weights of the fingers: {checked.tolist()}; each must be at least 0", code="weight")
        engine.weight[rows] = checked

    def start_from(self, start_rad: ArrayLike | None, previous_rad: ArrayLike | None) -> int:
        """Puts the start where the engine reads it; gives the engine's mode."""
        given, mode = (previous_rad, PREVIOUS) if previous_rad is not None else (start_rad, START)
        if given is None:
            self.engine.start[:] = self.rest_rad
            return COLD
        self.engine.start[:] = self._shaped(given, (len(self.names),), "previous solution" if mode == PREVIOUS else "start of the search")
        return mode

    @staticmethod
    def _shaped(values: ArrayLike, shape: tuple[int, ...], where: str) -> Array:
        array = np.asarray(values, dtype=float)
        if array.shape != shape:
            raise ShapeError(f"{where}: shape {array.shape}, expected {shape}")
        return array

    def _name_not_finite(self, targets_m: ArrayLike, fingers: Sequence[str] | None) -> None:
        for name, target in zip(self.fingers if fingers is None else fingers, np.asarray(targets_m, dtype=float), strict=True):
            if not np.isfinite(target).all():
                raise NonFiniteError(f"target of finger {name!r}: {target.tolist()}; every number must be finite")
        frozen_array(self.engine.start, (len(self.names),), "start of the search")


def load_hand_ik(name: str, side: str, *, coupling: str = "", **options: object) -> HandIk:
    """The IK of a hand of ``config/hands`` without loading Pinocchio; limits the tighter of its URDF and its configuration.

    Args:
        name: e.g. ``inspire``, or an alias. side: left or right.
        coupling: one of the hand's alternatives; empty: as its URDF says.
        **options: of :class:`HandIk`.

    Raises:
        ConfigError: unknown name, side or coupling; says what there is.
    """
    return HandIk(load_hand_model(name, side, coupling), **options)


def load_hand_model(name: str, side: str, coupling: str = "") -> HandModel:
    """What the IK needs of a hand of ``config/hands``; arguments and errors as :func:`load_hand_ik`."""
    robot = load_robot(name)
    if robot.kind != "hand" or not robot.fingers:
        raise ConfigError(f"{name!r} is of kind {robot.kind!r}; a hand with fingers is needed")
    if side not in robot.sides:
        raise ConfigError(f"hand {robot.name!r} has no side {side!r}; allowed: {list(robot.sides)}")
    robot = robot.for_side(side)
    alternatives = robot.couplings or {}
    if coupling and coupling not in alternatives:
        raise ConfigError(f"{robot.name!r} has no coupling {coupling!r}; it has {sorted(alternatives)}, or none for the URDF's")
    return _model(robot, KinematicTree(read_description(robot.urdf, side), robot.actuated, alternatives.get(coupling)))


def _model(robot: RobotConfig, tree: KinematicTree) -> HandModel:
    limits = [robot.limits[name] for name in tree.names]
    lower = np.maximum(tree.lower_rad, [limit.lower_rad for limit in limits])
    upper = np.minimum(tree.upper_rad, [limit.upper_rad for limit in limits])
    return HandModel(tree, tree.names, tuple(robot.fingers), tuple(f.tip for f in robot.fingers.values()), lower, upper)


_ALL = slice(None)
_STATUSES = tuple(HandIkStatus)
