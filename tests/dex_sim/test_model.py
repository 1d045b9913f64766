# SPDX-License-Identifier: Apache-2.0
"""The physics of a pinch."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_sim.expert_lemons import GRIP_Z_M, YAW_RAD
from dex_sim.expert_shapes import HandShapes, in_world, mouth_m
from dex_sim.lockstep import SIDES, LockstepCell, ToolChunk

FRUITS = {"left": "lemon", "right": "lime"}


@pytest.mark.parametrize("hand", ["ability", "inspire"])
def test_a_lifted_fruit_stays_in_the_fingers(hand: str) -> None:
    lockstep = LockstepCell(load_cell("xarm_bimanual", left_hand=hand, right_hand=hand), render=False)
    lockstep.reset(1, "reorganize_lemons")
    start, shapes = lockstep.observe(image=False), {side: HandShapes(lockstep.cell, side) for side in SIDES}
    keys = np.array([0.0, 2.2, 2.9, 3.1, 3.5, 3.8, 4.8, 8.0])
    places, postures = {}, {}
    for i, side in enumerate(SIDES):
        yaw, fruit = YAW_RAD[side], start.objects_m[FRUITS[side]]
        beside, own = fruit[:2] - in_world(yaw, mouth_m(side, 0.012)[:2]), shapes[side]
        above, low, closed, lifted = ([*xy, z, yaw] for xy, z in ((beside, 0.12), (beside, GRIP_Z_M), (fruit[:2], GRIP_Z_M), (fruit[:2], 0.165)))
        places[side] = np.unwrap(np.array([start.tool_poses[i], above, low, low, closed, closed, lifted, lifted]), axis=0)
        postures[side] = np.array([start.joints[f"{side}_hand"], *[own.open] * 3, *[own.grasp] * 4])

    def along(values: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times, keys, column) for column in values.T], axis=1)

    while lockstep.world.time_s < keys[-1]:
        now = lockstep.world.time_s
        times = now + 0.05 * (1.0 + np.arange(64))
        chunk = ToolChunk(np.stack([along(places[side], times) for side in SIDES], axis=1), {side: along(postures[side], times) for side in SIDES})
        lockstep.accept(chunk, now)
        lockstep.advance(0.8)
    seen = lockstep.observe(image=False)
    for i, side in enumerate(SIDES):
        assert np.linalg.norm(seen.objects_m[FRUITS[side]] - seen.tool_poses[i, :3]) < 0.015, f"{side}: the fruit crept out"
