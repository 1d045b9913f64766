# SPDX-License-Identifier: Apache-2.0
"""`dex calibrate camera` on live topics: an arm that carries a board and rests here and there, a camera that sees it drawn."""
from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from dex_bringup.calibrate.carrier import OPTICAL_IN_LINK, Carrier
from dex_bringup.cli import main
from dex_core.clock import Ticker
from dex_core.config import find_share, load_cell
from dex_core.types import Array
from dex_perception.calibrate import Board
from dex_perception.calibrate.poses import angle, distance, from_xyz_rpy, inverse, pose
from dex_perception.calibrate.synthetic import draw, example_rig, spoil
from dex_perception.camera_node import camera_info
from dex_ros import names, qos
from dex_ros.convert import image_to_msg
from dex_ros.testing import ros_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(110)]
CELL = load_cell("xarm_bimanual")
BOARD_IN_FLANGE = pose((0.0, 0.0, 0.0), (-0.1, -0.07, 0.12))
STATES_HZ, STATES_A_PICTURE, STATES_A_POSTURE, STATES_A_WAY = 50.0, 4, 45, 8


class Scene(Node):
    """Left arm, board on its flange, camera before it; goes from posture to posture until it is stopped."""

    def __init__(self, context: object) -> None:
        super().__init__("scene", context=context)
        self.arm, self.carrier = CELL.interface("left_arm"), Carrier(CELL, "left_arm")
        self.home = np.array(self.arm.home)
        self.lens = example_rig(Board(), on_flange=False).intrinsics
        middle = np.array([*Board().size_m, 0.0]) / 2.0
        seen = np.eye(4)
        seen[:3, 3] = np.array([0.0, 0.0, 0.5]) - middle
        self.camera = self.flange(self.home) @ BOARD_IN_FLANGE @ inverse(seen)
        scope = CELL.camera_scope("front")
        self._pictures = self.create_publisher(Image, names.of_camera(names.IMAGE, scope), qos.SENSOR)
        self._lens = self.create_publisher(CameraInfo, names.of_camera(names.CAMERA_INFO, scope), qos.SENSOR)
        self._states = self.create_publisher(JointState, names.device_states("left_arm"), qos.SENSOR)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)

    def flange(self, q: Array) -> Array:
        return self.carrier.pose_in_world(dict(zip(self.arm.names, q, strict=True)))

    def _postures(self) -> Iterator[Array]:
        rng = np.random.default_rng(5)
        yield self.home
        while True:
            yield self.home + rng.uniform(-1.0, 1.0, len(self.home)) * (0.08, 0.08, 0.08, 0.08, 0.4, 0.4, 0.5)

    def _run(self) -> None:
        ticker, rng, here = Ticker(STATES_HZ), np.random.default_rng(6), self.home
        for target in self._postures():
            seen = inverse(self.camera) @ self.flange(target) @ BOARD_IN_FLANGE
            picture = spoil(draw(Board(), self.lens, seen), rng)
            before, here = here, target
            for tick in itertools.islice(itertools.count(), STATES_A_POSTURE):
                if self._stop.is_set():
                    return
                ticker.wait()
                share = min(1.0, tick / STATES_A_WAY)
                stamp = self.get_clock().now()
                state = JointState(name=list(self.arm.names), position=list(before + share * (target - before)))
                state.header.stamp = stamp.to_msg()
                self._states.publish(state)
                if share == 1.0 and tick % STATES_A_PICTURE == 0:
                    lens = camera_info(self.lens, "camera_color_optical_frame")
                    lens.header.stamp = stamp.to_msg()
                    self._lens.publish(lens)
                    self._pictures.publish(image_to_msg(np.repeat(picture[..., None], 3, axis=2), stamp.nanoseconds, "camera_color_optical_frame"))


def test_views_of_a_running_cell_end_in_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell_file = Path(shutil.copy(find_share("config", "cells", "xarm_bimanual.yaml"), tmp_path / "my_cell.yaml"))
    with ros_domain(54) as context:
        scene = Scene(context)
        try:
            code = main(["calibrate", "camera", "front", "--cell", str(cell_file), "--arm", "left_arm", "--setup", "eye-to-hand",
                         "--folder", str(tmp_path / "views"), "--yes", "--json"])
        finally:
            scene.close()
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "taken" in shown.err and "Next: " in shown.err and "Enough." in shown.err
    assert json.loads(shown.out)["reprojection_px"] < 0.3
    camera = load_cell(cell_file).cameras["front"]
    found = from_xyz_rpy(camera.pose.xyz_m, camera.pose.rpy_rad) @ OPTICAL_IN_LINK
    assert distance(found, scene.camera) < 1e-3 and np.degrees(angle(found, scene.camera)) < 0.1
    assert len(list((tmp_path / "views").glob("*.png"))) >= 15
