# SPDX-License-Identifier: Apache-2.0
"""The ros2_control driver on the real joint_trajectory_controller with a mocked robot, where a ROS install has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from dex_core.config import load_cell
from dex_ros.ros2_control import Ros2ControlDriver

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
DOMAIN = 59
INTERFACE = load_cell("xarm_bimanual").interface("left_arm")
JOINTS = INTERFACE.robot.actuated
NEEDED = ("controller_manager", "joint_trajectory_controller", "joint_state_broadcaster", "hardware_interface")


def missing() -> str:
    """Why the real controller cannot run here; empty when it can."""
    if shutil.which("ros2") is None:
        return "no ROS install here (ros2 is not on the path): ros2_controllers is not on PyPI"
    shares = [Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    absent = [package for package in NEEDED if not any((share / package).is_dir() for share in shares)]
    return f"this ROS install lacks {absent}: apt install ros-$ROS_DISTRO-ros2-control ros-$ROS_DISTRO-ros2-controllers" if absent else ""


def description() -> str:
    """A URDF of seven joints in a row, at home, with ros2_control's mocked hardware behind them."""
    links = '<link name="base"/>' + "".join(f'<link name="l{i}"/>' for i in range(len(JOINTS)))
    chain = "".join(
        f'<joint name="{joint}" type="revolute"><parent link="{f"l{i - 1}" if i else "base"}"/><child link="l{i}"/><axis xyz="0 0 1"/>'
        f'<limit lower="{limit.lower_rad}" upper="{limit.upper_rad}" velocity="3" effort="50"/></joint>'
        for i, (joint, limit) in enumerate(zip(JOINTS, INTERFACE.limits, strict=True))
    )
    mocked = "".join(
        f'<joint name="{joint}"><command_interface name="position"/><state_interface name="position"><param name="initial_value">{home}</param>'
        '</state_interface><state_interface name="velocity"/></joint>'
        for joint, home in zip(JOINTS, INTERFACE.home, strict=True)
    )
    system = f'<ros2_control name="mock" type="system"><hardware><plugin>mock_components/GenericSystem</plugin></hardware>{mocked}</ros2_control>'
    return f'<robot name="mocked">{links}{chain}{system}</robot>'


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[str]:
    """The full name of a real, active controller."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    parameters = {
        "controller_manager": {"ros__parameters": {
            "update_rate": 100, "arm_controller": {"type": "joint_trajectory_controller/JointTrajectoryController"},
            "joint_state_broadcaster": {"type": "joint_state_broadcaster/JointStateBroadcaster"},
        }},
        "arm_controller": {"ros__parameters": {
            "joints": list(JOINTS), "command_interfaces": ["position"], "state_interfaces": ["position", "velocity"],
        }},
    }
    controllers, robot = tmp_path / "controllers.yaml", tmp_path / "robot.yaml"
    controllers.write_text(yaml.safe_dump(parameters), encoding="utf-8")
    robot.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"robot_description": description()}}}), encoding="utf-8")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
    commands = [
        ["ros2", "run", "controller_manager", "ros2_control_node", "--ros-args", "--params-file", str(controllers), "--params-file", str(robot)],
        ["ros2", "topic", "pub", "--qos-durability", "transient_local", "/robot_description", "std_msgs/msg/String",
         yaml.safe_dump({"data": description()})],
    ]
    started = [subprocess.Popen(command, env=environment, start_new_session=True) for command in commands]
    try:
        spawn = ["ros2", "run", "controller_manager", "spawner", "joint_state_broadcaster", "arm_controller", "--param-file", str(controllers)]
        subprocess.run(spawn, env=environment, check=True, timeout=60.0)
        yield "/arm_controller"
    finally:
        for process in started:
            os.killpg(process.pid, 15)
        for process in started:
            process.wait(timeout=10.0)


def test_a_real_controller_follows_and_holds(controller: str, tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(f"controller: {controller}\ndomain_id: {DOMAIN}\nmax_state_age_s: 0.25\n", encoding="utf-8")
    device = Ros2ControlDriver(INTERFACE, str(file))
    try:
        device.connect()
        device.enable()
        start = np.array(device.read().position_rad)
        for part in np.linspace(0.0, 1.0, 50):
            device.command(start + np.eye(len(start))[0] * 0.2 * part)
            time.sleep(0.01)
        deadline = time.monotonic() + 3.0
        while abs(device.read().position_rad[0] - start[0] - 0.2) > 0.01:
            assert time.monotonic() < deadline, device.read().position_rad
            time.sleep(0.02)
        device.disable()
    finally:
        device.disconnect()
