# SPDX-License-Identifier: Apache-2.0
"""The lockstep cell: same seed, same episode; chunks by time, blended, limited."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.errors import NonFiniteError, ShapeError
from dex_sim.expert_tool import tool_expert_policy
from dex_sim.lockstep import INTERFACES, LockstepCell, Observation, ToolChunk, run_episode

CELL = load_cell("xarm_bimanual")
HOME = np.concatenate([np.array(CELL.interface(name).home) for name in INTERFACES])


@pytest.fixture(scope="module")
def lockstep() -> LockstepCell:
    return LockstepCell(CELL, render=False)


def test_an_episode_repeats_to_the_last_bit(lockstep: LockstepCell) -> None:
    results = []
    for _ in range(2):
        result = run_episode(tool_expert_policy(CELL), 42, lockstep=lockstep, time_limit_s=2.0)
        results.append((result, lockstep.world.snapshot().qpos))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


def test_a_chunk_is_executed_by_time(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    ramp = HOME + 0.2 * 0.05 * np.arange(1, 65)[:, None] * (np.arange(26) == 0)
    lockstep.accept(ramp, 0.0)
    lockstep.advance(1.0)
    assert lockstep.world.targets("left_arm")[0] - HOME[0] == pytest.approx(0.2, abs=1e-6)
    lockstep.advance(5.0)
    assert lockstep.world.targets("left_arm")[0] - HOME[0] == pytest.approx(0.2 * 3.2, abs=1e-6), "the end is held"


def test_commands_never_outrun_the_joint_limits(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    lockstep.accept(np.tile(HOME + 2.0, (64, 1)), 0.0)
    before = lockstep.world.targets("right_arm")
    speed = np.array([limit.velocity_rad_s for limit in CELL.interface("right_arm").limits])
    for _ in range(30):
        lockstep.advance(0.01)
        now = lockstep.world.targets("right_arm")
        assert (np.abs(now - before) <= speed * 0.01 + 1e-12).all()
        before = now
    assert (before <= [limit.upper_rad for limit in CELL.interface("right_arm").limits]).all()


def test_a_new_chunk_is_blended_in(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    lockstep.accept(np.tile(HOME, (64, 1)), 0.0)
    lockstep.advance(0.5)
    lockstep.accept(np.tile(HOME + 0.05, (64, 1)), 0.5)
    lockstep.advance(0.12)
    middle = lockstep.world.targets("left_arm")[0] - HOME[0]
    assert 0.01 < middle < 0.04
    lockstep.advance(0.2)
    assert lockstep.world.targets("left_arm")[0] - HOME[0] == pytest.approx(0.05)


def test_without_a_chunk_it_holds(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    lockstep.advance(0.5)
    joints = lockstep.observe(image=False).joints
    assert np.allclose(np.concatenate([joints["left_arm"], joints["right_arm"]]), HOME[:14], atol=2e-3)


def test_recorders_and_perturbations_see_every_chunk(lockstep: LockstepCell) -> None:
    seen: list[Observation] = []

    def still(observation: Observation, chunk: ToolChunk) -> np.ndarray:
        seen.append(observation)
        return np.tile(HOME, (64, 1))

    result = run_episode(tool_expert_policy(CELL), 1, lockstep=lockstep, time_limit_s=1.6, on_chunk=still)
    assert not result.success and len(seen) == result.chunks == 2
    assert np.allclose([o.time_s for o in seen], [0.0, 0.8])
    assert set(seen[0].joints) == set(INTERFACES) and set(seen[0].objects_m) == {"left_can", "right_can"}


def test_refuses_bad_chunks_and_missing_eyes(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    with pytest.raises(ShapeError, match="chunk"):
        lockstep.accept(np.zeros((64, 25)), 0.0)
    with pytest.raises(NonFiniteError, match="chunk"):
        lockstep.accept(np.full((64, 26), np.nan), 0.0)
    with pytest.raises(ValueError, match="render=False"):
        lockstep.observe()


@pytest.mark.render
def test_a_seed_is_one_picture() -> None:
    lockstep = LockstepCell(CELL)
    pictures = []
    for seed in (3, 4, 3):
        lockstep.reset(seed)
        pictures.append(lockstep.observe("look").image)
    lockstep.close()
    assert pictures[0].shape == (240, 320, 3) and pictures[0].dtype == np.uint8
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])
