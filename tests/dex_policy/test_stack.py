# SPDX-License-Identifier: Apache-2.0
"""Policy, task, decoders and the real gate as processes, around fake devices: a goal runs, and a killed process ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.context import Context
from std_srvs.srv import Trigger

from dex_core.config import CellConfig
from dex_msgs.action import RunTask
from dex_msgs.msg import ChunkReport, JointCommand, SafetyState
from dex_ros import names, qos
from dex_ros.testing import spinning, wait_for

from .conftest import DOMAIN, FakeCell

pytestmark = [pytest.mark.ros, pytest.mark.slow]
NODES = {
    "gate": ("dex_control.gate_node", ""),
    "policy": ("dex_policy.policy_node", ""),
    "task": ("dex_policy.task_node", ""),
    "left_decoder": ("dex_decode.decoder_node", "left_hand"),
    "right_decoder": ("dex_decode.decoder_node", "right_hand"),
}


class Stack:
    """The processes and a client."""

    def __init__(self, cell_file: Path, fakes: FakeCell, log: Path) -> None:
        self._cell_file, self._log = cell_file, log
        self.fakes = fakes
        self.processes: dict[str, subprocess.Popen] = {}
        self.safety: list[SafetyState] = []
        self.reports: list[ChunkReport] = []
        self.commands: list[tuple[float, JointCommand]] = []
        fakes.create_subscription(SafetyState, names.SAFETY_STATE, self.safety.append, qos.LATCHED)
        fakes.create_subscription(ChunkReport, names.CHUNK_REPORT, self.reports.append, qos.REPORT)
        fakes.create_subscription(JointCommand, names.JOINT_COMMAND, lambda m: self.commands.append((time.monotonic(), m)), qos.COMMAND)
        self.client = ActionClient(fakes, RunTask, names.RUN_TASK)

    def start(self, name: str) -> None:
        module, interface = NODES[name]
        command = [sys.executable, "-m", module, "--ros-args", "-r", f"__node:={name}", "-p", f"cell_file:={self._cell_file}"]
        command += ["-p", f"interface:={interface}"] if interface else []
        env = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
        self.processes[name] = subprocess.Popen(command, stdout=(self._log / f"{name}.log").open("w"), stderr=subprocess.STDOUT, env=env)

    def kill(self, name: str) -> float:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait(5.0)
        return time.monotonic()

    def send(self, deadline_s: float = 30.0) -> Any:
        assert self.client.wait_for_server(30.0)
        future = self.client.send_goal_async(RunTask.Goal(instruction="Push the two tomato cans together", deadline_s=deadline_s))
        wait_for(future.done, "run_task goal", 10.0)
        return future.result()

    def result(self, handle: Any) -> tuple[int, RunTask.Result]:
        future = handle.get_result_async()
        wait_for(future.done, "run_task result", 15.0)
        return future.result().status, future.result().result

    def run_until_moving(self) -> Any:
        """Tries goals until one is armed and its first chunk is followed."""
        deadline = time.monotonic() + 40.0
        while time.monotonic() < deadline:
            self.reset()
            handle = self.send()
            if not handle.accepted:
                time.sleep(0.1)
                continue
            self.reports.clear()
            result = handle.get_result_async()
            wait_for(lambda result=result: result.done() or any(r.accepted for r in self.reports), "chunk or refusal", 10.0)
            if not result.done():
                return handle
        raise AssertionError(f"no goal was armed: {result.result().result}")

    def reset(self) -> None:
        client = self.fakes.create_client(Trigger, names.GATE_RESET)
        assert client.wait_for_service(30.0)

        def done() -> bool:
            future = client.call_async(Trigger.Request())
            wait_for(future.done, "gate/reset")
            return future.result().success

        wait_for(done, "gate/reset to succeed", poll_s=0.1)


@pytest.fixture()
def stack(cell: CellConfig, context: Context, tmp_path: Path) -> Iterator[Stack]:
    path = tmp_path / "cell.yaml"
    # Five processes beside other tests on two cores: times here are wide, the cell's own figures are measured by its benchmarks.
    control = replace(cell.control, chunk_join_timeout_s=2.0, heartbeat_timeout_s=0.5, state_timeout_s=0.5, chunk_max_age_s=2.5)
    policy = replace(cell.policy, replan_period_s=0.5, image_max_age_s=0.8, state_max_age_s=0.4)
    cell = replace(cell, control=control, policy=policy)
    cell.save(path)
    fakes = FakeCell(cell, context, gate=False)
    fakes.alive = {"camera", *cell.interfaces}
    stack = Stack(path, fakes, tmp_path)
    try:
        with spinning(fakes, threads=3):
            for name in NODES:
                stack.start(name)
            yield stack
    finally:
        for process in stack.processes.values():
            process.terminate()
        for process in stack.processes.values():
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20.0)
        fakes.destroy_node()


@pytest.mark.parametrize(("victim", "reason"), [("policy", "policy_lost"), ("left_decoder", "decoder_lost"), ("right_decoder", "decoder_lost")])
def test_killed_process_aborts_the_goal_and_a_restart_runs_again(stack: Stack, victim: str, reason: str) -> None:
    handle = stack.run_until_moving()
    wait_for(lambda: any(c.mode == JointCommand.TRACK for _, c in stack.commands), "tracking")
    killed_s = stack.kill(victim)
    status, result = stack.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RunTask.Result.ABORTED
    assert result.reason == reason and victim in result.detail
    wait_for(lambda: any(t > killed_s and c.mode == JointCommand.HOLD for t, c in stack.commands), "a hold")
    assert all(abs(p) < 7.0 for _, c in stack.commands for p in c.positions)
    refused = stack.send()
    assert refused.accepted and stack.result(refused)[1].reason in ("latched", reason)
    stack.start(victim)
    stack.reset()
    handle = stack.run_until_moving()
    stack.fakes.judge(True, 1.0)
    assert stack.result(handle)[1].outcome == RunTask.Result.SUCCEEDED


def test_unplugged_camera_is_the_reason_although_its_process_lives(stack: Stack) -> None:
    handle = stack.run_until_moving()
    stack.fakes.send_pictures = False
    status, result = stack.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.reason == "camera_lost", result
