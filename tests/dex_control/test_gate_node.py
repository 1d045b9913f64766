# SPDX-License-Identifier: Apache-2.0
"""The gate as a process, between made-up drivers, nodes and a policy."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dex_core.clock import Ticker
from dex_core.config import CellConfig, load_cell
from dex_core.types import ActionChunk, ActionSlice, JointState

pytestmark = pytest.mark.ros
rclpy = pytest.importorskip("rclpy", reason="no ROS in this environment")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import JointState as JointStateMsg  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from dex_control.gate import watched_nodes  # noqa: E402
from dex_control.gate_node import GateNode  # noqa: E402
from dex_control.jitter import measure_jitter  # noqa: E402
from dex_msgs.msg import ActionChunk as ActionChunkMsg  # noqa: E402
from dex_msgs.msg import ChunkReport, CommandReport, Heartbeat, JointCommand, SafetyState  # noqa: E402
from dex_msgs.srv import SetGoal  # noqa: E402
from dex_ros import names, qos  # noqa: E402
from dex_ros.convert import chunk_to_msg, joint_state_to_msg  # noqa: E402
from dex_ros.polling import PolledSubscription  # noqa: E402
from dex_ros.testing import ros_domain, spinning, wait_for  # noqa: E402

DOMAIN = 56
TIMEOUT_S = 0.4
"""Heartbeats and states in these tests: a busy machine must not look like a fault."""


class FakeCell:
    """Drivers that follow commands, every node's heartbeat, and what the gate says."""

    def __init__(self, node: Node, cell: CellConfig) -> None:
        self.node, self.cell = node, cell
        self.joints = {n: np.array(i.home) for n, i in cell.interfaces.items()}
        self.silent: set[str] = set()
        self.commands: list[tuple[int, JointCommand]] = []
        self.safety: list[SafetyState] = []
        self.chunk_reports: list[ChunkReport] = []
        self.reports: list[CommandReport] = []
        self.diagnostics: list[str] = []
        self._beats = node.create_publisher(Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._states = {n: node.create_publisher(JointStateMsg, names.device_states(n), qos.SENSOR) for n in cell.interfaces}
        self.chunks = node.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self.decoded = node.create_publisher(ActionChunkMsg, names.DECODED_CHUNK, qos.CHUNK)
        self._input = PolledSubscription(node, JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        node.create_subscription(SafetyState, names.SAFETY_STATE, self.safety.append, qos.LATCHED)
        node.create_subscription(ChunkReport, names.CHUNK_REPORT, self.chunk_reports.append, qos.REPORT)
        node.create_subscription(CommandReport, names.COMMAND_REPORT, self.reports.append, qos.REPORT)
        node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, qos.REPORT)
        self.set_goal_client = node.create_client(SetGoal, names.GATE_SET_GOAL)
        self.stop_client = node.create_client(Trigger, names.GATE_STOP)
        self.reset_client = node.create_client(Trigger, names.GATE_RESET)
        self._running = True
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._listen, self._speak)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._running = False
        for thread in self._threads:
            thread.join(timeout=2.0)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics += [f"{s.name}: {s.message}" for s in message.status]

    def _listen(self) -> None:
        while self._running:
            if not self._input.wait(0.05):
                continue
            for message in self._input.take_all():
                self.commands.append((time.monotonic_ns(), message))
                targets = dict(zip(message.names, message.positions, strict=True))
                for name, part in self.cell.interfaces.items():
                    if targets:
                        self.joints[name] = np.array([targets[j] for j in part.names])

    def _speak(self) -> None:
        ticker, k = Ticker(50.0), 0
        while self._running:
            ticker.wait()
            for name, part in self.cell.interfaces.items():
                n = len(part.names)
                state = JointState(part.names, self.joints[name], np.zeros(n), np.full(n, np.nan), time.time_ns())
                self._states[name].publish(joint_state_to_msg(state))
            k += 1
            for watch in watched_nodes(self.cell):
                if k % 2 == 0 and watch.node not in self.silent:
                    self._beats.publish(Heartbeat(node=watch.node, state=3))

    def call(self, client, request):
        assert client.wait_for_service(timeout_sec=10.0), f"{client.srv_name} is not there"
        future = client.call_async(request)
        wait_for(future.done, client.srv_name)
        return future.result()

    def arm(self, goal: str):
        return self.call(self.set_goal_client, SetGoal.Request(goal_id=goal, instruction="x", active=True))

    def chunk(self, sequence: int, goal: str, move: float = 0.1, hands: str = "joint_position") -> ActionChunk:
        u = np.linspace(0.0, 1.0, 64)[:, None]
        slices = []
        for name, part in self.cell.interfaces.items():
            if part.robot.kind == "hand" and hands == "latent":
                slices.append(ActionSlice(name, "latent", np.zeros((64, 32)), space_hash="x"))
            else:
                slices.append(ActionSlice(name, "joint_position", self.joints[name] + move * u, part.names))
        now = time.time_ns()
        timing = {"observed": now, "inference_started": now + 1_000_000, "inferred": now + 4_000_000}
        return ActionChunk(now, goal, sequence, 0.05, 1.0, tuple(slices), "hash", timing)

    def mode(self) -> int | None:
        return self.safety[-1].mode if self.safety else None


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    base = load_cell("xarm_bimanual")
    control = dataclasses.replace(base.control, heartbeat_timeout_s=TIMEOUT_S, state_timeout_s=TIMEOUT_S)
    slow_tool = dataclasses.replace(base.profile_of("left_arm"), tool_speed_m_s=0.2)
    return dataclasses.replace(base, control=control, safety=dataclasses.replace(base.safety, profiles={"left_arm": slow_tool}))


@pytest.fixture(scope="module")
def fake(cell: CellConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCell]:
    path = tmp_path_factory.mktemp("cell") / "cell.yaml"
    cell.save(path)
    with ros_domain(DOMAIN) as context:
        process = subprocess.Popen([sys.executable, "-m", "dex_control.gate_node", "--ros-args", "-p", f"cell_file:={path}"], env=dict(os.environ))
        node = Node("fake_cell", context=context)
        fake = FakeCell(node, cell)
        fake.process = process
        with spinning(node):
            wait_for(lambda: len(fake.commands) > 20, "gate", timeout_s=30.0)
            yield fake
            fake.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=10.0)
        node.destroy_node()


def start(fake: FakeCell, goal: str, **chunk) -> None:
    wait_for(lambda: fake.arm(goal).accepted, "gate accepting a goal", timeout_s=10.0)
    fake.chunks.publish(chunk_to_msg(fake.chunk(0, goal, **chunk)))
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.TRACK, "tracking")


def end(fake: FakeCell, goal: str) -> None:
    fake.call(fake.set_goal_client, SetGoal.Request(goal_id=goal, active=False))
    wait_for(lambda: fake.mode() == SafetyState.IDLE, "idle")
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.IDLE, "idle stream")


def test_stream_begins_idle_and_without_joints(fake: FakeCell) -> None:
    first = fake.commands[0][1]
    assert first.mode == JointCommand.IDLE and not first.names and not first.positions
    assert fake.node.count_publishers(names.JOINT_COMMAND) == 1
    wait_for(lambda: fake.mode() == SafetyState.IDLE, "safety_state")


def test_a_goal_is_tracked_reported_and_ends_idle(fake: FakeCell) -> None:
    start(fake, "tracked")
    target = {n: q + 0.1 for n, q in fake.joints.items()}
    wait_for(lambda: fake.commands[-1][1].positions and len(fake.commands) > 200, "commands")
    report = wait_for(lambda: next((r for r in fake.chunk_reports if r.goal_id == "tracked"), None), "chunk_report")
    assert report.accepted and report.inference_ms == pytest.approx(3.0, abs=0.01)
    assert 0.0 < report.overhead_ms < 500.0
    assert wait_for(lambda: fake.reports[-1].chunks_accepted >= 1, "command_report")
    assert sorted(fake.commands[-1][1].names) == sorted(fake.cell.joint_names)
    assert set(target) == set(fake.cell.interfaces)
    end(fake, "tracked")


def test_the_seams_of_a_chunk_are_reported_and_told_in_diagnostics(fake: FakeCell) -> None:
    start(fake, "seams")
    fake.diagnostics.clear()
    other = fake.chunk(1, "seams", move=-0.1)
    fake.chunks.publish(chunk_to_msg(dataclasses.replace(other, stamp_ns=other.stamp_ns - 200_000_000)))
    report = wait_for(lambda: next((r for r in fake.chunk_reports if r.goal_id == "seams" and r.sequence == 1), None), "chunk_report")
    assert report.accepted and report.velocity_step > 0.01 and report.jerk > 1.0, "the plans disagree about where to go"
    assert report.command_velocity_step < 1e-6 and report.command_position_jump < 1e-6, "blending takes it out"
    wait_for(lambda: any("schedule: blending" in text for text in fake.diagnostics), "diagnostics")
    end(fake, "seams")


def test_hands_wait_for_their_decoders(fake: FakeCell) -> None:
    wait_for(lambda: fake.arm("decoded").accepted, "gate", timeout_s=10.0)
    chunk = fake.chunk(0, "decoded", hands="latent")
    whole = fake.chunk(0, "decoded")
    fake.chunks.publish(chunk_to_msg(chunk))
    for side in ("left_hand", "right_hand"):
        part = dataclasses.replace(chunk, slices=(whole.slice_of(side),), timing_ns={**chunk.timing_ns, "decoded": time.time_ns()})
        fake.decoded.publish(chunk_to_msg(part))
    report = wait_for(lambda: next((r for r in fake.chunk_reports if r.goal_id == "decoded"), None), "chunk_report")
    assert report.accepted and report.timing.decoded.sec and report.timing.first_command.sec
    end(fake, "decoded")


def test_a_chunk_with_nan_on_the_wire_is_refused_and_reported(fake: FakeCell) -> None:
    start(fake, "nan")
    message = chunk_to_msg(fake.chunk(1, "nan"))
    message.slices[0].data[10] = float("nan")
    fake.chunks.publish(message)
    report = wait_for(lambda: next((r for r in fake.chunk_reports if r.goal_id == "nan" and not r.accepted), None), "chunk_report")
    assert report.reason == "non_finite" and "left_arm" in report.detail
    end(fake, "nan")


def test_what_slows_the_cell_is_told_in_diagnostics(fake: FakeCell) -> None:
    start(fake, "fast", move=0.0)
    chunk = fake.chunk(1, "fast", move=0.0)
    arm = next(i for i, part in enumerate(chunk.slices) if part.interface == "left_arm")
    outwards = np.clip(np.arange(64) * 0.06, 0.0, 0.5)  # 1.2 rad/s of joint1, whose flange is 0.3 m out or more: above this cell's 0.2 m/s
    data = chunk.slices[arm].data.copy()
    data[:, 0] += outwards
    slices = (*chunk.slices[:arm], dataclasses.replace(chunk.slices[arm], data=data), *chunk.slices[arm + 1 :])
    fake.chunks.publish(chunk_to_msg(dataclasses.replace(chunk, slices=slices)))
    wait_for(lambda: any(report.speed_scale < 0.9 and report.goal_id == "fast" for report in fake.reports), "a slowed report")
    wait_for(lambda: any("motion: slowed to" in text for text in fake.diagnostics), "diagnostics")
    end(fake, "fast")
    fake.diagnostics.clear()
    wait_for(lambda: any("motion: as wanted" in text for text in fake.diagnostics), "diagnostics after it")


def test_a_silent_policy_latches_a_hold_that_diagnostics_name(fake: FakeCell) -> None:
    start(fake, "lost")
    fake.silent.add("policy")
    wait_for(lambda: fake.mode() == SafetyState.HOLDING, "hold")
    state = fake.safety[-1]
    assert (state.reason, state.cause, state.latched) == ("policy_lost", "policy", True)
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.HOLD, "hold stream")
    wait_for(lambda: any("policy_lost" in d for d in fake.diagnostics), "diagnostics")
    fake.silent.clear()
    assert fake.arm("next").reason == "latched"
    wait_for(lambda: fake.call(fake.reset_client, Trigger.Request()).success, "reset")
    start(fake, "next")
    end(fake, "next")


def test_a_stop_needs_a_reset(fake: FakeCell) -> None:
    start(fake, "stopped")
    assert fake.call(fake.stop_client, Trigger.Request()).success
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.STOP, "stop stream")
    assert fake.safety[-1].mode == SafetyState.STOPPED and fake.safety[-1].reason == "stop_requested"
    assert not fake.arm("after").accepted
    assert fake.call(fake.reset_client, Trigger.Request()).success
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.IDLE, "idle stream")


def test_a_second_publisher_latches_a_fault(fake: FakeCell) -> None:
    start(fake, "alone")
    rival = fake.node.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
    wait_for(lambda: fake.mode() == SafetyState.FAULT, "fault")
    assert fake.safety[-1].reason == "duplicate_publisher"
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.STOP, "stop stream")
    fake.node.destroy_publisher(rival)
    wait_for(lambda: fake.call(fake.reset_client, Trigger.Request()).success, "reset once the rival is gone")


def test_the_stream_keeps_its_rate_and_no_command_leaps(fake: FakeCell) -> None:
    start(fake, "rate")
    first = len(fake.commands)
    wait_for(lambda: len(fake.commands) > first + 150, "commands")
    taken = fake.commands[first : first + 150]
    jitter = measure_jitter([t for t, _ in taken], fake.cell.control.rate_hz)
    assert jitter.period_p50_ms == pytest.approx(10.0, abs=5.0)
    sequences = [m.sequence for _, m in taken]
    assert sequences == sorted(set(sequences))
    moving = np.array([m.positions for _, m in taken if m.mode == JointCommand.TRACK])
    assert np.isfinite(moving).all() and np.abs(np.diff(moving, axis=0)).max() < 0.05
    end(fake, "rate")


def test_sigterm_ends_with_stop(fake: FakeCell) -> None:
    fake.process.send_signal(signal.SIGTERM)
    assert fake.process.wait(timeout=10.0) == 0
    wait_for(lambda: fake.commands[-1][1].mode == JointCommand.STOP, "a last STOP")


def test_a_stop_outlives_a_new_cell(tmp_path: Path) -> None:
    """Taken down and up with another hand in the cell, the gate has its limits, and what was latched still is."""
    path = tmp_path / "cell.yaml"
    load_cell("xarm_bimanual").save(path)
    with ros_domain(DOMAIN) as context:
        node = GateNode(context=context, namespace="swapped", parameter_overrides=[Parameter("cell_file", value=str(path))])
        node.trigger_configure()
        node.trigger_activate()
        node.trigger_deactivate()
        node.trigger_cleanup()
        after = load_cell(path, left_hand="leap")
        after.save(path)
        node.trigger_configure()
        node.trigger_activate()
        assert node.is_active and node._joint_names == list(after.joint_names) and "left_15" in node._joint_names
        assert (node._gate.status.mode, node._gate.status.latched, node._gate.status.cause) == (SafetyState.STOPPED, True, "gate")
        assert node._ask(lambda gate: gate.set_goal("again", True, time.monotonic_ns())).reason == "latched"
        assert node._ask(lambda gate: gate.reset(time.monotonic_ns())).accepted and not node._gate.status.latched
        node.trigger_deactivate()
        node.trigger_cleanup()
        node.destroy_node()
