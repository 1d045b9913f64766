# SPDX-License-Identifier: Apache-2.0
"""FollowJointTrajectory of one device: goals are checked whole, run by the control thread, and always end with a result."""

from __future__ import annotations

import threading
import time

from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectoryPoint

from dex_core.clock import NS
from dex_core.config import Interface
from dex_core.devices.runtime import DeviceRuntime
from dex_core.devices.trajectory import Outcome, Point, Tolerances, Trajectory, TrajectoryError, check_trajectory, make_tolerances
from dex_ros.convert import fill_doubles, time_from_msg, time_to_msg

CANCEL_CHECK_S = 0.02
FEEDBACK_PERIOD_S = 0.1
END_SLACK_S = 10.0


class TrajectoryServer:
    """The action server beside a DeviceRuntime."""

    def __init__(self, node: Node, runtime: DeviceRuntime, name: str, interface: Interface, group: CallbackGroup) -> None:
        self._node, self._runtime, self._interface = node, runtime, interface
        self._server = ActionServer(
            node, FollowJointTrajectory, name, self._execute, goal_callback=self._judge, cancel_callback=lambda _goal: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def destroy(self) -> None:
        """Ends the server."""
        self._server.destroy()

    def _judge(self, goal: FollowJointTrajectory.Goal) -> GoalResponse:
        """Refuses a bad goal before anything moves; the reason goes to the log, since the action has no field for it."""
        try:
            with self._runtime.lock:
                self._runtime.check_trajectory_allowed()
            self._check(goal)
        except TrajectoryError as error:
            self._node.get_logger().warning(f"trajectory refused [{error.outcome.name}]: {error}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _check(self, goal: FollowJointTrajectory.Goal) -> tuple[Trajectory, Tolerances, int]:
        trajectory = check_trajectory(
            goal.trajectory.joint_names, [_point(p) for p in goal.trajectory.points], self._interface.names, self._interface.limits
        )
        if goal.multi_dof_trajectory.points:
            raise TrajectoryError("multi_dof_trajectory is not supported")
        tolerances = make_tolerances(
            self._interface.names, _positions(goal.path_tolerance), _positions(goal.goal_tolerance),
            _seconds(goal.goal_time_tolerance), self._interface.robot.kind,
        )
        return trajectory, tolerances, self._start_ns(goal, trajectory)

    def _start_ns(self, goal: FollowJointTrajectory.Goal, trajectory: Trajectory) -> int:
        """Monotonic start: now for a zero stamp, else as far from now as the stamp is."""
        stamp_ns = time_from_msg(goal.trajectory.header.stamp)
        now_ns = time.monotonic_ns()
        if not stamp_ns:
            return now_ns
        ahead_ns = stamp_ns - self._node.get_clock().now().nanoseconds
        if ahead_ns + trajectory.time_s[-1] * NS < 0:
            raise TrajectoryError(f"trajectory ended {-ahead_ns / NS - trajectory.time_s[-1]:.3f} s ago", Outcome.OLD_HEADER_TIMESTAMP)
        return now_ns + ahead_ns

    def _execute(self, handle: ServerGoalHandle) -> FollowJointTrajectory.Result:
        end = _End()
        try:
            trajectory, tolerances, start_ns = self._check(handle.request)
            self._runtime.begin(trajectory, tolerances, start_ns, end)
        except TrajectoryError as error:
            handle.abort()
            return FollowJointTrajectory.Result(error_code=int(error.outcome), error_string=str(error))
        longest_s = (start_ns - time.monotonic_ns()) / NS + float(trajectory.time_s[-1]) + tolerances.goal_time_s + END_SLACK_S
        deadline_s = time.monotonic() + longest_s
        feedback_s = 0.0
        while not end.wait(CANCEL_CHECK_S):
            if handle.is_cancel_requested or time.monotonic() > deadline_s:
                self._runtime.cancel()
            if time.monotonic() > feedback_s:
                feedback_s = time.monotonic() + FEEDBACK_PERIOD_S
                self._feedback(handle)
        return self._result(handle, end)

    def _result(self, handle: ServerGoalHandle, end: _End) -> FollowJointTrajectory.Result:
        if handle.is_cancel_requested:
            handle.canceled()
            return FollowJointTrajectory.Result(error_code=0, error_string="cancelled; holding where it is measured")
        if end.outcome is Outcome.SUCCESSFUL and end.detail != "cancelled":
            handle.succeed()
        else:
            handle.abort()
        return FollowJointTrajectory.Result(error_code=int(end.outcome), error_string=end.detail)

    def _feedback(self, handle: ServerGoalHandle) -> None:
        step, state = self._runtime.step, self._runtime.state
        if step is None or state is None:
            return
        feedback = FollowJointTrajectory.Feedback(joint_names=list(self._interface.names))
        feedback.header.stamp = time_to_msg(state.stamp_ns)
        feedback.desired = JointTrajectoryPoint(positions=fill_doubles(step.position_rad), velocities=fill_doubles(step.velocity_rad_s))
        feedback.actual = JointTrajectoryPoint(positions=fill_doubles(state.position_rad), velocities=fill_doubles(state.velocity_rad_s))
        feedback.error = JointTrajectoryPoint(positions=fill_doubles(step.error_rad))
        handle.publish_feedback(feedback)


class _End:
    """Where the control thread leaves the outcome."""

    def __init__(self) -> None:
        self.outcome, self.detail = Outcome.INVALID_GOAL, ""
        self._event = threading.Event()

    def __call__(self, outcome: Outcome, detail: str) -> None:
        self.outcome, self.detail = outcome, detail
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """True when the outcome is there."""
        return self._event.wait(timeout_s)


def _seconds(duration: Duration) -> float:
    return duration.sec + duration.nanosec * 1e-9


def _point(message: JointTrajectoryPoint) -> Point:
    if len(message.effort):
        raise TrajectoryError("trajectory points with efforts are not supported")
    return Point(_seconds(message.time_from_start), message.positions, message.velocities, message.accelerations)


def _positions(tolerances: list[JointTolerance]) -> dict[str, float]:
    return {t.name: t.position for t in tolerances}
