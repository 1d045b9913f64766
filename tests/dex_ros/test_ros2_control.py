# SPDX-License-Identifier: Apache-2.0
"""The ros2_control driver against a peer that keeps joint_trajectory_controller's rules, on a ROS graph of their own."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dex_core.config import load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.registry import load_driver
from dex_core.errors import ConnectionLostError, DeviceError, LimitError
from dex_ros import qos
from dex_ros.ros2_control import Ros2ControlDriver
from dex_ros.testing import ros_domain, spinning, wait_for
from dex_sim.plant import KinematicPlant

_spec = importlib.util.spec_from_file_location("jtc_peer", Path(__file__).with_name("jtc_peer.py"))
_module = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(_module)  # type: ignore[union-attr]
JtcPeer = _module.JtcPeer

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]
DOMAIN = 58
INTERFACE = load_cell("xarm_bimanual").interface("left_arm")
THERE = tuple(f"ur_{name}" for name in INTERFACE.robot.actuated)
CONTROLLER = "/left/arm_controller"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with ros_domain(DOMAIN) as context:
        node = Node("robot", context=context)
        with spinning(node):
            yield node


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Every test has a controller of its own: a graph forgets slowly."""
    controller = f"/{request.node.name.replace('[', '_').replace(']', '').replace('-', '_')}{CONTROLLER}"
    file = tmp_path / "arm.yaml"
    file.write_text(f"controller: {controller}\nprefix: ur_\ndomain_id: {DOMAIN}\nmax_state_age_s: 0.25\nahead_s: 0.03\n", encoding="utf-8")
    return str(file)


@pytest.fixture
def peer(node: Node, settings: str) -> Iterator[JtcPeer]:
    controller = Path(settings).read_text(encoding="utf-8").split()[1]
    peer = JtcPeer(node, controller, THERE, KinematicPlant(INTERFACE.names, INTERFACE.home))
    yield peer
    peer.close()


@pytest.fixture
def device(peer: JtcPeer, settings: str) -> Iterator[Ros2ControlDriver]:
    driver = Ros2ControlDriver(INTERFACE, settings)
    yield driver
    driver.disconnect()


@pytest.fixture
def ready(device: Ros2ControlDriver) -> Ros2ControlDriver:
    device.connect()
    device.enable()
    return device


class TestContract(JointDeviceContract):
    @pytest.fixture
    def device(self, device: Ros2ControlDriver) -> Ros2ControlDriver:
        return device


def stream(device: Ros2ControlDriver, distance_rad: float, steps: int = 40) -> np.ndarray:
    """Moves the first joint smoothly from measured; returns the last target."""
    start = np.array(device.read().position_rad)
    for part in np.linspace(0.0, 1.0, steps):
        target = start + np.eye(len(start))[0] * distance_rad * part
        device.command(target)
        time.sleep(0.01)
    return target


def test_it_is_found_by_name_for_arms_and_hands() -> None:
    assert load_driver("arm", "ros2_control") is Ros2ControlDriver and load_driver("hand", "ros2_control") is Ros2ControlDriver


def test_one_point_ahead_goes_out_by_the_robots_own_names(ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    here = ready.read().position_rad
    ready.command(here)
    message = wait_for(lambda: peer.received[-1] if peer.received else None, "a trajectory")
    assert tuple(message.joint_names) == THERE and len(message.points) == 1
    point = message.points[0]
    assert np.allclose(point.positions, here) and not len(point.velocities)
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 30_000_000)
    assert message.header.stamp.sec == message.header.stamp.nanosec == 0  # now


@pytest.mark.parametrize("from_desired", [True, False])
def test_a_stream_is_followed_however_the_controller_interpolates(node: Node, ready: Ros2ControlDriver, peer: JtcPeer, from_desired: bool) -> None:
    peer.from_desired = from_desired
    goal = stream(ready, 0.3)
    wait_for(lambda: ready.command(goal) is not None and np.abs(ready.read().position_rad - goal).max() < 0.01, "the arm", poll_s=0.01)
    assert not peer.refused and ready.health().ok


def test_the_first_target_must_be_near(ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    with pytest.raises(LimitError, match="left_joint1 is 0.400 rad from measured"):
        ready.command(ready.read().position_rad + np.eye(7)[0] * 0.4)
    assert not peer.received


def test_silence_of_the_joint_states_is_a_lost_link_and_comes_back(ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    peer.silent = True
    with pytest.raises(ConnectionLostError, match="old; at most 250 ms"):
        wait_for(lambda: ready.read() is None, "the error")
    assert ready.health().code == "connection_lost"
    with pytest.raises(DeviceError):
        ready.command(INTERFACE.home)
    peer.silent = False
    ready.connect()
    ready.enable()
    assert not peer.received  # nothing moved by itself


def test_a_controller_that_is_not_active_is_refused(device: Ros2ControlDriver, peer: JtcPeer) -> None:
    peer.active = False
    device.connect()
    with pytest.raises(DeviceError, match="not active.*--activate arm_controller") as caught:
        device.enable()
    assert caught.value.code == "not_enabled" and not device.health().ok


def test_a_controller_that_is_switched_off_ends_it_at_once(ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    stream(ready, 0.05, 10)
    peer.active = False
    with pytest.raises(DeviceError, match="not active"):
        wait_for(lambda: ready.read() is None, "the error", poll_s=0.02)
    peer.active = True
    with pytest.raises(DeviceError, match="not enabled"):  # by itself nothing goes on
        ready.command(INTERFACE.home)
    ready.recover()
    ready.command(ready.read().position_rad)


def test_a_controller_of_other_joints_is_the_wrong_one(node: Node, device: Ros2ControlDriver, peer: JtcPeer) -> None:
    peer.names = (*THERE[:-1], "ur_gripper")
    device.connect_timeout_s = 0.5
    with pytest.raises(DeviceError, match="missing .'ur_joint7'|moves"):
        device.connect()
        device.enable()


def test_nobody_there_is_named(settings: str) -> None:
    device = Ros2ControlDriver(INTERFACE, settings)
    device.connect_timeout_s = 0.2
    with pytest.raises(ConnectionLostError, match="nobody listens to its joint_trajectory"):
        device.connect()
    assert device.health().code == "connection_lost"


def test_trajectories_that_are_dropped_without_a_word_are_noticed(ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    peer.refuse = True
    with pytest.raises(DeviceError, match="refuses the trajectories") as caught:
        stream(ready, 0.2, 100)
    assert caught.value.code == "not_followed" and peer.refused


def test_a_second_commander_is_refused(node: Node, ready: Ros2ControlDriver, peer: JtcPeer) -> None:
    stream(ready, 0.02, 5)
    rival = node.create_publisher(JointTrajectory, f"{peer.controller}/joint_trajectory", qos.COMMAND)
    try:
        with pytest.raises(DeviceError, match="1 others publish trajectories"):
            wait_for(lambda: ready.command(ready.read().position_rad) is None, "the error", poll_s=0.02)
    finally:
        node.destroy_publisher(rival)


def test_two_sources_of_joint_states_need_a_word(node: Node, device: Ros2ControlDriver, peer: JtcPeer) -> None:
    second = node.create_publisher(JointState, peer.controller.rpartition("/")[0] + "/joint_states", qos.SENSOR)
    try:
        with pytest.raises(DeviceError, match="2 publish on .*shared_states: true"):
            device.connect()
    finally:
        node.destroy_publisher(second)


def test_the_robots_clock_must_be_ours(device: Ros2ControlDriver, peer: JtcPeer) -> None:
    peer.stamp_offset_s = -2.0
    with pytest.raises(DeviceError, match="behind this machine's clock"):
        device.connect()
