# SPDX-License-Identifier: Apache-2.0
"""The whole cell on a private domain: a goal runs, a node is killed in mid-motion, and everything holds (F1, F25)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy

from dex_bringup.client import TaskResult
from dex_bringup.testing import RunningCell, private_cell
from dex_core.config import load_cell
from dex_eval.bag import Recording
from dex_eval.episode import load_episode
from dex_eval.testing import fixture_cell
from dex_msgs.msg import JointCommand, SafetyState
from dex_ros import names, qos
from dex_ros.convert import time_from_msg

pytestmark = [pytest.mark.ros, pytest.mark.render, pytest.mark.slow, pytest.mark.timeout(240)]
DOMAIN = 58
INSTRUCTION = "push the two cans together"
HOLD_WITHIN_S = 0.2


class Witness:
    """What the cell said, with the goal's progress."""

    def __init__(self, cell: RunningCell) -> None:
        self.cell, self.chunks, self.killed_ns = cell, 0, 0
        self.commands: list[JointCommand] = []
        self.safety: list[SafetyState] = []
        self.errors: list[DiagnosticStatus] = []
        node = cell.client.node
        every = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)  # this process may look away for a second; none may be lost
        node.create_subscription(JointCommand, names.JOINT_COMMAND, self.commands.append, every)
        node.create_subscription(SafetyState, names.SAFETY_STATE, self.safety.append, qos.LATCHED)
        node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._diagnosed, 50)

    def _diagnosed(self, array: DiagnosticArray) -> None:
        self.errors += [status for status in array.status if status.level == DiagnosticStatus.ERROR]

    def goal(self, deadline_s: float, kill: str = "", after_chunks: int = 2) -> TaskResult:
        """Runs one goal on a cell that is whole and reset; kills a node once so many chunks came."""
        self.chunks, self.killed_ns = 0, 0
        self.commands.clear()
        self.errors.clear()

        def feedback(message: Any) -> None:
            self.chunks = message.chunks

        def tick() -> None:
            self.cell.supervisor.tick()
            if kill and not self.killed_ns and self.chunks >= after_chunks:
                self.killed_ns = time.time_ns()
                self.cell.kill(kill)

        return self.cell.client.run_task(INSTRUCTION, deadline_s, feedback, tick)


    def settled_goal(self, deadline_s: float, kill: str = "") -> TaskResult:
        """A goal on a shared machine: again while a process just started is not heard yet, or something else was late before the kill."""
        give_up_s = time.monotonic() + 30.0
        while True:
            result = self.goal(deadline_s, kill)
            done = self.killed_ns > 0 if kill else result.outcome == "DEADLINE"
            if done or time.monotonic() > give_up_s:
                return result
            self.cell.wait_active()
            self.cell.client.quiet_gate()


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    """A recorded cell whose policy lets the arms creep; brought up once."""
    folder = tmp_path_factory.mktemp("cell")
    fixture_cell(load_cell(private_cell(folder, DOMAIN, host=61)), folder, ramp_rad=0.3).save(folder / "cell.yaml")
    with RunningCell(folder, DOMAIN, {"record": "true"}, folder / "cell.yaml") as cell:
        yield Witness(cell)


def test_a_goal_moves_the_arms_and_ends_at_its_deadline(witness: Witness) -> None:
    result = witness.settled_goal(4.0)
    assert (result.outcome, result.reason) == ("DEADLINE", "deadline") and result.chunks >= 2, result
    tracked = [c for c in witness.commands if c.mode == JointCommand.TRACK]
    assert tracked and set(tracked[0].names) == set(witness.cell.resolution.cell.joint_names)
    moved = abs(tracked[-1].positions[0] - tracked[0].positions[0])
    assert 0.01 < moved < 0.5


@pytest.mark.parametrize(("node", "reason"), [("policy", "policy_lost"), ("left_decoder", "decoder_lost"), ("camera", "camera_lost")])
def test_a_killed_node_means_hold_abort_and_a_new_goal_after_reset(witness: Witness, node: str, reason: str) -> None:
    result = witness.settled_goal(20.0, kill=node)
    assert (result.outcome, result.reason) == ("ABORTED", reason), result
    witness.cell.wait(lambda: any(time_from_msg(c.header.stamp) > witness.killed_ns + 10**9 for c in witness.commands), "joint_command")
    after = [c for c in witness.commands if time_from_msg(c.header.stamp) > witness.killed_ns]
    held = next(c for c in after if c.mode != JointCommand.TRACK)
    assert (time_from_msg(held.header.stamp) - witness.killed_ns) * 1e-9 < HOLD_WITHIN_S
    settled = [c for c in after if c.mode == JointCommand.HOLD and time_from_msg(c.header.stamp) > time_from_msg(held.header.stamp) + 5 * 10**8]
    assert settled and all(list(c.positions) == list(settled[0].positions) for c in settled)
    assert max(abs(a - b) for a, b in zip(settled[0].positions, held.positions)) < 0.1  # it brakes to where it was, not to zero
    assert all(c.mode != JointCommand.TRACK for c in after if time_from_msg(c.header.stamp) > time_from_msg(held.header.stamp))
    assert any(reason in status.message or any(reason in pair.value for pair in status.values) for status in witness.errors)
    witness.cell.wait_active()
    witness.cell.client.reset_gate()
    again = witness.settled_goal(4.0)  # a process just started hears the others' joint states after 2 s at worst
    assert again.outcome == "DEADLINE" and again.chunks >= 1, again


def test_stop_is_latched(witness: Witness) -> None:
    """F29: a stop refuses new goals until it is reset."""
    witness.cell.client.stop_gate()
    assert witness.goal(2.0).outcome == "REFUSED"
    witness.cell.client.reset_gate()
    result = witness.settled_goal(1.5)
    assert result.outcome == "DEADLINE", result


def test_the_recording_holds_it_all(witness: Witness) -> None:
    time.sleep(1.5)  # the recorder flushes every half second
    recording = Recording(witness.cell.resolution.run_folder / "bag")
    expected = {
        "/" + n
        for n in (names.IMAGE, names.ACTION_CHUNK, names.DECODED_CHUNK, names.JOINT_COMMAND, names.CHUNK_REPORT, names.SAFETY_STATE, names.TASK_STATE)
    }
    assert expected <= set(recording.counts) and {"/tf_static", "/robot_description"} <= set(recording.counts)
    episode = load_episode(recording)
    assert len(episode.chunks) >= 5 and set(episode.instructions.values()) == {INSTRUCTION}


def test_supervisor_reports_who_died(witness: Witness) -> None:
    assert len(witness.cell.supervisor.child("policy").starts) == 2
    assert os.path.exists(witness.cell.supervisor.child("policy").log_path)
