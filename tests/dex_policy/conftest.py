# SPDX-License-Identifier: Apache-2.0
"""A cell of fakes around the policy and task nodes: pictures, joints, heartbeats, a gate and its services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState as JointStateMsg

from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_fixture_pair
from dex_core.config import CellConfig, load_cell
from dex_core.decode import MountedHand
from dex_core.policy.runtime import mounted_hands
from dex_core.types import JointState
from dex_msgs.msg import ActionChunk, ChunkReport, Heartbeat, PolicyStatus, SafetyState, TaskState
from dex_msgs.msg import MountedHand as MountedHandMsg
from dex_msgs.srv import SetGoal
from dex_ros import names, qos
from dex_ros.convert import image_to_msg, joint_state_to_msg
from dex_ros.mounted import mounted_to_msg
from dex_ros.node import DexNode
from dex_ros.testing import ros_domain, spinning

DOMAIN = 57
POLICY, SPACE = (Path(name).name for name in (load_cell("xarm_bimanual").policy.bundle, load_cell("xarm_bimanual").policy.latent_bundle))


class FakeCell(Node):
    """Everything around the node under test; each thing can be changed or silenced by a test."""

    def __init__(self, cell: CellConfig, context: Context, *, gate: bool = True) -> None:
        super().__init__("fake_cell", context=context)
        self.cell = cell
        self.picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        self.picture_lives = True
        self.picture_age_s = 0.0
        self.send_pictures = self.send_joints = True
        self.joint_value: float | None = None
        self.joints_move = False
        self.alive = {"gate", "policy", "camera", "left_decoder", "right_decoder", *cell.interfaces}
        self.safety = SafetyState(mode=SafetyState.IDLE)
        self.gate_reply = self.policy_reply = self.check_reply = ("", "")
        self.answer_policy = True
        self.calls: list[tuple[str, str, bool]] = []
        self.chunks: list[ActionChunk] = []
        self.statuses: list[PolicyStatus] = []
        self.diagnostics: list[Any] = []
        group = ReentrantCallbackGroup()
        self._image = self.create_publisher(Image, names.IMAGE, qos.SENSOR)
        self._joints = {i: self.create_publisher(JointStateMsg, names.device_states(i), qos.SENSOR) for i in cell.interfaces}
        self._beats = self.create_publisher(Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._safety = self.create_publisher(SafetyState, names.SAFETY_STATE, qos.LATCHED) if gate else None
        self._judge = self.create_publisher(TaskState, names.TASK_STATE, qos.LATCHED)
        self._reports = self.create_publisher(ChunkReport, names.CHUNK_REPORT, qos.REPORT) if gate else None
        self._mounted: dict[str, Any] = {}
        self._status = None
        self.create_subscription(ActionChunk, names.ACTION_CHUNK, self.chunks.append, qos.CHUNK)
        self.create_subscription(PolicyStatus, names.POLICY_STATUS, self.statuses.append, qos.LATCHED)
        self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, lambda m: self.diagnostics.extend(m.status), qos.REPORT)
        self.create_timer(0.05, self._tick_camera, callback_group=group)
        self.create_timer(0.02, self._tick_joints, callback_group=group)
        self.create_timer(0.04, self._tick_beats, callback_group=group)
        if gate:
            self.publish_safety()

    def serve_gate(self) -> None:
        """Offers gate/set_goal."""
        self.create_service(SetGoal, names.GATE_SET_GOAL, self._on_gate, callback_group=ReentrantCallbackGroup())

    def serve_policy(self) -> None:
        """Offers policy/set_goal and policy/check_goal."""
        self.create_service(SetGoal, names.POLICY_SET_GOAL, self._on_policy, callback_group=ReentrantCallbackGroup())
        self.create_service(SetGoal, names.POLICY_CHECK_GOAL, self._on_check, callback_group=ReentrantCallbackGroup())

    def publish_safety(self, **changes: object) -> None:
        """Changes the gate's state and publishes it."""
        for key, value in changes.items():
            setattr(self.safety, key, value)
        self._safety.publish(self.safety)

    def judge(self, success: bool, progress: float, task: str = "push_cans") -> None:
        """Publishes the judge's view of a scene."""
        self._judge.publish(TaskState(task=task, success=success, progress=progress))

    def report(self, **fields: object) -> None:
        """Publishes a chunk's fate."""
        self._reports.publish(ChunkReport(**fields))

    def mount(self, *hands: MountedHand) -> None:
        """Says, as their sides' decoders would, which hands are mounted."""
        for hand in hands:
            if hand.side not in self._mounted:
                self._mounted[hand.side] = self.create_publisher(MountedHandMsg, names.mounted_hand(hand.side), qos.LATCHED)
            self._mounted[hand.side].publish(mounted_to_msg(hand))

    def complaints(self, text: str) -> list[Any]:
        """Diagnostics that hold ``text``."""
        return [s for s in list(self.diagnostics) if text in s.message or any(text == v.value for v in s.values)]

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _tick_camera(self) -> None:
        if self.send_pictures:
            if self.picture_lives:
                self.picture[0, 0] += 1
            self._image.publish(image_to_msg(self.picture, self._now_ns() - round(self.picture_age_s * 1e9), "camera_color_optical_frame"))

    def _tick_joints(self) -> None:
        if not self.send_joints:
            return
        for name, interface in self.cell.interfaces.items():
            n = len(interface.names)
            message = joint_state_to_msg(JointState(interface.names, np.array(interface.home), np.zeros(n), np.zeros(n), self._now_ns()))
            if self.joint_value is not None:
                message.position[0] = self.joint_value
            if self.joints_move:
                message.position[0] += 0.1 * np.sin(6.0 * self._now_ns() / 1e9)
            self._joints[name].publish(message)

    def _tick_beats(self) -> None:
        for node in sorted(self.alive):
            self._beats.publish(Heartbeat(node=node, state=3))

    def _on_gate(self, request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        self.calls.append(("gate", request.goal_id, request.active))
        response.reason, response.detail = self.gate_reply
        response.accepted = not response.reason
        if response.accepted:
            mode = SafetyState.RUNNING if request.active else SafetyState.IDLE
            self.publish_safety(mode=mode, goal_id=request.goal_id if request.active else "", reason="", cause="", detail="", latched=False)
        return response

    def _on_check(self, _request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        if not self.answer_policy:
            threading.Event().wait(3.0)
        response.reason, response.detail = self.check_reply
        response.accepted = not response.reason
        return response

    def _on_policy(self, request: SetGoal.Request, response: SetGoal.Response) -> SetGoal.Response:
        self.calls.append(("policy", request.goal_id, request.active))
        if not self.answer_policy:
            threading.Event().wait(3.0)
        response.reason, response.detail = self.policy_reply
        response.accepted = not response.reason
        return response


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that knows no hand, and a space of two hands."""
    root = tmp_path_factory.mktemp("models")
    write_fixture_pair(root, load_cell("xarm_bimanual"), others=[load_cell("xarm_bimanual", hand="leap")], wrist_poses=True)
    return root


@pytest.fixture(scope="session")
def hands(models: Path) -> dict[str, MountedHand]:
    """What the decoders of that cell tell."""
    return mounted_hands(load_cell("xarm_bimanual"), load_bundle(models / POLICY))


@pytest.fixture()
def cell(models: Path) -> CellConfig:
    """The bimanual cell with fixture bundles and ten chunks a second."""
    base = load_cell("xarm_bimanual")
    policy = replace(base.policy, bundle=str(models / POLICY), latent_bundle=str(models / SPACE), provider="cpu", replan_period_s=0.1)
    control = replace(base.control, heartbeat_timeout_s=0.5)  # the fakes share two cores with other tests
    return replace(base, policy=replace(policy, goal_deadline_s=20.0), control=control)


@pytest.fixture()
def context() -> Iterator[Context]:
    """A private ROS context."""
    with ros_domain(DOMAIN) as ctx:
        yield ctx


@pytest.fixture()
def bench(cell: CellConfig, hands: dict[str, MountedHand], context: Context, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes (node under test, fakes) and spins both: ``with bench(PolicyNode) as (node, fakes)``."""

    @contextmanager
    def run(
        factory: Callable[..., DexNode], changed: CellConfig | None = None, *, start: bool = True, serve_policy: bool = True, mounted: bool = True
    ) -> Iterator[tuple[DexNode, FakeCell]]:
        chosen = changed or cell
        path = tmp_path / "cell.yaml"
        chosen.save(path)
        node = factory(context=context, parameter_overrides=[Parameter("cell_file", value=str(path))])
        fakes = FakeCell(chosen, context)
        fakes.serve_gate()
        if serve_policy:
            fakes.serve_policy()
        if mounted:
            fakes.mount(*hands.values())
        try:
            with spinning(node, fakes, threads=6):
                if start:
                    node.autostart()
                yield node, fakes
                if node.state_id == 3:
                    node.trigger_deactivate()
        finally:
            node.destroy_node()
            fakes.destroy_node()

    yield run
