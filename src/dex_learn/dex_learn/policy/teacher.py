# SPDX-License-Identifier: Apache-2.0
"""The expert as a teacher of every hand: what to do from any state, whether it was visited or made up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig, load_task
from dex_learn.policy.layout import SIDES, STEPS
from dex_sim.expert_push import LOW_Z_M
from dex_sim.expert_shapes import cradle_m, in_world
from dex_sim.expert_tool import ToolExpert
from dex_sim.lockstep import Observation, ToolChunk

Array = NDArray[np.float64]
DEEP_M, SLACK_M = 0.035, 0.002
"""A can lies at most so deep in a hand that pushes it, and so much of it is nobody's concern."""
PRESS_M, MOST_M = 0.004, 0.022
"""A hand goes on past the expert's goal by what its can lags behind: half the gap that is left and a little, at most so far."""
RAMP_STEPS = 8


class Teacher:
    """Labels states of one cell.

    A can lies deeper in one hand than in another, and in a hand that a policy moves not quite where the expert's own shape would hold it.
    The expert would let go and begin again, or stop short; this teacher looks at the cans and pushes on until they meet.
    """

    def __init__(self, cell: CellConfig) -> None:
        self._expert = ToolExpert(cell)
        self._radius_m = {side: load_task("push_cans").objects[f"{side}_can"].radius_m for side in SIDES}

    def __call__(self, seen: Observation, task: str) -> ToolChunk:
        """What to do: of an observation with the true places, for ``push_cans``, ``reorganize_lemons`` or ``rest``."""
        return self.label(seen.tool_poses, {side: seen.joints[f"{side}_hand"] for side in SIDES}, seen.objects_m, task)

    def label(self, tools: Array, hands: Mapping[str, Array], objects_m: Mapping[str, Array], task: str) -> ToolChunk:
        """The same from (2, 4) tool poses, hand joints by side [rad] and objects' middles [m]."""
        if task != "push_cans":
            return self._expert.chunk(tools, hands, objects_m, task)
        cans = [np.asarray(objects_m[f"{side}_can"], dtype=np.float64) for side in SIDES]
        line = cans[0][:2] - cans[1][:2]
        gap = max(0.0, float(np.linalg.norm(line)) - sum(self._radius_m.values()))
        away = line / max(float(np.linalg.norm(line)), 1e-6)
        told, onward = dict(objects_m), np.zeros((2, 2))
        for i, (side, outward) in enumerate(zip(SIDES, (away, -away), strict=True)):
            lag = self._lag_m(side, tools[i], cans[i][:2], outward)
            told[f"{side}_can"] = cans[i] - lag * np.array([*outward, 0.0])
            onward[i] = -min(lag, 0.5 * gap + PRESS_M, MOST_M) * outward
        chunk = self._expert.chunk(tools, hands, told, task)
        if not onward.any():
            return chunk
        ramp = np.minimum(1.0, np.arange(1, STEPS + 1) / RAMP_STEPS)[:, None, None]
        paths = np.array(chunk.tool_poses)
        paths[:, :, :2] += ramp * onward
        return ToolChunk(paths, chunk.hands)

    def _lag_m(self, side: str, tool: Array, can: Array, outward: Array) -> float:
        """How much further out than the expert's shape would hold it the can of a pushing hand is; 0 of a hand that does not push."""
        offset = tool[:2] + in_world(tool[3], cradle_m(side, self._radius_m[side])) - can
        behind = -float(offset @ outward) - SLACK_M
        beside = abs(float(offset @ np.array([-outward[1], outward[0]])))
        turn = (tool[3] - math.atan2(-outward[1], -outward[0]) + math.pi) % (2.0 * math.pi) - math.pi
        pushes = tool[2] <= LOW_Z_M + 0.025 and beside <= 0.020 and abs(turn) < 0.4 and 0.0 < behind < DEEP_M
        return behind if pushes else 0.0
