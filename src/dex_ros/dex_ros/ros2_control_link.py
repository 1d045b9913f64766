# SPDX-License-Identifier: Apache-2.0
"""The ROS side of the ros2_control driver: a node of its own that no executor spins; every call returns at once."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from control_msgs.msg import JointTrajectoryControllerState
from numpy.typing import ArrayLike
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dex_core.clock import NS
from dex_core.errors import DeadlineError
from dex_core.types import Array
from dex_ros import qos
from dex_ros.convert import fill_doubles
from dex_ros.polling import PolledSubscription
from dex_ros.ros2_control_settings import Ros2ControlSettings

STATES = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Several drivers may share the topic, so the newest message need not be the robot's."""
DISCOVERY_POLL_S = 0.02


class Reference(NamedTuple):
    """What the controller says it wants: joints as it calls them, (n,) [rad]; no positions while it has none."""

    names: tuple[str, ...]
    position_rad: Array


@cache
def _presence(domain_id: int) -> Node:
    """A node that stays for as long as the process: its participant is found once. A link that comes back with a new participant, at the
    shared-memory port of the one before, may not be heard for seconds, since peers still write to what was there.
    """
    context = Context()
    rclpy.init(context=context, domain_id=None if domain_id < 0 else domain_id, signal_handler_options=SignalHandlerOptions.NO)
    atexit.register(rclpy.try_shutdown, context=context)
    return Node(f"ros2_control_{os.getpid()}", context=context, use_global_arguments=False, enable_rosout=False, start_parameter_services=False)


class Ros2ControlLink:
    """Publisher of trajectories, reader of joint states and of the controller's state.

    Args:
        settings: names and domain.
        node_name: of the node, for people who look at the graph.
    """

    def __init__(self, settings: Ros2ControlSettings, node_name: str) -> None:
        self._settings, self._node_name = settings, node_name
        self._node: Node | None = None

    def open(self) -> None:
        """Joins the graph; any number of times."""
        if self._node is not None:
            return
        context = _presence(self._settings.domain_id).context
        self._node = Node(self._node_name, context=context, use_global_arguments=False, enable_rosout=False, start_parameter_services=False)
        controller = self._settings.controller
        self._trajectories = self._node.create_publisher(JointTrajectory, f"{controller}/joint_trajectory", qos.COMMAND)
        self._states: PolledSubscription[JointStateMsg] = PolledSubscription(self._node, JointStateMsg, self._settings.states_topic, STATES)
        self._references: PolledSubscription[JointTrajectoryControllerState] = PolledSubscription(
            self._node, JointTrajectoryControllerState, f"{controller}/controller_state", qos.SENSOR
        )

    def close(self) -> None:
        """Leaves the graph; any number of times."""
        node, self._node = self._node, None
        if node is not None:
            self._states.destroy()
            self._references.destroy()
            node.destroy_node()

    @property
    def is_open(self) -> bool:
        """Between ``open`` and ``close``."""
        return self._node is not None

    def send(self, names: Sequence[str], position_rad: ArrayLike, ahead_s: float) -> None:
        """Publishes one point, to be reached ``ahead_s`` after it arrives."""
        point = JointTrajectoryPoint(positions=fill_doubles(position_rad), time_from_start=Duration(nanosec=round(ahead_s * NS) % NS))
        point.time_from_start.sec = round(ahead_s * NS) // NS
        self._trajectories.publish(JointTrajectory(joint_names=list(names), points=[point]))

    def states(self) -> list[JointStateMsg]:
        """Joint states that came since the last call, oldest first."""
        return self._states.take_all()

    def reference(self) -> Reference | None:
        """The newest state of the controller since the last call; None when none came, which an inactive controller never sends."""
        message = self._references.take_newest()
        if message is None:
            return None
        return Reference(tuple(message.joint_names), np.array(message.reference.positions))

    def listeners(self) -> int:
        """Subscriptions to the trajectories: the controller's own, and whoever records."""
        return self._trajectories.get_subscription_count()

    def rivals(self) -> int:
        """Other publishers of trajectories to the same controller."""
        assert self._node is not None
        return self._node.count_publishers(self._trajectories.topic_name) - 1

    def state_publishers(self) -> int:
        """Publishers of the joint states."""
        return self._states.publisher_count()

    def wait_listener(self, timeout_s: float) -> None:
        """Waits until the controller listens. Raises DeadlineError."""
        deadline = time.monotonic() + timeout_s
        while not self.listeners():
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"controller {self._settings.controller}", timeout_s,
                    "nobody listens to its joint_trajectory; is it loaded, and is it this name and ROS domain?",
                )
            time.sleep(DISCOVERY_POLL_S)

    def wait_state(self, timeout_s: float) -> None:
        """Waits until a joint state is there to be taken. Raises DeadlineError."""
        if not self._states.wait(timeout_s):
            raise DeadlineError(f"topic {self._settings.states_topic}", timeout_s, "is a joint_state_broadcaster active there?")
