# SPDX-License-Identifier: Apache-2.0
"""One policy process that knows no hand, in the live cell: it runs a goal, a hand is exchanged, it runs the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dex_bringup.client import TaskResult
from dex_bringup.testing import RunningCell, private_cell
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import CellConfig, load_cell
from dex_core.decode import POSE_COLUMNS, PoseDecoder
from dex_msgs.msg import ActionChunk, ChunkReport, JointCommand
from dex_ros import names, qos
from dex_ros.convert import chunk_from_msg

pytestmark = [pytest.mark.ros, pytest.mark.render, pytest.mark.slow, pytest.mark.timeout(240)]
DOMAIN = 62
INSTRUCTION = "Push the two tomato cans together"
CREEP_M = 0.03


def cell_of_one_policy(folder: Path) -> CellConfig:
    """Its policy moves both grasp frames up by 3 cm over a chunk, from wherever they are measured; trained, in name, on Inspire."""
    private = private_cell(folder, DOMAIN, host=41)
    ramp = np.zeros((64, 18))
    ramp[:, [POSE_COLUMNS.index("z"), 9 + POSE_COLUMNS.index("z")]] = np.linspace(0.0, CREEP_M, 64)[:, None]
    cell = load_cell(private)
    latent, policy = write_fixture_pair(folder, cell, others=[load_cell(private, hand="leap")], wrist_poses=True, ramp=ramp)
    return dataclasses.replace(cell, policy=dataclasses.replace(cell.policy, bundle=str(policy), latent_bundle=str(latent)))


class Eye:
    """A running cell, its commands and its decoded chunks."""

    def __init__(self, cell: RunningCell) -> None:
        self.cell = cell
        self.commands: list[JointCommand] = []
        self.decoded: list[ActionChunk] = []
        self.reports: list[ChunkReport] = []
        node = cell.client.node
        node.create_subscription(JointCommand, names.JOINT_COMMAND, self.commands.append, 1000)
        node.create_subscription(ActionChunk, names.DECODED_CHUNK, self.decoded.append, qos.CHUNK)
        node.create_subscription(ChunkReport, names.CHUNK_REPORT, self.reports.append, qos.REPORT)

    def goal(self) -> TaskResult:
        """Runs until a goal lasted to its deadline; again while a busy machine is late."""
        for _ in range(5):
            for kept in (self.commands, self.decoded, self.reports):
                kept.clear()
            result = self.cell.client.run_task(INSTRUCTION, 3.0, None, self.cell.supervisor.tick)
            if result.outcome == "DEADLINE":
                break
            self.cell.wait_active()
            self.cell.client.quiet_gate()
        return result

    def risen_m(self, side: str) -> float:
        """How far commands lifted the grasp frame of whatever hand the side carries now."""
        cell = self.cell.supervisor.resolution.cell
        tracked = [c for c in self.commands if c.mode == JointCommand.TRACK]
        decoder, wanted = PoseDecoder.of_cell(cell, side), cell.interface(f"{side}_arm").names
        q = [np.array([c.positions[c.names.index(n)] for n in wanted]) for c in (tracked[0], tracked[-1])]
        first, last = (decoder.columns(x) for x in q)
        np.testing.assert_allclose(last[3:], first[3:], atol=0.02)
        np.testing.assert_allclose(last[:2], first[:2], atol=0.01)
        return float(last[2] - first[2])


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eye]:
    folder = tmp_path_factory.mktemp("one_policy")
    cell_of_one_policy(folder).save(folder / "cell.yaml")
    with RunningCell(folder, DOMAIN, {"monitor": "false"}, folder / "cell.yaml") as cell:
        yield Eye(cell)


def check_goal(eye: Eye) -> None:
    result = eye.goal()
    assert result.outcome == "DEADLINE" and result.chunks >= 2, result
    sides = {tuple(s.interface for s in chunk_from_msg(m).slices) for m in eye.decoded}
    assert sides == {("left_arm", "left_hand"), ("right_arm", "right_hand")}
    for side in ("left", "right"):
        assert 0.005 < eye.risen_m(side) < 0.06


def test_poses_and_latents_move_arms_and_hands_through_decoders_and_gate(eye: Eye) -> None:
    check_goal(eye)


def test_the_same_process_moves_another_hand(eye: Eye) -> None:
    pid = eye.cell.supervisor.child("policy").pid
    mounted = eye.cell.supervisor.resolution.cell.interface("left_hand").robot.name
    other = "inspire" if mounted == "leap" else "leap"  # a second try finds the hand of the first one mounted
    eye.cell.supervisor.swap("left", other)
    eye.cell.client.reset_gate()
    check_goal(eye)
    assert eye.cell.supervisor.child("policy").pid == pid
    tracked = [c for c in eye.commands if c.mode == JointCommand.TRACK]
    assert set(tracked[-1].names) == set(eye.cell.supervisor.resolution.cell.joint_names)
    assert eye.cell.supervisor.resolution.cell.interface("left_hand").robot.name == other
