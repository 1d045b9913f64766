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
LIMITS = CELL.interface("left_hand").limits
INDEX_RANGE = (LIMITS[1].lower_rad, LIMITS[1].upper_rad)


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


def walk(lockstep: LockstepCell, chunk: np.ndarray, ticks: int) -> np.ndarray:
    """(ticks, 26) targets after each tick from a reset on; the chunk comes once more in between, as a replanned one does."""
    lockstep.reset(0)
    lockstep.accept(chunk, 0.0)
    way = []
    for tick in range(ticks):
        if tick == 40:
            lockstep.accept(chunk, 0.0)
        lockstep.advance(0.01)
        way.append(np.concatenate([lockstep.world.targets(name) for name in INTERFACES]))
    return np.array(way)


def hand_goal(share: float) -> np.ndarray:
    """(64, 26) both arms go on slowly, the left hand to ``share`` of its way from home to the end of its range."""
    upper = np.array([limit.upper_rad for limit in LIMITS])
    chunk = HOME + 0.1 * 0.05 * np.arange(1, 65)[:, None] * (np.arange(26) < 14)
    chunk[:, 14:20] += share * (upper - HOME[14:20])
    return chunk


def test_a_hand_far_from_its_first_chunk_approaches_it_and_nothing_else_notices(lockstep: LockstepCell) -> None:
    chunk, control = hand_goal(0.9), CELL.control
    assert np.abs(chunk[0, 14:20] - HOME[14:20]).max() > control.first_command_max_rad
    way = walk(lockstep, chunk, 200)
    speed = np.abs(np.diff(way, axis=0, prepend=HOME[None]))[:, 14:20] / 0.01
    assert 0.9 * control.hand_approach_rad_s < speed[1:].max() <= control.hand_approach_rad_s + 1e-9
    np.testing.assert_array_equal(way[-1, 14:20], chunk[0, 14:20])
    near = walk(lockstep, hand_goal(0.0), 200)
    np.testing.assert_array_equal(np.delete(way, range(14, 20), axis=1), np.delete(near, range(14, 20), axis=1))


def test_a_hand_near_its_first_chunk_is_blended_in_at_once(lockstep: LockstepCell) -> None:
    chunk = np.tile(HOME, (64, 1))
    chunk[:, 15] += 0.99 * CELL.control.first_command_max_rad * np.sign(0.5 * sum(INDEX_RANGE) - HOME[15])
    way = walk(lockstep, chunk, 30)
    assert np.abs(np.diff(way[:, 15])).max() / 0.01 > CELL.control.hand_approach_rad_s
    assert way[-1, 15] == pytest.approx(chunk[0, 15])


def test_a_hand_that_was_near_and_is_asked_far_away_later_goes_at_its_own_speed(lockstep: LockstepCell) -> None:
    lockstep.reset(0)
    lockstep.accept(np.tile(HOME, (64, 1)), 0.0)
    lockstep.advance(0.3)
    lockstep.accept(hand_goal(0.9), 0.3)
    before = lockstep.world.targets("left_hand")
    lockstep.advance(0.2)
    assert np.abs(lockstep.world.targets("left_hand") - before).max() / 0.2 > CELL.control.hand_approach_rad_s


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
