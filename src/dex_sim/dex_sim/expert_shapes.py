# SPDX-License-Identifier: Apache-2.0
"""The few shapes a teacher gives to a hand, the same pinch in every hand: found by inverse kinematics, not by tables of joints."""
from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig
from dex_core.retarget.grasp import GRASP_GAP_M, PinchingHand, pinch_direction

Array = NDArray[np.float64]

OPEN_GAP_M, OPEN_RAD = 0.095, (math.radians(95.0), math.radians(35.0))
PUSH_GAP_M, PUSH_RAD = 0.078, (math.radians(90.0), math.radians(35.0))
CLOSED_GAP_M = 0.040
"""Narrower than what is gripped: the servos' stiffness makes the squeeze."""


class HandShapes:
    """Joints of one mounted hand. The fingers stay as they are; the thumb opens, cradles a can and closes.

    Args:
        cell: the cell.
        side: left or right.

    Attributes:
        open, push, grasp: (n,) joints in rad, hardware order: around a fruit, behind a can, and closed on a fruit.
    """

    def __init__(self, cell: CellConfig, side: str) -> None:
        interface = cell.interface(f"{side}_hand")
        self._pinching, joints = _shapes(interface.robot.name, side)
        lower = [limit.lower_rad for limit in interface.limits]
        upper = [limit.upper_rad for limit in interface.limits]
        self.open, self.push, self.grasp = (np.clip(shape, lower, upper) for shape in joints)
        for shape in (self.open, self.push, self.grasp):
            shape.setflags(write=False)

    def gap_m(self, joints: ArrayLike) -> float:
        """Distance from thumb tip to index tip of measured joints (n,)."""
        return float(np.linalg.norm(self._pinching.vector(np.asarray(joints, dtype=float))))


@cache
def _shapes(name: str, side: str) -> tuple[PinchingHand, tuple[Array, ...]]:
    """A hand and its joints (open, push, grasp) in the order of its configuration."""
    pinching = PinchingHand(name, side)
    pinch = pinching.pinch(GRASP_GAP_M)
    wanted = (OPEN_GAP_M * pinch_direction(side, *OPEN_RAD), PUSH_GAP_M * pinch_direction(side, *PUSH_RAD), CLOSED_GAP_M * pinch_direction(side))
    return pinching, tuple(pinching.thumb_to(pinch, vector) for vector in wanted)
