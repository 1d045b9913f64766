# SPDX-License-Identifier: Apache-2.0
"""How one hand pushes its can to the other can: cradled between thumb and index, along the line that joins the cans."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_sim.expert_path import Step, nearest_angle, shape_time_s
from dex_sim.expert_shapes import cradle_m, in_world

Array = NDArray[np.float64]

LOW_Z_M, HIGH_Z_M = 0.050, 0.165
BEHIND_M = 0.070  # where the hand comes down, cradle to can
CLEAR_M = 0.040  # nearer than this the hand may touch the can
SQUEEZE_M = 0.005  # how far past touching each hand goes
FREE_SPEED_M_S, PUSH_SPEED_M_S = 0.26, 0.10


@dataclass(frozen=True)
class PushSide:
    """One side's way of pushing.

    Attributes:
        side: left or right.
        shape: (n,) hand joints while it pushes.
        radius_m: of the can.
    """

    side: str
    shape: Array
    radius_m: float

    def steps(self, pose: Array, hand: Array, can: Array, other: Array) -> list[Step]:
        """What to do next.

        Args:
            pose: (4,) tool pose.
            hand: (n,) hand joints; fingers that are still stretched are given time before they go down.
            can: (2,) middle of this side's can.
            other: (2,) middle of the other.
        """
        away = can - other
        away = away / max(float(np.linalg.norm(away)), 1e-6)
        yaw = nearest_angle(math.atan2(-away[1], -away[0]), pose[3])
        goal = _meeting(can, other, self.radius_m - SQUEEZE_M)
        behind = can + away * BEHIND_M
        cradle = pose[:2] + self._to_cradle(pose[3])
        offset = cradle - can
        back, beside = float(offset @ away), float(offset @ np.array([-away[1], away[0]]))
        if pose[2] <= LOW_Z_M + 0.025 and self._is_behind(back, beside, abs(pose[3] - yaw)):
            return self._push(can, away, goal, back, yaw, cradle)
        push = self._step(goal, LOW_Z_M, yaw, PUSH_SPEED_M_S)
        down = [self._step(behind, LOW_Z_M, yaw, FREE_SPEED_M_S), push]
        if back >= CLEAR_M and pose[2] <= LOW_Z_M + 0.025:
            return down
        over = [self._step(behind, HIGH_Z_M, yaw, FREE_SPEED_M_S, shape_time_s(hand, self.shape)), *down]
        if pose[2] >= HIGH_Z_M - 0.02 or np.linalg.norm(cradle - behind) < 0.025 + 0.2 * max(0.0, pose[2] - LOW_Z_M):
            return over if pose[2] >= HIGH_Z_M - 0.02 else down
        lift = np.array([pose[0], pose[1], HIGH_Z_M, pose[3]])
        return [Step(lift, FREE_SPEED_M_S, self.shape), *over]

    @staticmethod
    def _is_behind(back_m: float, beside_m: float, turned_rad: float) -> bool:
        aligned = abs(beside_m) <= 0.020 + 0.3 * max(0.0, back_m) and turned_rad < 0.4
        return aligned and -0.015 <= back_m <= BEHIND_M + 0.04

    def _push(self, can: Array, away: Array, goal: Array, back: float, yaw: float, cradle: Array) -> list[Step]:
        """Straight to the goal; what is left of the sideways error goes over the next centimetres."""
        ahead = max(0.08, back)
        joined = can + away * (back - ahead)
        last = self._step(goal, LOW_Z_M, yaw, PUSH_SPEED_M_S)
        if np.linalg.norm(goal - cradle) > ahead:
            return [self._step(joined, LOW_Z_M, yaw, PUSH_SPEED_M_S), last]
        return [last]

    def _step(self, cradle: Array, z: float, yaw: float, speed: float, least_s: float = 0.0) -> Step:
        place = cradle - self._to_cradle(yaw)
        return Step(np.array([place[0], place[1], z, yaw]), speed, self.shape, least_s)

    def _to_cradle(self, yaw: float) -> Array:
        """(2,) grasp frame to the cradled can's middle in ``world``."""
        return in_world(yaw, cradle_m(self.side, self.radius_m))


def _meeting(can: Array, other: Array, offset_m: float) -> Array:
    """(2,) where the middle of ``can`` stops: ``offset_m`` before the point where the line of the cans crosses y = 0."""
    span = can[1] - other[1]
    fraction = 0.5 if abs(span) < 1e-6 else float(np.clip(can[1] / span, 0.15, 0.85))
    away = (can - other) / max(float(np.linalg.norm(can - other)), 1e-6)
    return can + fraction * (other - can) + away * offset_m
