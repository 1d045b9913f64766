# SPDX-License-Identifier: Apache-2.0
"""The scripted teacher: from one measured state to the next 3.2 s of joints, for any state it is shown.

It keeps no memory, so it can label what another policy visited. The cans are pushed towards each other along the
line that joins them, each by the cupped fingers of its own hand, to where that line crosses y = 0; pushing along
the line leaves the line as it is, so a plan made in mid-motion agrees with the one before.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig, TaskConfig, load_task
from dex_core.types import frozen_array
from dex_sim.toolpose import ToolArm
from dex_sim.trajectory import Leg, sample_path

Array = NDArray[np.float64]

SIDES = ("left", "right")
PUSH, REST = "push", "rest"
STEPS, DT_S = 64, 0.05
LOW_Z_M = 0.228
HIGH_Z_M = 0.345
BEHIND_M = 0.070  # where the hand comes down, cup to can
CLEAR_M = 0.035  # nearer than this the hand may touch the can
SQUEEZE_M = 0.004  # how far past touching each hand goes
FREE_SPEED_M_S, PUSH_SPEED_M_S = 0.24, 0.09
FINGER_SPEED_RAD_S = 1.2
CUPPED_RAD = {
    "pinky_proximal_joint": 0.30, "ring_proximal_joint": 0.06, "middle_proximal_joint": 0.06, "index_proximal_joint": 0.30,
    "thumb_proximal_pitch_joint": 0.0, "thumb_proximal_yaw_joint": 0.0,
}


@dataclass(frozen=True)
class Measured:
    """What the expert looks at: joints in rad in hardware order by interface, can -> (x, y) in m in ``world``."""

    joints: dict[str, Array]
    cans_m: dict[str, Array]


class Expert:
    """Labels states of one cell. One object per thread."""

    def __init__(self, cell: CellConfig, task: TaskConfig | None = None) -> None:
        self._task = task or load_task(cell.sim.task)
        self._arms = {side: ToolArm(cell, side) for side in SIDES}
        self._rest = {side: np.array(cell.interface(f"{side}_hand").home) for side in SIDES}
        self._home = {side: np.array(cell.interface(f"{side}_arm").home) for side in SIDES}
        hands = {side: cell.interface(f"{side}_hand").robot for side in SIDES}
        self._cupped = {side: np.array([CUPPED_RAD[name] for name in hands[side].actuated]) for side in SIDES}

    def chunk(self, measured: Measured, task: str = PUSH) -> Array:
        """(64, 26) joint targets in rad: left arm 7, right arm 7, left hand 6, right hand 6.

        Action k is for 0.05 s * (1 + k) after ``measured``.

        Args:
            measured: joints and cans at one instant.
            task: ``push`` or ``rest``.
        """
        if task not in (PUSH, REST):
            raise ValueError(f"task {task!r} is not known; allowed: {PUSH}, {REST}")
        parts = [self._side_chunk(side, measured, task) for side in SIDES]
        return np.concatenate([part[0] for part in parts] + [part[1] for part in parts], axis=1)

    def _side_chunk(self, side: str, measured: Measured, task: str) -> tuple[Array, Array]:
        """Arm (64, 7) and hand (64, 6) of one side."""
        arm = self._arms[side]
        q = frozen_array(measured.joints[f"{side}_arm"], (7,), f"{side} arm joints")
        fingers = frozen_array(measured.joints[f"{side}_hand"], (6,), f"{side} hand joints")
        pose = arm.pose(q)
        if task == PUSH:
            cans = {name: frozen_array(measured.cans_m[f"{name}_can"], (2,), f"{name} can") for name in SIDES}
            other = cans["right" if side == "left" else "left"]
            legs, shape, wait_s = self._push_legs(pose, cans[side], other), self._cupped[side], 0.0
        else:  # the fingers close only when they are above the cans
            legs, shape = _rest_legs(pose, arm.home), self._rest[side]
            wait_s = max(0.0, HIGH_Z_M - 0.02 - pose[2]) / FREE_SPEED_M_S
        return sample_path(arm, q, pose, legs, STEPS, DT_S), _approach(fingers, shape, wait_s)

    def _push_legs(self, pose: Array, can: Array, other: Array) -> list[Leg]:
        away = can - other
        distance = float(np.linalg.norm(away))
        away = away / max(distance, 1e-6)
        goal_can = _meeting_side(can, other, self._task.objects["left_can"].radius_m - SQUEEZE_M)
        yaw = _nearest_angle(math.atan2(-away[1], -away[0]), pose[3])
        goal = np.array([*goal_can, LOW_Z_M, yaw])
        behind = np.array([*(can + away * BEHIND_M), LOW_Z_M, yaw])
        offset = pose[:2] - can
        back, beside = float(offset @ away), float(offset @ np.array([-away[1], away[0]]))
        turned = abs(pose[3] - yaw)
        if self._is_in_channel(pose[2], back, beside, turned):
            return _push_from(pose, can, away, goal, behind, back)
        push = Leg(goal, PUSH_SPEED_M_S)
        if back >= CLEAR_M:
            return [Leg(behind, FREE_SPEED_M_S), push]
        high = np.array([*behind[:2], HIGH_Z_M, yaw])
        over = [Leg(high, FREE_SPEED_M_S), Leg(behind, FREE_SPEED_M_S), push]
        if pose[2] >= HIGH_Z_M - 0.015:
            return over
        lift = np.array([pose[0], pose[1], HIGH_Z_M, pose[3]])
        return [Leg(lift, FREE_SPEED_M_S), *over]

    @staticmethod
    def _is_in_channel(z_m: float, back_m: float, beside_m: float, turned_rad: float) -> bool:
        low = z_m <= LOW_Z_M + 0.02
        aligned = abs(beside_m) <= 0.022 + 0.3 * max(0.0, back_m) and turned_rad < 0.4
        return low and aligned and -0.015 <= back_m <= BEHIND_M + 0.04


def _push_from(pose: Array, can: Array, away: Array, goal: Array, behind: Array, back_m: float) -> list[Leg]:
    """Straight to the goal; what is left of the sideways error goes over the next centimetres."""
    remaining = float(np.linalg.norm(goal[:2] - pose[:2]))
    joined = goal.copy()
    ahead = max(0.08, back_m)
    if remaining > ahead:
        joined[:2] = can + away * (back_m - ahead)
        return [Leg(joined, PUSH_SPEED_M_S), Leg(goal, PUSH_SPEED_M_S)]
    return [Leg(goal, PUSH_SPEED_M_S)]


def _meeting_side(can: Array, other: Array, offset_m: float) -> Array:
    """(2,) where the centre of ``can`` stops: ``offset_m`` before the point where the line of the cans crosses y = 0."""
    span = can[1] - other[1]
    fraction = 0.5 if abs(span) < 1e-6 else float(np.clip(can[1] / span, 0.15, 0.85))
    meeting = can + fraction * (other - can)
    away = (can - other) / max(float(np.linalg.norm(can - other)), 1e-6)
    return meeting + away * offset_m


def _rest_legs(pose: Array, home: Array) -> list[Leg]:
    home = home.copy()
    home[3] = _nearest_angle(home[3], pose[3])
    near = float(np.linalg.norm(pose[:2] - home[:2])) < 0.06
    if near or pose[2] >= HIGH_Z_M - 0.02:
        return [Leg(home, FREE_SPEED_M_S)]
    lift = pose.copy()
    lift[:2] -= 0.03 * np.array([math.cos(pose[3]), math.sin(pose[3])]) * min(1.0, (HIGH_Z_M - pose[2]) / 0.1)
    lift[2] = HIGH_Z_M
    return [Leg(lift, FREE_SPEED_M_S), Leg(home, FREE_SPEED_M_S)]


def _nearest_angle(angle: float, reference: float) -> float:
    return reference + (angle - reference + math.pi) % (2.0 * math.pi) - math.pi


def _approach(start: Array, target: Array, wait_s: float) -> Array:
    """(64, n) from ``start`` to ``target`` at the fingers' speed, begun after ``wait_s``."""
    times = DT_S * np.arange(1, STEPS + 1)[:, None]
    step = FINGER_SPEED_RAD_S * np.maximum(0.0, times - wait_s)
    return start + np.clip(target - start, -step, step)
