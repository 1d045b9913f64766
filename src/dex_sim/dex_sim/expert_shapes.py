# SPDX-License-Identifier: Apache-2.0
"""The few shapes a teacher gives to a hand, the same pinch in every hand: found by inverse kinematics, not by tables of joints."""
from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig
from dex_core.retarget.grasp import PinchingHand, pinch_direction
from dex_description import interface_description
from dex_sim.servos import servos_of

Array = NDArray[np.float64]

OPEN_M, OPEN_RAD = 0.030, (math.radians(110.0), math.radians(18.0))
"""By so much further than around the ball is the thumb from the index when the hand is open, and in this direction."""
PUSH_GAP_M, PUSH_RAD = 0.078, (math.radians(97.0), math.radians(10.0))
SQUEEZE_N, SPARE_M = 8.0, 0.003
"""The hand closes so much further than to the touch that its servos press with this force, and a little more for what is not known."""
PROBE_RAD = 1e-4
TIPS_AHEAD_M, BALL_GAP_M = 0.013, 0.074
"""Middle of the tips in front of the middle of the ball, and tip to tip around it, about, in every hand."""
FINGER_M = 0.008
"""Half a finger's thickness."""


def in_world(yaw: float, palm_m: ArrayLike) -> Array:
    """(2,) in ``world`` of a vector (2,) along the palm's +X and +Y, fingers down, palm looking along ``yaw``."""
    x, y = np.asarray(palm_m, dtype=float)
    return np.array([x * math.cos(yaw) + y * math.sin(yaw), x * math.sin(yaw) - y * math.cos(yaw)])


def mouth_m(side: str, way_m: float) -> Array:
    """(2,) ``way_m`` from the grasp frame towards the thumb's tip, level, on the palm's axes: the middle of the open hand."""
    toward = -pinch_direction(side)[:2]
    return way_m * toward / np.linalg.norm(toward)


def cradle_m(side: str, radius_m: float) -> Array:
    """(2,) grasp frame to the middle of an upright can that index and thumb push, on the palm's axes."""
    index = np.array([TIPS_AHEAD_M, 0.0]) + 0.5 * BALL_GAP_M * pinch_direction(side)[:2]
    thumb = index - PUSH_GAP_M * pinch_direction(side, *PUSH_RAD)[:2]
    jaw = index - thumb
    ahead = np.array([-jaw[1], jaw[0]]) * (1.0 if jaw[1] < 0.0 else -1.0) / np.linalg.norm(jaw)
    return 0.5 * (index + thumb) + math.sqrt((radius_m + FINGER_M) ** 2 - 0.25 * float(jaw @ jaw)) * ahead


class HandShapes:
    """Joints of one mounted hand. The fingers stay nearly as they are; the thumb opens, cradles a can and closes.

    Args:
        cell: the cell.
        side: left or right.

    Attributes:
        touching_m: tip to tip when it just touches a fruit.
        open, push, grasp: (n,) joints in rad, hardware order: around a fruit, behind a can, and closed on a fruit.
    """

    def __init__(self, cell: CellConfig, side: str) -> None:
        interface = cell.interface(f"{side}_hand")
        self._side = side
        description = interface_description(interface)
        servos = servos_of(interface.robot, description, interface.home_rad)
        stiffness = tuple(servos[joint].stiffness_nm_rad for joint in interface.robot.actuated)
        self._pinching, joints, self.touching_m = _shapes(interface.robot.name, side, stiffness)
        lower = [limit.lower_rad for limit in interface.limits]
        upper = [limit.upper_rad for limit in interface.limits]
        self.open, self.push, self.grasp = (np.clip(shape, lower, upper) for shape in joints)
        for shape in (self.open, self.push, self.grasp):
            shape.setflags(write=False)

    def gap_m(self, joints: ArrayLike) -> float:
        """How far the index's tip is from the thumb's along the pinch, measured joints (n,)."""
        return float(self._pinching.vector(np.asarray(joints, dtype=float)) @ pinch_direction(self._side))


def _compliance(pinching: PinchingHand, q: Array, level: Array, stiffness: Array) -> float:
    """By how much the tips give way along ``level`` (3,) per force between them [m/N], the joints (n,) being springs."""
    rates = [float((pinching.vector(q + PROBE_RAD * row) - pinching.vector(q)) @ level) / PROBE_RAD for row in np.eye(len(q))]
    return float(np.sum(np.square(rates) / stiffness))


@cache
def _shapes(name: str, side: str, stiffness_nm_rad: tuple[float, ...]) -> tuple[PinchingHand, tuple[Array, ...], float]:
    """A hand, its joints (open, push, grasp) in the order of its configuration, and its gap around a ball [m]."""
    pinching = PinchingHand(name, side)
    hold = pinching.hold()
    level, tips = pinch_direction(side), BALL_GAP_M * pinch_direction(side)  # a tilt turns a hand about its pinch: level stays level
    wide = pinching.thumb_to(hold.position_rad, hold.vector_m - tips + hold.axes @ ((BALL_GAP_M + OPEN_M) * pinch_direction(side, *OPEN_RAD)))
    push = pinching.thumb_to(hold.position_rad, hold.vector_m - tips + hold.axes @ (PUSH_GAP_M * pinch_direction(side, *PUSH_RAD)))
    closer = SPARE_M + SQUEEZE_N * _compliance(pinching, hold.position_rad, level, np.array(stiffness_nm_rad))
    grasp = pinching.narrowed(hold.position_rad, hold.vector_m - closer * level)
    return pinching, (wide, push, grasp), float(hold.vector_m @ level)
