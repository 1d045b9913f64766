# SPDX-License-Identifier: Apache-2.0
"""A robot with a ROS driver: a node that keeps the documented rules of joint_trajectory_controller and joint_state_broadcaster.

Rules, from the userdoc and source of ros2_controllers: trajectories come on ``~/joint_trajectory``, states go out on ``~/controller_state`` at
every update while active and never while inactive; an inactive controller drops what comes. A message is refused whole unless it names exactly
the controller's joints, in any order, has points of that many positions whose times grow, ends at rest, and does not lie in the past. A zero
stamp starts now, from the desired position (or the measured one). After the last point it stays there. Silence changes nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from rclpy.node import Node
from rclpy.qos import QoSPresetProfiles
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dex_core.clock import NS
from dex_ros.convert import fill_doubles, time_from_msg
from dex_sim.plant import Plant

UPDATE_HZ = 100.0


class JtcPeer:
    """The controller and the broadcaster of one robot.

    Args:
        node: an executor must spin it.
        controller: full name.
        names: joints as the robot calls them, the plant's order.
        plant: what moves.
        from_desired: interpolate from the desired position; False: from the measured one.

    Attributes:
        controller, names: as given.
        active: of the controller.
        refuse: drop every trajectory, as one with wrong joints.
        refused: reasons of messages refused so far.
        received: messages that were followed.
        silent: the broadcaster says nothing.
        stamp_offset_s: of the robot's clock.
    """

    def __init__(self, node: Node, controller: str, names: Sequence[str], plant: Plant, *, from_desired: bool = True) -> None:
        self.node, self.controller, self.names, self.plant = node, controller, tuple(names), plant
        self.active, self.refuse, self.silent, self.stamp_offset_s = True, False, False, 0.0
        self.refused: list[str] = []
        self.received: list[JointTrajectory] = []
        self.from_desired = from_desired
        self._lock = threading.Lock()
        self._desired = plant.read().position_rad.copy()
        self._times, self._points, self._start_ns = [0.0], [self._desired], 0
        default = QoSPresetProfiles.SYSTEM_DEFAULT.value
        self._subscription = node.create_subscription(JointTrajectory, f"{controller}/joint_trajectory", self._on_trajectory, default)
        self._state = node.create_publisher(JointTrajectoryControllerState, f"{controller}/controller_state", default)
        self._joints = node.create_publisher(JointState, controller.rpartition("/")[0] + "/joint_states", default)
        self._timer = node.create_timer(1.0 / UPDATE_HZ, self.update)

    def close(self) -> None:
        """Controller and broadcaster are unloaded."""
        self._timer.destroy()
        for publisher in (self._state, self._joints):
            self.node.destroy_publisher(publisher)
        self.node.destroy_subscription(self._subscription)

    def update(self) -> None:
        """One cycle of the controller manager."""
        now_ns = self.node.get_clock().now().nanoseconds
        with self._lock:
            if self.active:
                self._desired = self._sample((now_ns - self._start_ns) / NS)
                self.plant.command(self._desired)
                self._tell_state()
        if not self.silent:
            self._tell_joints(now_ns)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        problem = self._problem(message)
        if problem:
            self.refused.append(problem)
            return
        if not self.active:
            return
        order = [list(message.joint_names).index(name) for name in self.names]
        now_ns = self.node.get_clock().now().nanoseconds
        with self._lock:
            first = self._sample((now_ns - self._start_ns) / NS) if self.from_desired else self.plant.read().position_rad
            times = [p.time_from_start.sec + p.time_from_start.nanosec / NS for p in message.points]
            points = [np.array(p.positions)[order] for p in message.points]
            self._start_ns = time_from_msg(message.header.stamp) or now_ns
            self._times, self._points = ([0.0, *times], [first, *points]) if times[0] > 0.0 else (times, points)
            self.received.append(message)

    def _problem(self, message: JointTrajectory) -> str:
        if self.refuse or set(message.joint_names) != set(self.names) or len(message.joint_names) != len(self.names):
            return "joints do not match"
        if not message.points:
            return "empty trajectory"
        times = [p.time_from_start.sec + p.time_from_start.nanosec / NS for p in message.points]
        if any(b <= a for a, b in zip(times, times[1:], strict=False)):
            return "times do not grow"
        if any(len(p.positions) != len(self.names) or not all(map(math.isfinite, p.positions)) for p in message.points):
            return "positions"
        if any(abs(v) > 1.2e-7 for v in message.points[-1].velocities):
            return "last velocity is not zero"
        stamp_ns = time_from_msg(message.header.stamp)
        if stamp_ns and stamp_ns + times[-1] * NS < self.node.get_clock().now().nanoseconds:
            return "ends in the past"
        return ""

    def _sample(self, time_s: float) -> np.ndarray:
        return np.array([np.interp(time_s, self._times, column) for column in np.array(self._points).T])

    def _tell_state(self) -> None:
        message = JointTrajectoryControllerState(joint_names=list(self.names))
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.reference.positions = fill_doubles(self._desired)
        message.feedback.positions = fill_doubles(self.plant.read().position_rad)
        self._state.publish(message)

    def _tell_joints(self, now_ns: int) -> None:
        measured = self.plant.read()
        message = JointState(name=[*reversed(self.names), "other_joint"])  # another order on purpose, and a joint of nobody's
        stamp_ns = now_ns + round(self.stamp_offset_s * NS)
        message.header.stamp.sec, message.header.stamp.nanosec = stamp_ns // NS, stamp_ns % NS
        message.position = fill_doubles([*measured.position_rad[::-1], 0.7])
        message.velocity = fill_doubles([*measured.velocity_rad_s[::-1], 0.0])
        self._joints.publish(message)
