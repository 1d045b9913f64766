# SPDX-License-Identifier: Apache-2.0
"""`dex calibrate camera` from live topics and from a recording: an arm that carries a board from rest to rest, a camera that sees it drawn."""
from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState

from dex_bringup.calibrate.carrier import OPTICAL_IN_LINK, Carrier
from dex_bringup.cli import main
from dex_core.clock import NS, Ticker
from dex_core.config import find_share, load_cell
from dex_core.types import Array
from dex_eval.bag_writer import BagWriter
from dex_eval.record_node import offered_qos
from dex_perception.calibrate import Board
from dex_perception.calibrate.poses import angle, distance, from_xyz_rpy, inverse, pose
from dex_perception.calibrate.synthetic import draw, example_rig, spoil
from dex_perception.camera_node import camera_info
from dex_ros import names, qos
from dex_ros.convert import image_to_msg, time_from_msg, time_to_msg
from dex_ros.testing import ros_domain

pytestmark = pytest.mark.timeout(110)
CELL = load_cell("xarm_bimanual")
BOARD_IN_FLANGE = pose((0.0, 0.0, 0.0), (-0.1, -0.07, 0.12))
STATES_HZ, STATES_A_PICTURE, STATES_A_POSTURE, STATES_A_WAY = 50.0, 4, 45, 8
PICTURES_A_POSTURE = len(range(STATES_A_WAY, STATES_A_POSTURE, STATES_A_PICTURE))
FRAME = "camera_color_optical_frame"


class Scene:
    """Left arm, board on its flange, camera before it. What it says: topic, message and time, posture after posture."""

    def __init__(self) -> None:
        self.arm, self.carrier = CELL.interface("left_arm"), Carrier(CELL, "left_arm")
        self.home = np.array(self.arm.home)
        self.lens = example_rig(Board(), on_flange=False).intrinsics
        middle = np.array([*Board().size_m, 0.0]) / 2.0
        seen = np.eye(4)
        seen[:3, 3] = np.array([0.0, 0.0, 0.5]) - middle
        self.camera = self._flange(self.home) @ BOARD_IN_FLANGE @ inverse(seen)
        scope = CELL.camera_scope("front")
        self.image, self.info = names.of_camera(names.IMAGE, scope), names.of_camera(names.CAMERA_INFO, scope)
        self.states = names.device_states("left_arm")

    def messages(self, clock_ns: Iterator[int]) -> Iterator[tuple[str, Any]]:
        """Without end; ``clock_ns`` gives the time of each joint state."""
        rng, here = np.random.default_rng(6), self.home
        for target in self._postures():
            seen = inverse(self.camera) @ self._flange(target) @ BOARD_IN_FLANGE
            picture = spoil(draw(Board(), self.lens, seen), rng)
            before, here = here, target
            for tick in range(STATES_A_POSTURE):
                stamp_ns, share = next(clock_ns), min(1.0, tick / STATES_A_WAY)
                state = JointState(name=list(self.arm.names), position=list(before + share * (target - before)))
                state.header.stamp = time_to_msg(stamp_ns)
                yield self.states, state
                if share == 1.0 and tick % STATES_A_PICTURE == 0:
                    lens = camera_info(self.lens, FRAME)
                    lens.header.stamp = state.header.stamp
                    yield self.info, lens
                    yield self.image, image_to_msg(np.repeat(picture[..., None], 3, axis=2), stamp_ns, FRAME)

    def _flange(self, q: Array) -> Array:
        return self.carrier.pose_in_world(dict(zip(self.arm.names, q, strict=True)))

    def _postures(self) -> Iterator[Array]:
        rng = np.random.default_rng(5)
        yield self.home
        while True:
            yield self.home + rng.uniform(-1.0, 1.0, len(self.home)) * (0.08, 0.08, 0.08, 0.08, 0.4, 0.4, 0.5)


class Live:
    """Says it all on topics, at its own pace, until it is closed."""

    def __init__(self, scene: Scene, context: Context) -> None:
        self._node = Node("scene", context=context)
        kinds = {scene.states: JointState, scene.info: CameraInfo, scene.image: Image}
        self._publishers = {topic: self._node.create_publisher(kind, topic, qos.SENSOR) for topic, kind in kinds.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(scene,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self, scene: Scene) -> None:
        for topic, message in scene.messages(self._ticks()):
            self._publishers[topic].publish(message)
            if self._stop.is_set():
                return

    def _ticks(self) -> Iterator[int]:
        ticker = Ticker(STATES_HZ)
        while True:
            ticker.wait()
            yield self._node.get_clock().now().nanoseconds


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(find_share("config", "cells", "xarm_bimanual.yaml"), tmp_path / "my_cell.yaml"))


def words(cell_file: Path, *more: str) -> list[str]:
    return ["calibrate", "camera", "front", "--cell", str(cell_file), "--arm", "left_arm", "--setup", "eye-to-hand", "--yes", "--json", *more]


def judge(scene: Scene, cell_file: Path, shown: Any) -> None:
    assert json.loads(shown.out)["reprojection_px"] < 0.3
    camera = load_cell(cell_file).cameras["front"]
    found = from_xyz_rpy(camera.pose.xyz_m, camera.pose.rpy_rad) @ OPTICAL_IN_LINK
    assert distance(found, scene.camera) < 1e-3 and np.degrees(angle(found, scene.camera)) < 0.1


@pytest.mark.ros
@pytest.mark.slow
def test_views_of_a_running_cell_end_in_its_file(cell_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    with ros_domain(54) as context:
        live = Live(scene, context)
        try:
            code = main(words(cell_file, "--folder", str(tmp_path / "views")))
        finally:
            live.close()
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "taken" in shown.err and "Next: " in shown.err and "Enough." in shown.err
    judge(scene, cell_file, shown)
    assert len(list((tmp_path / "views").glob("*.png"))) >= 15


def test_views_of_a_recording_end_in_the_cells_file(cell_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, began_ns = Scene(), 1_700_000_000 * NS
    writer = BagWriter(tmp_path / "bag", {}, {})
    kinds = {scene.states: "sensor_msgs/msg/JointState", scene.info: "sensor_msgs/msg/CameraInfo", scene.image: "sensor_msgs/msg/Image"}
    for topic, kind in kinds.items():
        writer.add_topic(f"/{topic}", kind, [offered_qos(qos.SENSOR)])
    pictures = 0
    for topic, message in scene.messages(itertools.count(began_ns, round(NS / STATES_HZ))):
        stamp_ns = time_from_msg(message.header.stamp)
        writer.write(f"/{topic}", serialize_message(message), stamp_ns, stamp_ns)
        pictures += topic == scene.image
        if pictures == 20 * PICTURES_A_POSTURE:
            break
    writer.close()
    code = main(words(cell_file, "--from", str(tmp_path / "bag")))
    shown = capsys.readouterr()
    assert code == 0, shown.err
    judge(scene, cell_file, shown)
