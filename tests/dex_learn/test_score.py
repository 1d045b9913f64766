# SPDX-License-Identifier: Apache-2.0
"""The shipped policy in lockstep: it pushes, it obeys the other instruction, its chunks are calm."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import find_share, load_cell
from dex_learn.score import BundlePolicy, ScoreSettings, score_push, score_rest
from dex_sim.lockstep import LockstepCell

CELL = load_cell("xarm_bimanual")
SETTINGS = ScoreSettings(range(1500, 1502), latency_s=0.15)


@pytest.fixture(scope="module")
def policy() -> BundlePolicy:
    return BundlePolicy(find_share("models", "push_cans"), CELL)


@pytest.fixture(scope="module")
def lockstep() -> LockstepCell:
    return LockstepCell(CELL, render=True)


@pytest.mark.render
def test_pushes_on_unseen_seeds(policy: BundlePolicy, lockstep: LockstepCell) -> None:
    result = score_push(policy, lockstep, SETTINGS)
    assert result["successes"] == 2, result


@pytest.mark.render
def test_returns_to_rest_when_told(policy: BundlePolicy, lockstep: LockstepCell) -> None:
    assert score_rest(policy, lockstep, SETTINGS)["successes"] == 2


@pytest.mark.render
def test_words_and_picture_decide(policy: BundlePolicy, lockstep: LockstepCell) -> None:
    lockstep.reset(1501)
    push, rest = (policy(lockstep.observe(words)) for words in ("Push the two tomato cans together", "Return to the rest pose"))
    assert np.abs(push[20:, :14] - rest[20:, :14]).max() > 0.2
    home = lockstep.observe(image=False).arm_joints_rad
    assert np.abs(rest[:, :14] - home).max() < 0.1
    lockstep.reset(1502)
    other = policy(lockstep.observe("Push the two tomato cans together"))
    assert np.abs(push[20:, :14] - other[20:, :14]).max() > 0.02


@pytest.mark.render
def test_chunks_are_slow_enough_for_the_arms(policy: BundlePolicy, lockstep: LockstepCell) -> None:
    lockstep.reset(1503)
    observation = lockstep.observe("Push the two tomato cans together")
    arms = policy(observation)[:, :14]
    assert np.abs(arms[0] - observation.arm_joints_rad).max() < 0.1
    assert np.abs(np.diff(arms, axis=0)).max() / 0.05 < 2.0
