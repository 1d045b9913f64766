# SPDX-License-Identifier: Apache-2.0
"""Fingertip positions of a chunk -> joints of a hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import DexError
from dex_core.kinematics.chunk_ik import solve_chunk
from dex_core.kinematics.hand import HandKinematics
from dex_core.kinematics.hand_ik import HandIk, HandModel
from dex_core.types import Array, frozen_array


class FingertipSolution(NamedTuple):
    """Result for T steps.

    Attributes:
        position_rad: (T, n) inside the limits [rad]; where a target is out of reach, the closest point found.
        residual_m: (T,) largest distance of a fingertip from its target [m].
        feasible: (T,) residual within the tolerance.
    """

    position_rad: Array
    residual_m: Array
    feasible: np.ndarray


class FingertipSolver:
    """Solves a chunk of fingertip targets as one: ``chunk_ik`` within narrower limits, started from the measured joints.

    Deterministic: no random numbers, no time limit. One thread at a time.

    Args:
        kinematics: of the hand; its joint names carry no side prefix.
        lower_rad, upper_rad: (n,) limits to keep, in the order of ``kinematics.names`` [rad].
        tolerance_m: residual up to which a target counts as reached [m].
    """

    def __init__(self, kinematics: HandKinematics, lower_rad: ArrayLike, upper_rad: ArrayLike, tolerance_m: float = 1e-3) -> None:
        n = len(kinematics.names)
        lower, upper = frozen_array(lower_rad, (n,), "lower limits"), frozen_array(upper_rad, (n,), "upper limits")
        if not (lower < upper).all():
            raise DexError(f"lower limits {lower} must be below upper limits {upper}", code="limit")
        self._ik = HandIk(HandModel(kinematics.tree, kinematics.names, kinematics.fingers, kinematics.tips, lower, upper))
        self._tolerance_m = tolerance_m

    @property
    def joints(self) -> tuple[str, ...]:
        """Joint names without prefix, the order of every solution."""
        return self._ik.names

    @property
    def fingers(self) -> tuple[str, ...]:
        """Semantic names of the fingers it can place."""
        return self._ik.fingers

    def solve(self, targets_m: ArrayLike, fingers: Sequence[str], start_rad: ArrayLike) -> FingertipSolution:
        """Joints for (T, k, 3) targets of ``fingers`` in the hand's root frame [m].

        Args:
            targets_m: (T, k, 3).
            fingers: k semantic names; joints that move none of them stay at ``start_rad``.
            start_rad: (n,) measured joints the first step starts from [rad].
        """
        solved = solve_chunk(self._ik, targets_m, fingers=fingers, start_rad=start_rad)
        residual = solved.residual_m.max(axis=1)
        return FingertipSolution(solved.position_rad, residual, residual <= self._tolerance_m)
