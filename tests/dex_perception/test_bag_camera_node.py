# SPDX-License-Identifier: Apache-2.0
"""A recording in a cell: the camera node plays it, and what it publishes is what was recorded."""
from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from dex_core.config import CameraConfig, load_cell
from dex_perception.camera_node import CameraNode
from dex_ros import convert, names, qos
from dex_ros.testing import ros_domain, spinning, wait_for

spec = importlib.util.spec_from_file_location("make_bag", Path(__file__).parent / "cameras" / "make_bag.py")
make_bag = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_bag)  # type: ignore[union-attr]

pytestmark = pytest.mark.ros
SIZE = (make_bag.WIDTH, make_bag.HEIGHT)
LENS = (0.1, -0.2, 0.001, 0.002, 0.03)


def lens(kind: str, k: int, value: Any) -> Any:
    return make_bag.info(make_bag.FIRST_NS + k * 40_000_000, d=LENS) if kind == "info" else value


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[dict[str, list[Any]]]:
    """Topic -> messages that the node of a camera with the driver ``bag`` publishes."""
    bag = make_bag.realsense(tmp_path / "run", 8, 40_000_000, edit=lens)
    front = CameraConfig(driver="bag", address=f"file:{bag}", native_wh=SIZE, crop_xywh=(0, 0, *SIZE), output_wh=SIZE, rate_hz=30.0, depth=True,
                         options={"loop": True})
    dataclasses.replace(load_cell("xarm_bimanual"), cameras={"front": front}).save(tmp_path / "cell.yaml")
    with ros_domain(57) as context:
        node = CameraNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(tmp_path / "cell.yaml"))])
        watcher = Node("watcher", context=context)
        heard: dict[str, list[Any]] = {names.IMAGE: [], names.DEPTH: [], names.CAMERA_INFO: []}
        for topic, messages in heard.items():
            watcher.create_subscription(CameraInfo if topic == names.CAMERA_INFO else Image, topic, messages.append, qos.SENSOR)
        with spinning(node, watcher):
            node.autostart()
            assert node.is_active
            yield heard
            node.trigger_deactivate()
            node.trigger_cleanup()
        node.destroy_node()


def test_recorded_pictures_depth_and_lens_are_published(seen: dict[str, list[Any]]) -> None:
    wait_for(lambda: min(map(len, seen.values())) >= 12, "pictures of more than one pass", 15.0)
    shown = set()
    for message in seen[names.IMAGE]:
        rgb = convert.image_from_msg(message)
        shown.add(int(rgb[0, 0, 0]))
        assert np.array_equal(rgb, make_bag.rgb_of(int(rgb[0, 0, 0])))
    assert len(shown) >= 5, "a busy machine may skip some, as a device would"
    depth = convert.depth_from_msg(seen[names.DEPTH][-1])
    assert np.isnan(depth[0, :5]).all() and 1.0 <= depth[5, 5] <= 1.0075
    info = seen[names.CAMERA_INFO][-1]
    assert (info.width, info.height, info.k[0], tuple(info.d)) == (*SIZE, make_bag.FX, LENS)
    stamps = [convert.time_from_msg(message.header.stamp) for message in seen[names.IMAGE]]
    assert np.all(np.diff(stamps) > 0), "also from one pass to the next"
