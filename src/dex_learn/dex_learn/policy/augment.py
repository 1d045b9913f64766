# SPDX-License-Identifier: Apache-2.0
"""More labelled states without physics: recorded ones with hands and objects shifted, labelled anew."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dex_core.config import CellConfig
from dex_learn.policy.layout import HAND_STEPS, OBJECTS, OF_TASK, SIDES, TASKS
from dex_learn.policy.records import Records
from dex_learn.policy.teacher import Teacher
from dex_learn.progress import progress

Array = NDArray[np.float64]
TOOL_SPREAD = np.array([0.012, 0.012, 0.008, 0.06])
OBJECT_SPREAD_M, DEEPER_M, LEAST_Z_M = 0.012, 0.020, 0.022
MOVED, OTHER_WORDS = 0.6, 0.1
HELD_M, LIFTED_Z_M = 0.045, 0.040
OWN = {"left": (0, 2), "right": (1, 3)}
BOWL = 4


def relabel(records: Records, cell: CellConfig, seed: int) -> Records:
    """One copy of every row with hands and objects moved, some told other words, labelled by the teacher.

    The pictures of moved rows would not fit them: use them for the trunk only.
    """
    rng, teacher, n = np.random.default_rng([seed, 0xA06]), Teacher(cell), len(records)
    tools, objects, task = records.tools.astype(np.float64), records.objects.astype(np.float64), records.task.copy()
    paths, hands = np.empty_like(records.paths), np.empty_like(records.hands)
    with progress(f"labelling {records.hand}", n) as show:
        for k in range(n):
            _move(tools[k], objects[k], records.there[k], rng)
            task[k] = _words(int(task[k]), records.there[k], rng)
            places = {name: objects[k, j] for j, name in enumerate(OBJECTS) if records.there[k, j]}
            fingers = dict(zip(SIDES, records.fingers[k].astype(np.float64), strict=True))
            chunk = teacher.label(tools[k], fingers, places, TASKS[int(task[k])])
            paths[k] = chunk.tool_poses
            hands[k] = np.stack([chunk.hands[side][list(HAND_STEPS)] for side in SIDES], axis=1)
            if k % 500 == 0:
                show(k, "")
    return dataclasses.replace(
        records, tools=tools.astype(np.float32), objects=objects.astype(np.float32), task=task, paths=paths, hands=hands
    )


def _move(tools: Array, objects: Array, there: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Shifts (2, 4) tools and (5, 3) objects in place; what a hand holds goes with it, what lies in the bowl goes with the bowl."""
    bowl = rng.normal(0.0, OBJECT_SPREAD_M, 2) if there[BOWL] and rng.uniform() < 0.3 else np.zeros(2)
    inside = [k for k in (2, 3) if there[k] and np.linalg.norm(objects[k, :2] - objects[BOWL, :2]) < 0.08]
    for i, side in enumerate(SIDES):
        moved = np.zeros(4)
        if rng.uniform() < MOVED:
            moved = rng.normal(0.0, 1.0, 4) * TOOL_SPREAD
            moved[2] = max(moved[2], min(0.0, LEAST_Z_M - tools[i, 2]))
        for k in OWN[side]:
            if not there[k] or k in inside:
                continue
            held = k == OWN[side][1] and objects[k, 2] > LIFTED_Z_M and np.linalg.norm(objects[k] - tools[i, :3]) < HELD_M
            if held:
                objects[k] += moved[:3]
            elif rng.uniform() < MOVED:
                objects[k, :2] += rng.normal(0.0, OBJECT_SPREAD_M, 2)
        if there[OWN[side][0]] and rng.uniform() < MOVED:  # a can that lies deeper in the hand
            away = objects[OWN[side][0], :2] - objects[1 - OWN[side][0], :2]
            objects[OWN[side][0], :2] += rng.uniform(-0.3, 1.0) * DEEPER_M * away / max(float(np.linalg.norm(away)), 1e-6)
        tools[i] += moved
    if there[BOWL]:
        objects[[BOWL, *inside], :2] += bowl


def _words(task: int, there: NDArray[np.bool_], rng: np.random.Generator) -> int:
    """The task asked for; sometimes another one that the scene allows."""
    if rng.uniform() >= OTHER_WORDS:
        return task
    shown = next(name for name, objects in OF_TASK.items() if there[OBJECTS.index(objects[0])])
    return TASKS.index("rest") if TASKS[task] != "rest" else TASKS.index(shown)
