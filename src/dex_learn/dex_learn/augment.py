# SPDX-License-Identifier: Apache-2.0
"""More labelled states without physics: recorded ones, shifted a little and labelled anew."""

from __future__ import annotations

import dataclasses

import numpy as np

from dex_core.config import CellConfig
from dex_learn.progress import progress
from dex_learn.records import HAND_STEPS, TASKS, Records
from dex_sim.expert import Expert, Measured

# joints 3 and 5 stay near zero on the expert's paths
JOINT_SPREAD_RAD = np.array([0.03, 0.03, 0.01, 0.03, 0.01, 0.03, 0.05])


def relabel(records: Records, cell: CellConfig, seed: int, can_spread_m: float = 0.015, other_task: float = 0.2) -> Records:
    """One shifted copy of every row, labelled by the expert: cans moved, arms moved, or both; some with the other instruction.

    The pictures of such rows would not fit them: use them for the trunk only.
    """
    rng = np.random.default_rng([seed, 0xA06])
    expert = Expert(cell)
    n = len(records)
    limits = [limit for side in ("left", "right") for limit in cell.interface(f"{side}_arm").limits]
    low, high = np.array([m.lower_rad for m in limits]), np.array([m.upper_rad for m in limits])
    move_arms, move_cans = rng.uniform(size=(2, n, 1)) < 0.6
    joints = records.joints + move_arms * rng.normal(size=(n, 14)) * np.tile(JOINT_SPREAD_RAD, 2)
    joints = np.clip(joints, low, high)
    cans = records.cans + move_cans * rng.normal(0.0, can_spread_m, (n, 4))
    task = np.where(rng.uniform(size=n) < other_task, 1 - records.task, records.task)
    arms, hands = np.empty_like(records.arms), np.empty_like(records.hands)
    with progress("labelling shifted states", n) as show:
        for i in range(n):
            fingers = records.fingers[i]
            measured = {"left_arm": joints[i, :7], "right_arm": joints[i, 7:], "left_hand": fingers[:6], "right_hand": fingers[6:]}
            chunk = expert.chunk(Measured(measured, {"left_can": cans[i, :2], "right_can": cans[i, 2:]}), TASKS[int(task[i])])
            arms[i], hands[i] = chunk[:, :14], chunk[list(HAND_STEPS), 14:]
            if i % 500 == 0:
                show(i, "")
    return dataclasses.replace(records, task=task, joints=joints.astype(np.float32), cans=cans.astype(np.float32), arms=arms, hands=hands)
