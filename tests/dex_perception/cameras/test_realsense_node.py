# SPDX-License-Identifier: Apache-2.0
"""The camera node with the RealSense driver: a software device from plug to topic, and a recording found by its entry point alone."""
from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pyrealsense2 as rs
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from dex_core.config import load_cell
from dex_core.devices.registry import driver_names
from dex_perception import camera_node
from dex_perception.camera_node import CameraNode
from dex_perception.cameras.realsense import RealSenseCamera
from dex_ros import convert, names, qos
from dex_ros.testing import ros_domain, spinning, wait_for

spec = importlib.util.spec_from_file_location("soft_realsense", Path(__file__).with_name("soft_realsense.py"))
soft = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(soft)  # type: ignore[union-attr]

pytestmark = pytest.mark.ros
LENS = (-0.056, 0.066, -0.0004, 0.0007, -0.021)


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(
        cell.cameras["front"], driver="realsense", address="serial:123", native_wh=(320, 240), crop_xywh=(40, 0, 240, 240), output_wh=(120, 120),
        rate_hz=30.0, depth=True, depth_encoding="16UC1",
    )
    dataclasses.replace(cell, cameras={"front": front}).save(tmp_path / "cell.yaml")
    return tmp_path / "cell.yaml"


def test_colour_depth_and_lens_from_the_device_to_the_topics(cell_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unplugged and plugged again on the way, without a restart (F16)."""
    context, device = rs.context(), soft.SoftRealSense(lens=(rs.distortion.brown_conrady, LENS))
    device.plug(context)
    monkeypatch.setattr(camera_node, "make_camera", lambda config, cell: RealSenseCamera(config, cell, context=context))
    seen: dict[str, list] = {names.IMAGE: [], names.DEPTH: [], names.CAMERA_INFO: []}
    with ros_domain(56) as ros, device.exposing():
        node = CameraNode(context=ros, parameter_overrides=[Parameter("cell_file", value=str(cell_file))])
        watcher = Node("watcher", context=ros)
        for topic, kind in zip(seen, (Image, Image, CameraInfo), strict=True):
            watcher.create_subscription(kind, topic, seen[topic].append, qos.SENSOR)
        with spinning(node, watcher):
            node.autostart()
            wait_for(lambda: all(len(messages) > 2 for messages in seen.values()), "everything from the camera", 8.0)
            device.unplug()
            wait_for(lambda: node.heartbeat.reason == "camera_lost", "the loss", 8.0)
            count = len(seen[names.IMAGE])
            back = soft.SoftRealSense(lens=(rs.distortion.brown_conrady, LENS))
            back.plug(context)
            with back.exposing():
                wait_for(lambda: len(seen[names.IMAGE]) > count + 2 and node.heartbeat.reason == "", "pictures of the device that came back", 8.0)
                node.trigger_deactivate()
                node.trigger_cleanup()
        node.destroy_node()
    image, depth, info = (seen[topic][-1] for topic in seen)
    assert tuple(convert.image_from_msg(image)[60, 60]) == tuple(soft.RED)
    assert depth.encoding == "16UC1" and convert.pixels_from_msg(depth)[60, 60] == round(1000 * soft.BOX_M)
    assert np.nanmax(convert.depth_from_msg(depth)) == pytest.approx(soft.WALL_M, abs=1e-3)
    assert tuple(info.d) == pytest.approx(LENS, abs=1e-6) and info.k[0] == pytest.approx(0.95 * 320 / 2)


def test_the_driver_is_installed_under_its_name() -> None:
    assert "realsense" in driver_names("camera")
