# SPDX-License-Identifier: Apache-2.0
"""The scripted teacher of every hand: from one measured state to the next 3.2 s of tool poses and hand shapes, without memory."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.config import CellConfig, load_task
from dex_core.types import frozen_array
from dex_sim.expert_lemons import LemonSide, Scene
from dex_sim.expert_path import Step, nearest_angle, sample_steps
from dex_sim.expert_push import PushSide
from dex_sim.expert_shapes import HandShapes
from dex_sim.lockstep import SIDES, Observation, ToolChunk

Array = NDArray[np.float64]

PUSH, LEMONS, REST = "push_cans", "reorganize_lemons", "rest"
FRUITS = {"left": "lemon", "right": "lime"}
REST_POSE = {"left": (0.27, 0.45, 0.22, -0.5 * math.pi), "right": (0.27, -0.45, 0.22, 0.5 * math.pi)}
REST_SPEED_M_S, RISE_Z_M = 0.26, 0.18


class ToolExpert:
    """Labels states of one cell, whatever hands it has. One object per thread.

    Args:
        cell: with both tasks.

    Attributes:
        shapes: side -> the shapes its hand takes.
    """

    def __init__(self, cell: CellConfig) -> None:
        self.shapes = {side: HandShapes(cell, side) for side in SIDES}
        self._lemon = {side: LemonSide(side, self.shapes[side], np.array(REST_POSE[side])) for side in SIDES}
        self._bowl_radius_m = load_task(LEMONS).objects["bowl"].radius_m
        cans = load_task(PUSH).objects
        self._push = {side: PushSide(side, self.shapes[side].push, cans[f"{side}_can"].radius_m) for side in SIDES}

    def chunk(self, tool_poses: ArrayLike, hands: Mapping[str, ArrayLike], objects_m: Mapping[str, ArrayLike], task: str = PUSH) -> ToolChunk:
        """What to do from this state. Action k is for 0.05 s * (1 + k) later.

        Args:
            tool_poses: (2, 4) measured, left and right.
            hands: side -> (n,) measured joints in rad.
            objects_m: object -> (3,) middle in ``world``; ``rest`` looks at none.
            task: ``push_cans``, ``reorganize_lemons`` or ``rest``.
        """
        poses = frozen_array(tool_poses, (2, 4), "tool poses")
        joints = {side: frozen_array(hands[side], (len(self.shapes[side].open),), f"{side} hand joints") for side in SIDES}
        if task == REST:
            steps = {side: self._rest(side, pose) for side, pose in zip(SIDES, poses, strict=True)}
        elif task == PUSH:
            cans = {side: frozen_array(objects_m[f"{side}_can"], (3,), f"{side} can")[:2] for side in SIDES}
            others = {"left": cans["right"], "right": cans["left"]}
            steps = {s: self._push[s].steps(pose, joints[s], cans[s], others[s]) for s, pose in zip(SIDES, poses, strict=True)}
        elif task == LEMONS:
            steps = self._lemons(poses, joints, objects_m)
        else:
            raise ValueError(f"task {task!r} is not known; allowed: {PUSH}, {LEMONS}, {REST}")
        sampled = {side: sample_steps(pose, joints[side], steps[side]) for side, pose in zip(SIDES, poses, strict=True)}
        return ToolChunk(np.stack([sampled[side][0] for side in SIDES], axis=1), {side: sampled[side][1] for side in SIDES})

    def _lemons(self, poses: Array, joints: dict[str, Array], objects_m: Mapping[str, ArrayLike]) -> dict[str, list[Step]]:
        places = {name: frozen_array(objects_m[name], (3,), name) for name in (*FRUITS.values(), "bowl")}
        scene = Scene(
            dict(zip(SIDES, poses, strict=True)), joints, {side: places[fruit] for side, fruit in FRUITS.items()}, places["bowl"],
            self._bowl_radius_m,
        )
        return {side: self._lemon[side].steps(scene) for side in SIDES}

    def _rest(self, side: str, pose: Array) -> list[Step]:
        home, shape = np.array(REST_POSE[side]), self.shapes[side].open
        home[3] = nearest_angle(home[3], pose[3])
        last = Step(home, REST_SPEED_M_S, shape)
        if pose[2] >= RISE_Z_M - 0.02 or np.linalg.norm(pose[:2] - home[:2]) < 0.06:
            return [last]
        lift = np.array([*pose[:2], RISE_Z_M, pose[3]])
        return [Step(lift, REST_SPEED_M_S, shape), last]


def tool_expert_policy(cell: CellConfig, task: str = PUSH) -> Callable[[Observation], ToolChunk]:
    """The expert as a policy: looks at the truth in the observation."""
    expert = ToolExpert(cell)

    def act(observation: Observation) -> ToolChunk:
        hands = {side: observation.joints[f"{side}_hand"] for side in SIDES}
        return expert.chunk(observation.tool_poses, hands, observation.objects_m, task)

    return act
