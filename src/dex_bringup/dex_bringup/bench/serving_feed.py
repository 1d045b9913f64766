# SPDX-License-Identifier: Apache-2.0
"""What surrounds a policy server under measurement: a camera, joints and mounted hands that publish, and whoever takes its chunks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from dex_bringup.bench.serving_bundle import INSTRUCTION, PICTURE
from dex_core.clock import Ticker
from dex_core.config import CellConfig
from dex_core.decode import MountedHand
from dex_core.errors import DeadlineError, DexError
from dex_core.types import JointState as Joints
from dex_msgs.msg import ActionChunk, PolicyStatus
from dex_msgs.msg import MountedHand as MountedHandMsg
from dex_msgs.srv import SetGoal
from dex_ros import names, qos
from dex_ros.convert import image_to_msg, joint_state_to_msg, time_to_msg, timing_from_msg
from dex_ros.mounted import mounted_to_msg
from dex_ros.node import SWITCH_INTERVAL_S

JOINTS_HZ = 100.0
ANSWER_S = 10.0
GOAL = "bench"


class Feed:
    """A node with a camera thread, a joints thread and an executor thread.

    Args:
        cell: whose devices are played, at rest. hands: what the decoders would tell.
        namespace: where the server is.

    Attributes:
        timings: stage -> wall clock [ns] of each chunk that came, in order, with ``arrived``, when it was here.
        pictures: how many were published.
    """

    def __init__(self, cell: CellConfig, hands: Mapping[str, MountedHand], namespace: str) -> None:
        self._cell, self._stop = cell, threading.Event()
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("feed", namespace=namespace, context=self._context, enable_rosout=False, start_parameter_services=False)
        self.timings: list[dict[str, int]] = []
        self.status: PolicyStatus | None = None
        self.pictures = 0
        self.rate_hz = 0.0
        self._image = self._node.create_publisher(Image, names.IMAGE, qos.SENSOR)
        self._joints = {name: self._node.create_publisher(JointState, names.device_states(name), qos.SENSOR) for name in cell.interfaces}
        self._mounted = {side: self._node.create_publisher(MountedHandMsg, names.mounted_hand(side), qos.LATCHED) for side in hands}
        for side, hand in hands.items():
            self._mounted[side].publish(mounted_to_msg(hand))
        self._node.create_subscription(ActionChunk, names.ACTION_CHUNK, self._on_chunk, qos.CHUNK)
        self._node.create_subscription(PolicyStatus, names.POLICY_STATUS, self._on_status, qos.LATCHED)
        self._node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, qos.REPORT)
        self._lifecycle = f"/{namespace}/policy: lifecycle"
        self._failure = ""
        self._goal = self._node.create_client(SetGoal, names.POLICY_SET_GOAL)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._spin, self._run_joints, self._run_camera)]

    def __enter__(self) -> Feed:
        self._interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)  # as every node: else a picture waits for whoever takes a chunk
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        sys.setswitchinterval(self._interval_s)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def wait_ready(self, timeout_s: float, alive: Callable[[], bool]) -> None:
        """Waits until the server says READY. Raises DexError when it refuses or is not ``alive``, DeadlineError when it is silent."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status
            if status is not None and status.state == PolicyStatus.READY:
                return
            if status is not None and status.state == PolicyStatus.REFUSED:
                raise DexError(f"the server refused [{status.reason}]: {status.detail}", code=status.reason or "refused")
            if self._failure:
                raise DexError(f"the server: {self._failure}", code="policy_lost")
            if not alive():
                raise DexError("the server ended; see its log", code="policy_lost")
            time.sleep(0.02)
        raise DeadlineError("READY of the policy server", timeout_s)

    def set_goal(self, active: bool) -> None:
        """Starts or ends the goal. Raises DexError when it is refused, DeadlineError when nobody answers."""
        if not self._goal.wait_for_service(ANSWER_S):
            raise DeadlineError("policy/set_goal", ANSWER_S)
        done = threading.Event()
        future = self._goal.call_async(SetGoal.Request(goal_id=GOAL, instruction=INSTRUCTION, active=active))
        future.add_done_callback(lambda _future: done.set())
        if not done.wait(ANSWER_S):
            raise DeadlineError("policy/set_goal", ANSWER_S)
        if not future.result().accepted:
            raise DexError(f"goal refused: {future.result().detail}", code=future.result().reason or "refused")

    def watch(self, rate_hz: float, warm_up_s: float, seconds: float) -> list[dict[str, int]]:
        """Timings of the chunks of ``seconds``, with ``rate_hz`` pictures a second."""
        self.rate_hz = rate_hz
        time.sleep(warm_up_s)
        first = len(self.timings)
        time.sleep(seconds)
        self.rate_hz = 0.0
        return self.timings[first:]

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_chunk(self, message: ActionChunk) -> None:
        self.timings.append({**timing_from_msg(message.timing), "arrived": time.time_ns()})

    def _on_status(self, message: PolicyStatus) -> None:
        self.status = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._lifecycle and status.level == DiagnosticStatus.ERROR:
                self._failure = status.message

    def _run_joints(self) -> None:
        messages = {}
        for name, interface in self._cell.interfaces.items():
            n = len(interface.names)
            messages[name] = joint_state_to_msg(Joints(interface.names, np.array(interface.home), np.zeros(n), np.full(n, np.nan), 0))
        ticker = Ticker(JOINTS_HZ)
        while not self._stop.is_set():
            ticker.wait()
            stamp = time_to_msg(time.time_ns())
            for name, message in messages.items():
                message.header.stamp = stamp
                self._joints[name].publish(message)

    def _run_camera(self) -> None:
        """Made before they are needed, so that a picture's stamp is the moment it is published; no two alike."""
        rng = np.random.default_rng(0)
        pictures = [image_to_msg(rng.integers(0, 255, (PICTURE, PICTURE, 3), dtype=np.uint8), 0, "camera_color_optical_frame") for _ in range(8)]
        while not self._stop.is_set():
            rate_hz = self.rate_hz
            if not rate_hz:
                time.sleep(0.005)
                continue
            ticker = Ticker(rate_hz)
            while self.rate_hz == rate_hz and not self._stop.is_set():
                ticker.wait()
                message = pictures[self.pictures % len(pictures)]
                message.header.stamp = time_to_msg(time.time_ns())
                self._image.publish(message)
                self.pictures += 1
