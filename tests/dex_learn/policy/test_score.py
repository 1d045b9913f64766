# SPDX-License-Identifier: Apache-2.0
"""Scores: who acts well succeeds, who does nothing does not, training seeds are refused, rest is measured against the rest pose."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.policy.codes import make_codes  # noqa: E402
from dex_learn.policy.embodied import Embodied  # noqa: E402
from dex_learn.policy.layout import SIDES, STEPS  # noqa: E402
from dex_learn.policy.score import ScoreSettings, score_rest, score_task  # noqa: E402
from dex_learn.policy.teacher import Teacher  # noqa: E402
from dex_sim.lockstep import LockstepCell, Observation, ToolChunk  # noqa: E402

SETTINGS = ScoreSettings(range(1000, 1002), time_limit_s=12.0)


class Acting:
    """The teacher as a policy: words decide, as of a policy."""

    def __init__(self, cell: object) -> None:
        self.teacher, self.resets = Teacher(cell), 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, observation: Observation) -> ToolChunk:
        return self.teacher(observation, "rest" if "rest" in observation.instruction.lower() else "push_cans")


class Idle:
    def reset(self) -> None: ...

    def __call__(self, observation: Observation) -> ToolChunk:
        return ToolChunk(np.tile(observation.tool_poses, (STEPS, 1, 1)), {s: np.tile(observation.joints[f"{s}_hand"], (STEPS, 1)) for s in SIDES})


class Blind(LockstepCell):
    """Without a renderer: who acts here needs no picture."""

    def observe(self, instruction: str = "", *, image: bool = True) -> Observation:
        return super().observe(instruction, image=False)


@pytest.fixture(scope="module")
def lockstep() -> Blind:
    return Blind(load_cell("xarm_bimanual", left_hand="ability", right_hand="ability"), render=False)


def test_the_teacher_succeeds_and_the_idle_one_does_not(lockstep: Blind) -> None:
    policy = Acting(lockstep.cell)
    good, bad = score_task(policy, lockstep, "push_cans", SETTINGS), score_task(Idle(), lockstep, "push_cans", SETTINGS)
    assert good["success_rate"] == 1.0 and good["worst_time_s"] < 12.0 and policy.resets == 2 and not good["failed"]
    assert bad["successes"] == 0 and list(bad["failed"]) == ["1000", "1001"] and bad["mean_time_s"] is None
    with pytest.raises(DexError, match="training seeds"):
        score_task(policy, lockstep, "push_cans", ScoreSettings(range(0, 2)))


def test_rest_is_the_rest_pose(lockstep: Blind) -> None:
    body = Embodied(lockstep.cell, make_codes("joints", ["ability"], SIDES))
    good = score_rest(Acting(lockstep.cell), lockstep, "push_cans", body.tools, SETTINGS)
    bad = score_rest(Idle(), lockstep, "push_cans", body.tools, SETTINGS)
    assert good["successes"] == 2 and good["worst_error_m"] < 0.03 and bad["worst_error_m"] > good["worst_error_m"]
