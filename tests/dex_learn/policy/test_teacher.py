# SPDX-License-Identifier: Apache-2.0
"""The teacher pushes on until the cans meet, however deep they lie in a hand; shifted copies keep what belongs together."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import CellConfig, load_cell  # noqa: E402
from dex_learn.policy.augment import LIFTED_Z_M, relabel  # noqa: E402
from dex_learn.policy.collect import Collector, Disturbance  # noqa: E402
from dex_learn.policy.layout import OBJECTS, SIDES, TASKS  # noqa: E402
from dex_learn.policy.records import Records  # noqa: E402
from dex_learn.policy.teacher import MOST_M, Teacher  # noqa: E402
from dex_sim.expert_push import LOW_Z_M  # noqa: E402
from dex_sim.expert_shapes import cradle_m, in_world  # noqa: E402
from dex_sim.expert_tool import ToolExpert  # noqa: E402
from dex_sim.lockstep import LockstepCell  # noqa: E402

CAN_Z_M = 0.0505


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual", left_hand="inspire", right_hand="inspire")


def pushing(gap_m: float, deep_m: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Both hands behind their cans, which lie ``deep_m`` further out than the expert's shape would hold them."""
    y = 0.033 + 0.5 * gap_m
    cans = {"left_can": np.array([0.4, y, CAN_Z_M]), "right_can": np.array([0.4, -y, CAN_Z_M])}
    tools = []
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        yaw = -sign * 0.5 * math.pi
        cradle = cans[f"{side}_can"][:2] - np.array([0.0, sign * deep_m])
        tools.append([*(cradle - in_world(yaw, cradle_m(side, 0.033))), LOW_Z_M, yaw])
    return np.array(tools), cans


@pytest.mark.parametrize("deep_m", [0.008, 0.018])
def test_a_can_that_lies_deep_is_pushed_on(cell: CellConfig, deep_m: float) -> None:
    teacher, expert = Teacher(cell), ToolExpert(cell)
    hands = {side: expert.shapes[side].push for side in SIDES}
    tools, cans = pushing(0.08, deep_m)
    chunk = teacher.label(tools, hands, cans, "push_cans")
    for i, sign in enumerate((1.0, -1.0)):
        moved = -sign * (chunk.tool_poses[-1, i, 1] - tools[i, 1])
        assert moved >= 0.04  # half the gap, so that the cans meet
        assert abs(chunk.tool_poses[-1, i, 2] - LOW_Z_M) < 0.01


def test_what_is_done_is_not_pressed_for_ever(cell: CellConfig) -> None:
    teacher = Teacher(cell)
    hands = {side: ToolExpert(cell).shapes[side].push for side in SIDES}
    tools, cans = pushing(0.0, 0.015)
    chunk = teacher.label(tools, hands, cans, "push_cans")
    assert np.abs(chunk.tool_poses[-1, :, :2] - tools[:, :2]).max() < MOST_M


def test_without_lag_it_is_the_expert(cell: CellConfig) -> None:
    teacher, expert = Teacher(cell), ToolExpert(cell)
    hands = {side: expert.shapes[side].open for side in SIDES}
    tools, cans = pushing(0.3, -0.09)
    assert np.array_equal(teacher.label(tools, hands, cans, "push_cans").tool_poses, expert.chunk(tools, hands, cans, "push_cans").tool_poses)
    assert np.array_equal(teacher.label(tools, hands, cans, "rest").tool_poses, expert.chunk(tools, hands, cans, "rest").tool_poses)


def collected(cell: CellConfig, task: str) -> Records:
    lockstep = LockstepCell(cell, render=False)
    return Collector(lockstep, Teacher(cell), Disturbance(length_s=(1.4, 1.5), stray=0.0, rest=0.0)).episode(1, task)[0]


@pytest.mark.parametrize("task", ["push_cans", "reorganize_lemons"])
def test_shifted_copies_are_states_of_their_own(cell: CellConfig, task: str) -> None:
    records = collected(cell, task)
    copy, again = relabel(records, cell, 5), relabel(records, cell, 5)
    assert np.array_equal(copy.paths, again.paths) and len(copy) == len(records)
    assert np.array_equal(copy.there, records.there) and np.array_equal(copy.previous, records.previous)
    assert np.abs(copy.tools - records.tools).max() > 0.003 and np.abs(copy.objects - records.objects)[:, :, :2].max() > 0.003
    assert not copy.objects[~copy.there].any() and (copy.tools[..., 2] > 0.02).all()
    first = copy.paths[:, 0, :, :3] - copy.tools[..., :3]
    assert np.linalg.norm(first, axis=-1).max() < 0.06  # a label begins where its hand is
    assert {TASKS[t] for t in copy.task} <= {task, "rest"}


def test_what_a_hand_holds_goes_with_it(cell: CellConfig) -> None:
    records = collected(cell, "reorganize_lemons")
    records = records.take(records.tools[:, 0, 2] > LIFTED_Z_M)
    lemon, objects = OBJECTS.index("lemon"), records.objects.copy()
    objects[:, lemon] = records.tools[:, 0, :3]
    copy = relabel(dataclasses.replace(records, objects=objects), cell, 9)
    moved = (copy.tools - records.tools)[:, 0, :3]
    assert len(records) > 3 and np.abs(moved).max() > 0.003
    assert np.allclose(copy.objects[:, lemon] - objects[:, lemon], moved, atol=1e-5)
