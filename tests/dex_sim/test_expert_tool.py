# SPDX-License-Identifier: Apache-2.0
"""The teacher of every hand: solves both tasks, keeps its own advice, mirrors, and comes home."""
from __future__ import annotations

import functools

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.errors import NonFiniteError, ShapeError
from dex_sim.expert_path import Step, sample_steps
from dex_sim.expert_tool import LEMONS, PUSH, REST, REST_POSE, ToolExpert, tool_expert_policy
from dex_sim.lockstep import SIDES, LockstepCell, ToolChunk, run_episode

CANS = {"left_can": np.array([0.40, 0.25, 0.05]), "right_can": np.array([0.45, -0.20, 0.05])}
FRUITS = {"lemon": np.array([0.40, 0.25, 0.025]), "lime": np.array([0.42, -0.22, 0.025]), "bowl": np.array([0.40, 0.0, 0.03])}


@functools.cache
def lockstep_of(hand: str) -> LockstepCell:
    return LockstepCell(load_cell("xarm_bimanual", hand=hand), render=False)


@functools.cache
def expert_of(hand: str) -> ToolExpert:
    return ToolExpert(lockstep_of(hand).cell)


def advice(hand: str, objects: dict[str, np.ndarray], task: str, poses: np.ndarray | None = None) -> ToolChunk:
    expert = expert_of(hand)
    poses = np.array([REST_POSE[side] for side in SIDES]) if poses is None else poses
    return expert.chunk(poses, {side: expert.shapes[side].open for side in SIDES}, objects, task)


def push_until(lockstep: LockstepCell, time_s: float) -> None:
    """Lets the expert push from the scene as it is, a new chunk every 0.4 s."""
    policy = tool_expert_policy(lockstep.cell, PUSH)
    while lockstep.world.time_s < time_s and not lockstep.world.judge().success:
        observation = lockstep.observe(image=False)
        lockstep.accept(policy(observation), observation.time_s)
        lockstep.advance(0.4)


@pytest.mark.parametrize(("hand", "seed"), [("inspire", 1000), ("inspire", 1001), ("inspire", 1002), ("xhand1", 1000)])
def test_cans_are_pushed_together(hand: str, seed: int) -> None:
    lockstep = lockstep_of(hand)
    result = run_episode(tool_expert_policy(lockstep.cell, PUSH), seed, lockstep=lockstep, task=PUSH, joint_noise_rad=0.02)
    assert result.success and not result.hand_hits and result.time_s < 10.0


@pytest.mark.parametrize("left, right", [
    ((0.28, 0.11), (0.53, -0.11)), ((0.53, 0.11), (0.28, -0.11)), ((0.53, 0.41), (0.28, -0.41)), ((0.28, 0.41), (0.28, -0.41)),
])
def test_the_corners_of_the_regions_are_solved(left: tuple[float, float], right: tuple[float, float]) -> None:
    lockstep = lockstep_of("inspire")
    lockstep.reset(1, PUSH)
    lockstep.world.place({}, {"left_can": left, "right_can": right})
    push_until(lockstep, 10.0)
    assert lockstep.world.judge().success


def test_a_hand_between_the_cans_finds_its_way_out() -> None:
    lockstep = lockstep_of("inspire")
    lockstep.reset(3, PUSH)
    inside = lockstep.arms["left"].joints(np.array([[0.40, 0.12, 0.06, -0.5 * np.pi]]))[0]
    lockstep.world.place({"left_arm": inside}, {"left_can": (0.40, 0.30), "right_can": (0.40, -0.30)})
    push_until(lockstep, 12.0)
    assert lockstep.world.judge().success


def test_it_comes_home_from_the_meeting_and_leaves_the_cans() -> None:
    lockstep = lockstep_of("inspire")
    run_episode(tool_expert_policy(lockstep.cell, PUSH), 7, lockstep=lockstep, task=PUSH)
    policy, start_s = tool_expert_policy(lockstep.cell, REST), lockstep.world.time_s
    while lockstep.world.time_s < start_s + 7.0:
        observation = lockstep.observe(image=False)
        lockstep.accept(policy(observation), observation.time_s)
        lockstep.advance(0.8)
    away = lockstep.observe(image=False).tool_poses - [REST_POSE[side] for side in SIDES]
    assert np.abs(away[:, :3]).max() < 0.02 and lockstep.world.judge().success, "the cans still stand together"


def test_advice_given_on_the_way_agrees_with_the_one_before() -> None:
    lockstep = lockstep_of("inspire")
    policy, before, gaps = tool_expert_policy(lockstep.cell, PUSH), None, []
    lockstep.reset(11, PUSH)
    for _ in range(8):
        observation = lockstep.observe(image=False)
        chunk = policy(observation)
        if before is not None:
            gaps.append(np.abs(before.tool_poses[8:28, :, :3] - chunk.tool_poses[:20, :, :3]).max())
        lockstep.accept(chunk, observation.time_s)
        lockstep.advance(0.4)
        before = chunk
    assert np.median(gaps) < 0.02 and max(gaps) < 0.06


def test_advice_does_not_depend_on_memory() -> None:
    first = advice("inspire", CANS, PUSH)
    advice("inspire", {"left_can": np.array([0.3, 0.4, 0.05]), "right_can": np.array([0.5, -0.4, 0.05])}, PUSH)
    again = advice("inspire", CANS, PUSH)
    assert np.array_equal(again.tool_poses, first.tool_poses) and all(np.array_equal(again.hands[s], first.hands[s]) for s in SIDES)


def test_lemons_come_into_the_bowl() -> None:
    lockstep = lockstep_of("inspire")
    result = run_episode(tool_expert_policy(lockstep.cell, LEMONS), 1000, lockstep=lockstep, task=LEMONS, time_limit_s=30.0)
    assert result.success and result.judgement.progress == 1.0 and not result.hand_hits


def test_an_episode_of_tool_poses_repeats_to_the_last_bit() -> None:
    lockstep, states = lockstep_of("inspire"), []
    for _ in range(2):
        run_episode(tool_expert_policy(lockstep.cell, LEMONS), 7, lockstep=lockstep, task=LEMONS, time_limit_s=2.0, joint_noise_rad=0.05)
        states.append(lockstep.world.snapshot().qpos)
    assert np.array_equal(*states)


def test_tool_poses_become_joints_that_reach_them() -> None:
    lockstep = lockstep_of("inspire")
    lockstep.reset(0, LEMONS)
    chunk = advice("inspire", FRUITS, LEMONS, lockstep.observe(image=False).tool_poses)
    joints = lockstep.joints_of(chunk)
    assert joints.shape == (64, 26)
    for i, side in enumerate(SIDES):
        reached = np.array([lockstep.arms[side].pose(q) for q in joints[:, 7 * i : 7 * i + 7]])
        assert np.abs(reached[:, :3] - chunk.tool_poses[:, i, :3]).max() < 1e-3
    assert np.array_equal(joints[:, 14:20], chunk.hands["left"])


@pytest.mark.parametrize("task, objects, names", [(PUSH, CANS, ("left_can", "right_can")), (LEMONS, FRUITS, ("lemon", "lime"))])
def test_both_sides_mirror(task: str, objects: dict[str, np.ndarray], names: tuple[str, str]) -> None:
    flip = np.array([1.0, -1.0, 1.0])
    mirrored = {**objects, names[0]: objects[names[1]] * flip, names[1]: objects[names[0]] * flip}
    here, there = advice("inspire", objects, task).tool_poses, advice("inspire", mirrored, task).tool_poses
    first = slice(0, 20)  # later the left hand goes first over the bowl
    assert np.allclose(here[first, 0] * [1.0, -1.0, 1.0, -1.0], there[first, 1], atol=1e-9)


@pytest.mark.parametrize("task, objects", [(PUSH, CANS), (LEMONS, FRUITS), (REST, {})])
def test_advice_begins_where_the_hand_is_and_stays_slow(task: str, objects: dict[str, np.ndarray]) -> None:
    start = np.array([[0.35, 0.30, 0.20, -1.4], [0.35, -0.35, 0.12, 1.7]])
    poses = advice("inspire", objects, task, start).tool_poses
    steps = np.diff(np.concatenate([start[None], poses]), axis=0)
    assert (np.linalg.norm(steps[:, :, :3], axis=2) < 0.035).all() and (np.abs(steps[:, :, 3]) < 0.1).all()


def test_rest_is_the_same_place_for_every_hand() -> None:
    for hand in ("inspire", "xhand1"):
        poses = np.array([[0.40, 0.20, 0.05, -1.2], [0.45, -0.20, 0.05, 1.2]])
        for _ in range(4):
            poses = advice(hand, {}, REST, poses).tool_poses[-1]
        assert np.allclose(poses, [REST_POSE[side] for side in SIDES], atol=1e-3)


def test_a_closed_hand_with_a_lifted_fruit_goes_to_the_bowl_and_the_other_waits() -> None:
    expert = expert_of("inspire")
    fruits = {"lemon": np.array([0.40, 0.25, 0.15]), "lime": np.array([0.42, -0.22, 0.15]), "bowl": FRUITS["bowl"]}
    poses = np.array([[0.40, 0.25, 0.16, REST_POSE["left"][3]], [0.42, -0.22, 0.16, REST_POSE["right"][3]]])
    chunk = expert.chunk(poses, {side: expert.shapes[side].grasp for side in SIDES}, fruits, LEMONS)
    assert np.abs(chunk.tool_poses[:, 0, 1]).min() < 0.04, "the left hand is over the bowl"
    assert np.abs(chunk.tool_poses[:, 1, 1]).min() > 0.2, "the right one waits at its side"


def test_a_dropped_fruit_is_fetched_again() -> None:
    expert = expert_of("inspire")
    poses = np.array([[0.40, 0.10, 0.16, REST_POSE["left"][3]], REST_POSE["right"]])
    chunk = expert.chunk(poses, {side: expert.shapes[side].grasp for side in SIDES}, FRUITS, LEMONS)
    away = np.linalg.norm(chunk.tool_poses[:, 0, :2] - FRUITS["lemon"][:2], axis=1)
    assert away.min() < 0.03 and np.abs(chunk.hands["left"] - expert.shapes["left"].open).max(axis=1).min() < 0.02


def test_the_hand_arrives_together() -> None:
    step = Step(np.array([0.4, 0.2, 0.2, 0.0]), 0.2, np.array([0.4, 0.8]))
    _, hand = sample_steps(np.array([0.4, 0.2, 0.2, 0.0]), np.zeros(2), [step])
    assert np.allclose(hand[:, 1], 2.0 * hand[:, 0]) and np.allclose(hand[-1], [0.4, 0.8])


def test_bad_states_are_refused() -> None:
    expert = expert_of("inspire")
    hands = {side: expert.shapes[side].open for side in SIDES}
    poses = np.array([REST_POSE[side] for side in SIDES])
    with pytest.raises(ValueError, match="juggle.*push_cans"):
        expert.chunk(poses, hands, CANS, "juggle")
    with pytest.raises(ShapeError, match="tool poses"):
        expert.chunk(poses[:1], hands, CANS, PUSH)
    with pytest.raises(NonFiniteError, match="lemon"):
        expert.chunk(poses, hands, {**FRUITS, "lemon": np.array([np.nan, 0.2, 0.0])}, LEMONS)
    with pytest.raises(ShapeError, match="hands of"):
        ToolChunk(np.zeros((64, 2, 4)), {"left": np.zeros((64, 6))})
