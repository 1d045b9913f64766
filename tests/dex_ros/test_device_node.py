# SPDX-License-Identifier: Apache-2.0
"""The driver node as a process, on the vendor's SDK and the simulated controller, with a fake gate in front of it."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectoryPoint

from dex_core.clock import Ticker
from dex_core.config import CellConfig, load_cell
from dex_msgs.msg import Heartbeat, JointCommand, MotorCurrents
from dex_ros import names, qos
from dex_ros.convert import fill_doubles, time_from_msg
from dex_ros.node import ACTIVE, INACTIVE
from dex_ros.polling import PolledSubscription
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
DOMAIN = 54
ADDRESS = "127.0.54.40:25440"
HOME = (0.0, -0.6, 0.0, 0.9, 0.0, 1.5, 0.0)
ABORTED, CANCELED, SUCCEEDED = 6, 5, 4
OTHERS = tuple(f"right_joint{i}" for i in range(1, 8))


class FakeGate:
    """Streams joint_command at 100 Hz from a thread, as the gate does."""

    def __init__(self, node: Node, joints: tuple[str, ...]) -> None:
        self.joints = joints
        self.mode = JointCommand.IDLE
        self.position = np.array(HOME)
        self.edit: Callable[[JointCommand], None] = lambda _message: None
        self.paused = False
        self._publisher = node.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        self._stop = threading.Event()
        self._sequence = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        ticker = Ticker(100.0)
        while not self._stop.is_set():
            ticker.wait()
            if self.paused:
                continue
            self._sequence += 1
            message = JointCommand(sequence=self._sequence, mode=self.mode)
            if self.mode in (JointCommand.TRACK, JointCommand.HOLD):
                message.names = [*OTHERS, *reversed(self.joints)]  # another order on purpose: joints go by name
                message.positions = fill_doubles([0.0] * 7 + list(self.position[::-1]))
            self.edit(message)
            self._publisher.publish(message)


class Bench:
    """Simulated controller, driver process, fake gate, and what the driver publishes."""

    def __init__(self, node: Node, sim: XArmController, process: subprocess.Popen[bytes], cell: CellConfig, cell_file: Path) -> None:
        self.node, self.sim, self.process, self.cell_file = node, sim, process, cell_file
        self.joints = cell.interface("left_arm").names
        self.gate = FakeGate(node, self.joints)
        self.diagnostics: dict[str, tuple[bytes, str]] = {}
        self.values: dict[str, dict[str, str]] = {}
        node.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, qos.REPORT)
        self._states = PolledSubscription(node, JointState, names.device_states("left_arm"), qos.SENSOR)
        self._beats = PolledSubscription(node, Heartbeat, names.HEARTBEATS, qos.HEARTBEAT)
        self._beat: Heartbeat | None = None
        self.action = ActionClient(node, FollowJointTrajectory, names.device_trajectory("left_arm"))
        self.recover = node.create_client(Trigger, "left/arm/recover")

    def state(self) -> JointState | None:
        return self._states.take_newest()

    def next_state(self) -> JointState:
        self._states.take_newest()  # may be old
        return wait_for(self.state, "joint_states of the driver")

    def position(self) -> np.ndarray:
        return np.array(self.next_state().position)

    def beat(self) -> Heartbeat | None:
        for beat in self._beats.take_all():
            if beat.node == "left_arm":
                self._beat = beat
        return self._beat

    def wait_lifecycle(self, state: int, reason: str | None = None, timeout_s: float = 10.0) -> None:
        def there() -> bool:
            beat = self.beat()
            return beat is not None and beat.state == state and (reason is None or beat.reason == reason)

        wait_for(there, f"driver in state {state} with reason {reason}", timeout_s)

    def said(self, words: str) -> bool:
        return any(words in message for _level, message in list(self.diagnostics.values()))

    def track(self, joint: int, distance: float, seconds: float = 0.3) -> np.ndarray:
        """Streams a joint smoothly to ``distance`` from where the gate was last."""
        start = self.gate.position.copy()
        self.gate.mode = JointCommand.TRACK
        begin = time.monotonic()
        while (part := min((time.monotonic() - begin) / seconds, 1.0)) < 1.0:
            target = start.copy()
            target[joint] += distance * part
            self.gate.position = target
            time.sleep(0.005)
        target = start.copy()
        target[joint] += distance
        self.gate.position = target
        return target

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "left_arm" in status.name:
                self.diagnostics[status.name] = (status.level, status.message)
                self.values[status.name.lstrip("/")] = {pair.key: pair.value for pair in status.values}


def start_driver(cell_file: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "dex_arms.arm_node",
        "--ros-args",
        "-r",
        "__node:=left_arm",
        "-p",
        f"cell_file:={cell_file}",
        "-p",
        "interface:=left_arm",
    ]
    return subprocess.Popen([*command, *arguments], env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)})


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    cell = load_cell("xarm_bimanual")
    left = cell.interface("left_arm")
    left = dataclasses.replace(left, address=dataclasses.replace(left.address, simulated=ADDRESS))
    return dataclasses.replace(cell, interfaces={**cell.interfaces, "left_arm": left})


@pytest.fixture(scope="module")
def world(cell: CellConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    cell_file = tmp_path_factory.mktemp("cell") / "cell.yaml"
    cell.save(cell_file)
    plant = KinematicPlant(cell.interface("left_arm").names, HOME)
    with ros_domain(DOMAIN) as context, XArmController(plant, ADDRESS) as sim:
        node = Node("bench", context=context)
        process = start_driver(cell_file)
        bench = Bench(node, sim, process, cell, cell_file)
        with spinning(node):
            yield bench
            bench.gate.stop()
        bench.process.kill()
        bench.process.wait()
        node.destroy_node()


@pytest.fixture
def bench(world: Bench) -> Bench:
    """The module's bench brought to a known start: driver active, gate idle, arm where it is."""
    if world.gate.paused:
        world.diagnostics.clear()
    world.gate.paused, world.gate.edit = False, lambda _message: None
    world.gate.mode = JointCommand.IDLE
    world.sim.set_silent(False)
    world.sim.listen_again()
    world.sim.controller.release_emergency_stop()
    if world.process.poll() is not None:
        world.process = start_driver(world.cell_file)
    world.beat()
    if world._beat is not None and world._beat.reason == "device_fault":
        world.recover.call_async(Trigger.Request())
    world.wait_lifecycle(ACTIVE, timeout_s=25.0)
    wait_for(lambda: any(m == "following" for n, (_l, m) in world.diagnostics.items() if n.endswith("command")), "armed driver")
    world.gate.position = world.position()
    return world


def still(bench: Bench, seconds: float = 0.4) -> None:
    before = bench.position()
    time.sleep(seconds)
    assert np.abs(bench.position() - before).max() < 0.003


def test_states_come_at_the_rate_of_the_cell_with_sensor_stamps(bench: Bench) -> None:
    stamps = []
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        message = bench.state()
        if message is not None:
            stamps.append(time_from_msg(message.header.stamp))
            assert tuple(message.name) == bench.joints and len(message.velocity) == 7
        time.sleep(0.001)
    assert 0.7 <= len(stamps) / 1.5 / load_cell("xarm_bimanual").interface("left_arm").rate_hz <= 1.1
    assert np.all(np.diff(stamps) > 0) and abs(stamps[-1] - time.time_ns()) < 0.2e9


def test_diagnostics_and_currents_say_how_the_device_is(bench: Bench) -> None:
    currents = PolledSubscription(bench.node, MotorCurrents, names.motor_currents("left_arm"), qos.SENSOR)
    message = wait_for(currents.take_newest, "motor currents")
    assert tuple(message.names) == bench.joints and message.header.stamp.sec > 0
    values = wait_for(lambda: bench.values.get("left_arm: device"), "values of the device")
    told = {"rate_hz", "age_s", "temperature_c", "current_a", "error_code", "limit_violations", "code", "left_joint7.temperature_c"}
    assert told <= set(values) and float(values["rate_hz"]) > 0.0 and 0.0 <= float(values["age_s"]) < 0.5 and values["temperature_c"] == "34"


def test_follows_a_stream_of_the_whole_cell_by_name(bench: Bench) -> None:
    goal = bench.track(0, 0.1)
    wait_for(lambda: np.abs(bench.position() - goal).max() < 0.01, "the arm to follow")


def test_silence_holds_and_only_a_new_start_resumes(bench: Bench) -> None:
    bench.track(0, 0.1)
    received = bench.sim.servo_statistics.received
    bench.gate.paused = True
    silent_at = time.monotonic()
    wait_for(lambda: bench.said("no joint_command for"), "diagnostics of the silence")
    assert time.monotonic() - silent_at < 0.5
    assert bench.sim.servo_statistics.received <= received + 60
    still(bench)
    bench.gate.paused = False  # TRACK goes on as if nothing had happened
    bench.track(0, 0.1)
    still(bench, 0.2)
    assert bench.said("no joint_command for")
    bench.gate.position, bench.gate.mode = bench.position(), JointCommand.HOLD
    wait_for(lambda: bench.said("following"), "armed again")
    goal = bench.track(0, -0.1)
    wait_for(lambda: np.abs(bench.position() - goal).max() < 0.01, "the arm to follow again")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_command_holds(bench: Bench, bad: float) -> None:
    bench.track(0, 0.05)

    def poison(message: JointCommand) -> None:
        if message.mode == JointCommand.TRACK:
            message.positions[-1] = bad

    bench.gate.edit = poison
    wait_for(lambda: bench.said("every number must be finite"), "diagnostics of the bad number")
    bench.gate.edit = lambda _message: None
    still(bench)


def test_missing_joints_hold_and_are_never_zero(bench: Bench) -> None:
    bench.track(1, 0.05)

    def drop(message: JointCommand) -> None:
        if message.mode == JointCommand.TRACK:
            message.names, message.positions = message.names[:-1], message.positions[:-1]

    bench.gate.edit = drop
    wait_for(lambda: bench.said("missing ['left_joint1']"), "diagnostics of the missing joint")
    still(bench)


def test_a_jump_is_refused_at_the_second_wall(bench: Bench) -> None:
    bench.track(0, 0.05)
    bench.gate.position = bench.gate.position + np.array([0.6, 0, 0, 0, 0, 0, 0])
    wait_for(lambda: bench.said("from measured; at most"), "diagnostics of the limit")
    still(bench)


def test_two_publishers_are_refused_until_one_is_gone(bench: Bench) -> None:
    bench.track(0, 0.05)
    second = bench.node.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
    wait_for(lambda: bench.said("2 publishers of"), "diagnostics of the duplicate")
    still(bench, 0.3)
    bench.node.destroy_publisher(second)
    time.sleep(0.5)
    still(bench, 0.2)  # TRACK alone does not resume
    bench.gate.mode = JointCommand.IDLE
    wait_for(lambda: bench.said("following"), "armed again")


def test_stop_of_the_gate_holds_until_idle(bench: Bench) -> None:
    bench.track(0, 0.05)
    bench.gate.mode = JointCommand.STOP
    wait_for(lambda: bench.said("the gate is stopped"), "diagnostics of the stop")
    bench.gate.mode = JointCommand.TRACK
    bench.gate.position = bench.gate.position + np.array([0.1, 0, 0, 0, 0, 0, 0])
    still(bench)


def test_collision_ends_the_activity_and_a_gate_reset_recovers(bench: Bench) -> None:
    bench.track(0, 0.05)
    bench.sim.controller.inject_error(31)
    bench.wait_lifecycle(INACTIVE, "device_fault", 3.0)
    wait_for(lambda: bench.said("collision"), "diagnostics in words")
    bench.gate.mode = JointCommand.STOP
    time.sleep(0.2)
    bench.gate.mode = JointCommand.IDLE
    bench.wait_lifecycle(ACTIVE)
    assert bench.sim.controller.error == 0
    still(bench)


def test_emergency_stop_is_latched_and_its_release_moves_nothing(bench: Bench) -> None:
    bench.track(0, 0.05)
    before = bench.sim.controller._plant.read().position_rad
    bench.sim.controller.press_emergency_stop()
    bench.wait_lifecycle(INACTIVE, "device_fault", 3.0)
    wait_for(lambda: bench.said("emergency stop"), "diagnostics in words")
    wait_for(bench.recover.service_is_ready, "recover service")
    refused = bench.recover.call_async(Trigger.Request())
    wait_for(refused.done, "answer of recover")
    assert not refused.result().success
    bench.sim.controller.release_emergency_stop()
    time.sleep(1.5)
    assert bench.beat().state == INACTIVE and not bench.sim.controller.ready  # nobody asked
    accepted = bench.recover.call_async(Trigger.Request())
    wait_for(accepted.done, "answer of recover")
    assert accepted.result().success
    assert np.abs(bench.sim.controller._plant.read().position_rad - before).max() < 0.02


def test_a_cut_cable_is_reported_and_the_link_comes_back_without_motion(bench: Bench) -> None:
    bench.track(0, 0.1)
    bench.sim.stop_listening()
    bench.sim.drop_connections()
    bench.wait_lifecycle(INACTIVE, "connection_lost", 3.0)
    time.sleep(1.5)
    bench.sim.listen_again()
    bench.wait_lifecycle(ACTIVE, timeout_s=15.0)
    bench.gate.position = bench.gate.position + np.array([0.1, 0, 0, 0, 0, 0, 0])
    still(bench)  # the gate still streams TRACK


def test_a_silent_controller_is_a_lost_link(bench: Bench) -> None:
    bench.track(0, 0.05)
    bench.sim.set_silent(True)
    bench.wait_lifecycle(INACTIVE, "connection_lost", 3.0)


def trajectory(bench: Bench, offsets: list[tuple[float, float]], joint: int = 0) -> FollowJointTrajectory.Goal:
    """A goal that moves one joint: (time, offset from now) points, in another joint order than the device's."""
    start = bench.position()
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.joint_names = list(reversed(bench.joints))
    for seconds, offset in offsets:
        position = start.copy()
        position[joint] += offset
        stamp = Duration(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
        goal.trajectory.points.append(JointTrajectoryPoint(positions=fill_doubles(position[::-1]), time_from_start=stamp))
    return goal


def send(bench: Bench, goal: FollowJointTrajectory.Goal, timeout_s: float = 10.0):  # noqa: ANN201
    assert bench.action.wait_for_server(timeout_sec=5.0)
    future = bench.action.send_goal_async(goal)
    wait_for(future.done, "answer to the goal")
    handle = future.result()
    if not handle.accepted:
        return None, None
    result = handle.get_result_async()
    return handle, result


def finish(result, timeout_s: float = 10.0):  # noqa: ANN001, ANN201
    wait_for(result.done, "result of the trajectory", timeout_s)
    return result.result().status, result.result().result


def test_trajectory_reaches_its_goal(bench: Bench) -> None:
    start = bench.position()
    _handle, result = send(bench, trajectory(bench, [(0.4, 0.1), (0.8, 0.2)]))
    status, answer = finish(result)
    assert status == SUCCEEDED and answer.error_code == 0, answer.error_string
    assert abs(bench.position()[0] - start[0] - 0.2) < 0.03


def test_trajectory_cancel_holds(bench: Bench) -> None:
    start = bench.position()
    handle, result = send(bench, trajectory(bench, [(3.0, 0.6)]))
    wait_for(lambda: bench.position()[0] - start[0] > 0.05, "motion")
    handle.cancel_goal_async()
    status, _answer = finish(result)
    assert status == CANCELED
    still(bench)
    assert bench.position()[0] - start[0] < 0.5


def test_a_new_trajectory_replaces_the_old_one(bench: Bench) -> None:
    start = bench.position()
    _first, first_result = send(bench, trajectory(bench, [(3.0, 0.4)]))
    wait_for(lambda: bench.position()[0] - start[0] > 0.03, "motion")
    _second, second_result = send(bench, trajectory(bench, [(0.6, 0.0)]))
    status, answer = finish(first_result)
    assert status == ABORTED and "replaced" in answer.error_string
    assert finish(second_result)[0] == SUCCEEDED


def test_trajectory_leaves_its_path_tolerance(bench: Bench) -> None:
    goal = trajectory(bench, [(0.5, 0.5)])
    goal.path_tolerance = [JointTolerance(name=bench.joints[0], position=0.005)]
    _handle, result = send(bench, goal)
    status, answer = finish(result)
    assert status == ABORTED and answer.error_code == FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
    still(bench)


@pytest.mark.parametrize("spoil", ["names", "nan", "times", "range", "speed", "empty", "moving"])
def test_bad_trajectories_are_refused(bench: Bench, spoil: str) -> None:
    goal = trajectory(bench, [(0.5, 0.1), (1.0, 0.2)])
    if spoil == "names":
        goal.trajectory.joint_names[0] = "left_joint8"
    elif spoil == "nan":
        goal.trajectory.points[0].positions[2] = math.nan
    elif spoil == "times":
        goal.trajectory.points.reverse()
    elif spoil == "range":
        goal.trajectory.points[1].positions[5] = -3.0  # left_joint2
    elif spoil == "speed":
        goal.trajectory.points[1].positions[6] += 3.0
    elif spoil == "empty":
        goal.trajectory.points.clear()
    else:
        goal.trajectory.points[1].velocities = fill_doubles([0.1] * 7)
        goal.trajectory.points[0].velocities = fill_doubles([0.0] * 7)
    assert send(bench, goal)[0] is None
    still(bench, 0.2)


def test_trajectories_are_refused_while_the_gate_moves_the_arm_or_is_silent(bench: Bench) -> None:
    bench.track(0, 0.02)
    assert send(bench, trajectory(bench, [(0.5, 0.1)]))[0] is None
    bench.gate.mode = JointCommand.IDLE
    wait_for(lambda: send(bench, trajectory(bench, [(0.5, 0.0)]))[0], "acceptance while idle")
    bench.gate.paused = True
    time.sleep(0.7)
    assert send(bench, trajectory(bench, [(0.5, 0.1)]))[0] is None


def test_the_gate_ends_a_running_trajectory(bench: Bench) -> None:
    _handle, result = send(bench, trajectory(bench, [(3.0, 0.3)]))
    time.sleep(0.2)
    bench.gate.mode = JointCommand.STOP
    status, answer = finish(result)
    assert status == ABORTED and "STOP" in answer.error_string
    still(bench)


def test_kill_in_mid_motion_stops_at_the_last_target_and_a_restart_moves_nothing(bench: Bench) -> None:
    bench.track(0, 0.1)
    bench.process.kill()
    bench.process.wait()
    time.sleep(0.4)
    held = bench.sim.controller._plant.read().position_rad
    bench.process = start_driver(bench.cell_file)
    bench.beat()
    bench._beat = None
    bench.wait_lifecycle(ACTIVE, timeout_s=20.0)
    bench.gate.position = bench.gate.position + np.array([0.1, 0, 0, 0, 0, 0, 0])  # the gate still streams TRACK
    still(bench)
    assert np.abs(bench.sim.controller._plant.read().position_rad - held).max() < 1e-3


def test_sigterm_holds_and_disables(bench: Bench) -> None:
    bench.track(0, 0.05)
    bench.process.send_signal(signal.SIGTERM)
    assert bench.process.wait(timeout=5.0) == 0
    assert bench.sim.controller.state == 4 and bench.sim.controller.error == 0
