# SPDX-License-Identifier: Apache-2.0
"""How one hand brings its fruit into the bowl: around it, thumb closed on it, up, over the bowl, open, away."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_sim.expert_path import SHAPE_SPEED_RAD_S, Step, nearest_angle, shape_time_s
from dex_sim.expert_shapes import HandShapes, in_world, mouth_m

Array = NDArray[np.float64]

YAW_RAD = {"left": -0.5 * math.pi, "right": 0.5 * math.pi}
GRIP_Z_M, CARRY_Z_M, DROP_Z_M = 0.021, 0.165, 0.100
MOUTH_M = 0.012  # middle of the open hand, from the grasp frame towards the thumb
ASIDE_M = 0.025  # the left hand lets go so far left of the bowl's middle, the right one right of it
WAIT_Y_M, ZONE_M = 0.24, 0.20  # a hand waits this far out while the other is nearer to the bowl than this
HELD_M, GRIPPED_M, LIFTED_Z_M = 0.040, 0.022, 0.045
CLOSED_S = 0.30  # squeezing before lifting
FREE_SPEED_M_S, CARRY_SPEED_M_S, DOWN_SPEED_M_S, LIFT_SPEED_M_S = 0.28, 0.25, 0.16, 0.15


@dataclass(frozen=True)
class Scene:
    """What both sides see: side -> tool pose (4,), hand joints (n,), its fruit's middle (3,); the bowl's middle (3,) and radius, in m."""

    poses: dict[str, Array]
    hands: dict[str, Array]
    fruits: dict[str, Array]
    bowl: Array
    bowl_radius_m: float


@dataclass(frozen=True)
class LemonSide:
    """One side's way of picking and placing.

    Attributes:
        side: left or right.
        shapes: of its hand.
        away: (4,) tool pose to go to when its fruit is in the bowl.
    """

    side: str
    shapes: HandShapes
    away: Array

    def steps(self, scene: Scene) -> list[Step]:
        """What to do next."""
        pose, fruit, hand = scene.poses[self.side], scene.fruits[self.side], scene.hands[self.side]
        yaw = nearest_angle(YAW_RAD[self.side], pose[3])
        if in_bowl(scene, self.side):
            return self._leave(pose, hand, yaw)
        if self._holds(pose, hand, fruit):
            return self._place(scene, pose, yaw)
        return self._pick(scene, pose, hand, fruit, yaw)

    def _holds(self, pose: Array, hand: Array, fruit: Array) -> bool:
        near, up = float(np.linalg.norm(fruit - pose[:3])), fruit[2] > LIFTED_Z_M
        return bool((up and near < HELD_M) or (near < GRIPPED_M and pose[2] > GRIP_Z_M + 0.010 and not self._still_open(hand)))

    def _leave(self, pose: Array, hand: Array, yaw: float) -> list[Step]:
        """Opens where it is, then up, then out of the way."""
        opened, shape = shape_time_s(hand, self.shapes.open), self.shapes.open
        away = np.array([*self.away[:3], nearest_angle(self.away[3], pose[3])])
        last = Step(away, FREE_SPEED_M_S, shape)
        if pose[2] >= CARRY_Z_M - 0.02 or np.linalg.norm(pose[:2] - away[:2]) < 0.06:
            return [last]
        return [Step(pose, FREE_SPEED_M_S, shape, opened), Step(np.array([*pose[:2], CARRY_Z_M, yaw]), FREE_SPEED_M_S, shape), last]

    def _place(self, scene: Scene, pose: Array, yaw: float) -> list[Step]:
        """Up, over the bowl when it is free, down, open."""
        grasp, drop = self.shapes.grasp, scene.bowl[:2] + [0.0, ASIDE_M if self.side == "left" else -ASIDE_M]
        low = np.array([*drop, DROP_Z_M, yaw])
        let_go = Step(low, DOWN_SPEED_M_S, self.shapes.open, 0.8)
        if np.linalg.norm(pose[:2] - drop) < 0.02:
            return [let_go] if pose[2] < DROP_Z_M + 0.02 else [Step(low, DOWN_SPEED_M_S, grasp), let_go]
        lift = Step(np.array([*pose[:2], CARRY_Z_M, yaw]), LIFT_SPEED_M_S, grasp)
        first = [] if pose[2] > CARRY_Z_M - 0.03 else [lift]
        return [*first, *self._over(scene, drop, yaw, grasp)] if self._must_wait(scene) else [
            *first, Step(np.array([*drop, CARRY_Z_M, yaw]), CARRY_SPEED_M_S, grasp), Step(low, DOWN_SPEED_M_S, grasp), let_go,
        ]

    def _over(self, scene: Scene, drop: Array, yaw: float, shape: Array) -> list[Step]:
        """Waits at its own side of the bowl."""
        side = 1.0 if self.side == "left" else -1.0
        return [Step(np.array([drop[0], side * WAIT_Y_M, CARRY_Z_M, yaw]), CARRY_SPEED_M_S, shape)]

    def _must_wait(self, scene: Scene) -> bool:
        """The hand that is in the bowl's neighbourhood goes first; when neither is, the left one."""
        other = "right" if self.side == "left" else "left"
        own, theirs = (float(np.linalg.norm(scene.poses[side][:2] - scene.bowl[:2])) for side in (self.side, other))
        if theirs < ZONE_M and not (own < ZONE_M and (own < theirs or self.side == "left")):
            return True
        return self.side == "right" and own >= ZONE_M and self_holds_other(scene, other)

    def _pick(self, scene: Scene, pose: Array, hand: Array, fruit: Array, yaw: float) -> list[Step]:
        mouth = self._mouth(yaw)
        over, opened = fruit[:2] - mouth, self.shapes.open
        offset = fruit[:2] - pose[:2]
        toward = float(offset @ mouth) / MOUTH_M
        beside = float(np.linalg.norm(offset - toward * mouth / MOUTH_M))
        turned = abs(yaw - pose[3]) > 0.2
        low = pose[2] < GRIP_Z_M + 0.018
        between = -0.014 < toward < 0.042 and beside < 0.022 and not turned
        grip = np.array([*fruit[:2], GRIP_Z_M, yaw])
        after = self._after_grip(scene, grip, yaw)
        if low and between:
            close = shape_time_s(hand, self.shapes.grasp) if self._still_open(hand) else 0.0
            return [Step(grip, 0.05, self.shapes.grasp, close + CLOSED_S), *after]
        closing = Step(grip, 0.05, self.shapes.grasp, shape_time_s(opened, self.shapes.grasp) + CLOSED_S)
        down = [Step(np.array([*over, GRIP_Z_M, yaw]), DOWN_SPEED_M_S, opened), closing, *after]
        near = float(np.linalg.norm(pose[:2] - over))
        ready = shape_time_s(hand, opened) < 0.15 / SHAPE_SPEED_RAD_S + 0.05
        if near < 0.012 + 0.1 * max(0.0, pose[2] - GRIP_Z_M) and ready and not turned:
            return down
        above = Step(np.array([*over, CARRY_Z_M * 0.7, yaw]), FREE_SPEED_M_S, opened, shape_time_s(hand, opened))
        if pose[2] > CARRY_Z_M * 0.7 - 0.02:
            return [above, *down]
        lift = Step(np.array([*pose[:2], CARRY_Z_M * 0.7, pose[3]]), FREE_SPEED_M_S, opened)
        return [lift, above, *down]

    def _after_grip(self, scene: Scene, grip: Array, yaw: float) -> list[Step]:
        drop = scene.bowl[:2]
        lift = Step(np.array([*grip[:2], CARRY_Z_M, yaw]), LIFT_SPEED_M_S, self.shapes.grasp)
        return [lift, *self._over(scene, drop, yaw, self.shapes.grasp)]

    def _still_open(self, hand: Array) -> bool:
        return self.shapes.gap_m(hand) > self.shapes.touching_m + 0.004

    def _mouth(self, yaw: float) -> Array:
        """(2,) grasp frame to the middle of the open hand in ``world``."""
        return in_world(yaw, mouth_m(self.side, MOUTH_M))


def in_bowl(scene: Scene, side: str) -> bool:
    """Whether this side's fruit lies in the bowl."""
    offset = scene.fruits[side] - scene.bowl
    return bool(np.hypot(offset[0], offset[1]) < scene.bowl_radius_m - 0.005 and offset[2] < 0.040)


def self_holds_other(scene: Scene, other: str) -> bool:
    """Whether the other side has its fruit lifted and not yet in the bowl."""
    fruit, pose = scene.fruits[other], scene.poses[other]
    return bool(not in_bowl(scene, other) and fruit[2] > LIFTED_Z_M and np.linalg.norm(fruit - pose[:3]) < HELD_M)
