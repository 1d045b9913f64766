# SPDX-License-Identifier: Apache-2.0
"""F35 and the recorder's promises: latched topics, offered QoS, readable after SIGKILL, a refusing disk harms nobody."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from dex_core.config import load_cell
from dex_eval.bag import Recording
from dex_msgs.msg import Heartbeat, JointCommand, SafetyState
from dex_ros import names, qos
from dex_ros.convert import image_to_msg
from dex_ros.testing import ros_domain, wait_for

pytestmark = [pytest.mark.ros, pytest.mark.timeout(90)]
DOMAIN = 58


class Robot:
    """Publishes like a cell, and hears what the recorder says of itself."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = rclpy.create_node("robot", context=context)
        self._command = self.node.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        self._image = self.node.create_publisher(Image, names.IMAGE, qos.SENSOR)
        self._safety = self.node.create_publisher(SafetyState, names.SAFETY_STATE, qos.LATCHED)
        self._safety.publish(SafetyState(reason="before the recorder came"))
        self.beat = Heartbeat()
        self.recorder: subprocess.Popen | None = None
        self.node.create_subscription(Heartbeat, names.HEARTBEATS, self._heard, qos.HEARTBEAT)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._pixels = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        self.sent = 0

    def _heard(self, beat: Heartbeat) -> None:
        if self.recorder is not None and beat.pid == self.recorder.pid:
            self.beat = beat

    def run(self, done: Callable[[], bool], who: str, timeout_s: float = 20.0) -> None:
        """Publishes commands and pictures until ``done()``."""

        def step() -> bool:
            self._command.publish(JointCommand(sequence=self.sent, names=["a"], positions=[0.5]))
            if self.sent % 5 == 0:
                self._image.publish(image_to_msg(self._pixels, time.time_ns(), "camera"))
            self.sent += 1
            self._executor.spin_once(timeout_sec=0.002)
            return done()

        wait_for(step, who, timeout_s, 0.008)

    def close(self) -> None:
        """Ends it."""
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def robot() -> Iterator[Robot]:
    with ros_domain(DOMAIN) as context:
        made = Robot(context)
        yield made
        made.close()


@pytest.fixture
def record(robot: Robot, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    load_cell("xarm_bimanual").save(tmp_path / "cell.yaml")

    def start(**options: Any) -> subprocess.Popen:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
        command = [
            sys.executable,
            "-m",
            "dex_eval.record_node",
            "--ros-args",
            "-p",
            f"cell_file:='{tmp_path / 'cell.yaml'}'",
            "-p",
            f"folder:='{tmp_path / 'run'}'",
        ]
        started.append(subprocess.Popen(command, env={**environment, **options.pop("env", {})}, **options))
        robot.recorder = started[-1]
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def ran_for(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def test_a_whole_recording_opens_elsewhere(robot: Robot, record: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    process = record()
    robot.run(lambda: robot.beat.state == 3, "recorder")
    robot.run(ran_for(2.0), "time")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    recording = Recording(tmp_path / "run")
    assert not recording.truncated and recording.counts["/safety_state"] == 1 and recording.counts["/camera/color/image_raw"] > 5
    assert recording.attachments["cell.yaml"] == (tmp_path / "cell.yaml").read_bytes()
    assert len(recording.metadata["dex"]["sha256 cell.yaml"]) == 64
    assert recording.offered_qos["/safety_state"][0]["durability"] == "transient_local"
    assert recording.offered_qos["/camera/color/image_raw"][0]["reliability"] == "best_effort"
    with AnyReader([tmp_path / "run" / "bag"]) as reader:
        sequences = [reader.deserialize(raw, c.msgtype).sequence for c, _, raw in reader.messages() if c.topic == "/joint_command"]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "no command is missing from the first one on"


def test_readable_after_sigkill_up_to_the_last_second(robot: Robot, record: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    process = record()
    robot.run(lambda: robot.beat.state == 3, "recorder")
    robot.run(ran_for(3.0), "time")
    killed_ns = time.time_ns()
    process.kill()
    process.wait()
    recording = Recording(tmp_path / "run")
    assert recording.truncated and (killed_ns - recording.last_ns) * 1e-9 < 1.0


def test_a_refusing_disk_is_said_and_the_node_lives_on(robot: Robot, record: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    no_segment = {
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "FASTRTPS_DEFAULT_PROFILES_FILE": "",
        "FASTDDS_DEFAULT_PROFILES_FILE": "",
    }  # a segment is a file, too
    process = record(
        env=no_segment, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, 12 << 20)), stderr=subprocess.PIPE, text=True
    )
    robot.run(lambda: robot.beat.reason == "recorder_failed", "recorder")
    assert process.poll() is None and robot.beat.state == 3
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert "bag_0.mcap stopped after" in said and "the robot goes on" in said
    assert Recording(tmp_path / "run").counts["/joint_command"] > 0


def test_a_second_recorder_never_overwrites(robot: Robot, record: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    (tmp_path / "run" / "bag").mkdir(parents=True)
    (tmp_path / "run" / "bag" / "bag_0.mcap").write_bytes(b"precious")
    process = record()
    robot.run(lambda: robot.beat.state == 3, "recorder")
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert (tmp_path / "run" / "bag" / "bag_0.mcap").read_bytes() == b"precious" and (tmp_path / "run" / "bag-2" / "bag-2_0.mcap").exists()
