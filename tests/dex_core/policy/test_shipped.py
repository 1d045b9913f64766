# SPDX-License-Identifier: Apache-2.0
"""The shipped policy in the shipped latent space, in lockstep: it pushes, it obeys the other instruction, its chunks are calm."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.policy import MeasuredPoses, Observation
from dex_core.policy.runtime import load_policy, load_side_decoder, mounted_hands
from dex_core.types import JointState
from dex_sim.expert_tool import REST_POSE
from dex_sim.lockstep import INTERFACES, SIDES, LockstepCell, run_episode
from dex_sim.lockstep import Observation as Seen

pytestmark = [pytest.mark.render, pytest.mark.slow]
PUSH, REST = "Push the two tomato cans together", "Return to the rest pose"
FIRST_SEED, LATENCY_S, REPLAN_S = 1500, 0.15, 0.8


class Robot:
    """Policy and decoders of the default cell as nodes run them, around a simulated cell whose time stands still while they think."""

    def __init__(self) -> None:
        self.lockstep = LockstepCell(load_cell("xarm_bimanual"), render=True)
        self.policy, bundle = load_policy(self.lockstep.cell)
        self._told = mounted_hands(self.lockstep.cell, bundle)
        self._measured = MeasuredPoses(self.lockstep.cell, self.policy.spec.pose_interfaces)
        self._decoders = [load_side_decoder(self.lockstep.cell, side) for side in SIDES]

    def __call__(self, seen: Seen) -> np.ndarray:
        """(64, 26) joints in rad: left arm, right arm, left hand, right hand."""
        assert seen.image is not None
        stamp, names = round(seen.time_s * 1e9), {name: self.lockstep.cell.interface(name).names for name in INTERFACES}
        joints = {n: JointState(names[n], q, np.zeros(len(q)), np.zeros(len(q)), stamp) for n, q in seen.joints.items()}
        whole = self._measured.complete(Observation(stamp, {"front": seen.image}, joints, seen.instruction), self._told)
        chunk = self.policy.infer(whole).chunk
        parts = {p.interface: p for d in self._decoders for p in d.decode(chunk, lambda name: seen.joints[name]).slices}
        return np.concatenate([parts[n].data[:, [parts[n].names.index(j) for j in names[n]]] for n in INTERFACES], axis=1)

    def start(self, seed: int, words: str) -> tuple[Seen, np.ndarray]:
        """A new scene: what is seen first, and the first chunk."""
        self.policy.reset()
        self.lockstep.reset(seed)
        seen = self.lockstep.observe(words)
        return seen, self(seen)


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    made = Robot()
    yield made
    made.lockstep.close()


@pytest.mark.parametrize("seed", [FIRST_SEED, FIRST_SEED + 1])
def test_it_pushes_on_unseen_seeds(robot: Robot, seed: int) -> None:
    robot.policy.reset()
    result = run_episode(
        robot, seed, lockstep=robot.lockstep, instruction=PUSH, image=True, latency_s=LATENCY_S, replan_s=REPLAN_S, joint_noise_rad=0.02
    )
    assert result.success, result.judgement.detail


def test_it_returns_to_rest_when_told(robot: Robot) -> None:
    robot.policy.reset()
    robot.lockstep.reset(FIRST_SEED)
    while robot.lockstep.world.time_s < 7.4:
        seen = robot.lockstep.observe(PUSH if robot.lockstep.world.time_s < 2.3 else REST)
        chunk = robot(seen)
        robot.lockstep.advance(LATENCY_S)
        robot.lockstep.accept(chunk, seen.time_s)
        robot.lockstep.advance(REPLAN_S - LATENCY_S)
    away = robot.lockstep.observe(image=False).tool_poses - [REST_POSE[side] for side in SIDES]
    assert np.linalg.norm(away[:, :3], axis=1).max() < 0.03


def test_words_and_picture_decide(robot: Robot) -> None:
    push, rest = (robot.start(FIRST_SEED + 1, words)[1][20:, :14] for words in (PUSH, REST))
    assert np.abs(push - rest).max() > 0.2
    assert np.abs(push - robot.start(FIRST_SEED + 2, PUSH)[1][20:, :14]).max() > 0.02


def test_chunks_begin_where_the_arms_are_and_are_slow_enough(robot: Robot) -> None:
    seen, chunk = robot.start(FIRST_SEED + 3, PUSH)
    cell, measured = robot.lockstep.cell, np.concatenate([seen.joints[f"{side}_arm"] for side in SIDES])
    fastest = np.array([limit.velocity_rad_s for side in SIDES for limit in cell.interface(f"{side}_arm").limits])
    assert np.abs(chunk[0, :14] - measured).max() < 0.5 * cell.control.first_command_max_rad
    assert (np.abs(np.diff(chunk[:, :14], axis=0)) / robot.policy.spec.dt_s < fastest).all()
