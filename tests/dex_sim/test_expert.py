# SPDX-License-Identifier: Apache-2.0
"""The teacher: it solves the task from anywhere, keeps its own advice, and comes home."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.errors import NonFiniteError
from dex_sim.expert import PUSH, REST, Expert, Measured
from dex_sim.lockstep import INTERFACES, LockstepCell, expert_policy, run_episode
from dex_sim.toolpose import ToolArm

CELL = load_cell("xarm_bimanual")
CANS = {"left_can": np.array([0.40, 0.25]), "right_can": np.array([0.45, -0.20])}


@pytest.fixture(scope="module")
def lockstep() -> LockstepCell:
    return LockstepCell(CELL, render=False)


@pytest.fixture(scope="module")
def expert() -> Expert:
    return Expert(CELL)


def home() -> dict[str, np.ndarray]:
    return {name: np.array(CELL.interface(name).home) for name in INTERFACES}


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_pushes_the_cans_together(lockstep: LockstepCell, seed: int) -> None:
    result = run_episode(expert_policy(CELL), seed, lockstep=lockstep, joint_noise_rad=0.02)
    assert result.success, result.judgement.detail
    assert result.time_s < 9.0
    assert result.peak_joint_speed_rad_s < 1.5
    assert result.hand_hits == ()


@pytest.mark.parametrize("left, right", [
    ((0.28, 0.11), (0.53, -0.11)), ((0.53, 0.11), (0.28, -0.11)), ((0.53, 0.41), (0.28, -0.41)), ((0.28, 0.41), (0.28, -0.41)),
])
def test_solves_the_corners_of_the_regions(lockstep: LockstepCell, left: tuple[float, float], right: tuple[float, float]) -> None:
    policy = expert_policy(CELL)
    lockstep.reset(1)
    lockstep.world.place({}, {"left_can": left, "right_can": right})
    while lockstep.world.time_s < 9.0 and not lockstep.world.judge().success:
        observation = lockstep.observe(image=False)
        lockstep.accept(policy(observation), observation.time_s)
        lockstep.advance(0.4)
    assert lockstep.world.judge().success


def test_recovers_when_the_hand_is_on_the_wrong_side(lockstep: LockstepCell) -> None:
    policy = expert_policy(CELL)
    lockstep.reset(3)
    lockstep.world.place({}, {"left_can": (0.40, 0.30), "right_can": (0.40, -0.30)})
    inside = ToolArm(CELL, "left").joints(np.array([[0.40, 0.14, 0.26, -np.pi / 2]]))[0]
    lockstep.world.place({"left_arm": inside})
    while lockstep.world.time_s < 12.0 and not lockstep.world.judge().success:
        observation = lockstep.observe(image=False)
        lockstep.accept(policy(observation), observation.time_s)
        lockstep.advance(0.4)
    assert lockstep.world.judge().success


def test_comes_home_from_the_meeting_and_leaves_the_cans(lockstep: LockstepCell) -> None:
    run_episode(expert_policy(CELL), 7, lockstep=lockstep)
    policy, start_s = expert_policy(CELL, REST), lockstep.world.time_s
    while lockstep.world.time_s < start_s + 7.0:
        observation = lockstep.observe(image=False)
        lockstep.accept(policy(observation), observation.time_s)
        lockstep.advance(0.8)
    for name in INTERFACES:
        assert np.abs(lockstep.world.state(name).position_rad - CELL.interface(name).home).max() < 0.03, name
    assert lockstep.world.judge().success, "the cans still stand together"


def test_advice_does_not_depend_on_memory(expert: Expert) -> None:
    first = expert.chunk(Measured(home(), CANS))
    expert.chunk(Measured(home(), {"left_can": np.array([0.3, 0.4]), "right_can": np.array([0.5, -0.4])}))
    assert np.array_equal(expert.chunk(Measured(home(), CANS)), first)
    assert first.shape == (64, 26)


def test_advice_given_on_the_way_agrees_with_the_one_before(lockstep: LockstepCell) -> None:
    policy = expert_policy(CELL)
    lockstep.reset(11)
    before, gaps = None, []
    for _ in range(8):
        observation = lockstep.observe(image=False)
        chunk = policy(observation)
        if before is not None:
            gaps.append(np.abs(before[8:28, :14] - chunk[:20, :14]).max())
        lockstep.accept(chunk, observation.time_s)
        lockstep.advance(0.4)
        before = chunk
    assert np.median(gaps) < 0.05 and max(gaps) < 0.15


def test_rest_at_home_is_no_motion(expert: Expert) -> None:
    chunk = expert.chunk(Measured(home(), CANS), REST)
    assert np.abs(chunk - np.concatenate([home()[name] for name in INTERFACES])).max() < 1e-3


def test_refuses_nonsense(expert: Expert) -> None:
    with pytest.raises(ValueError, match="task 'dance' is not known; allowed: push, rest"):
        expert.chunk(Measured(home(), CANS), "dance")
    joints = home()
    joints["left_arm"][3] = np.nan
    with pytest.raises(NonFiniteError, match="left arm joints: nan at index \\(3,\\)"):
        expert.chunk(Measured(joints, CANS), PUSH)
