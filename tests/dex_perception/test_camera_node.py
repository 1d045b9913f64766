# SPDX-License-Identifier: Apache-2.0
"""The camera node with a fake camera: what it publishes, what it never publishes, and how it comes back (F16, F17)."""
from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from dex_core.config import load_cell
from dex_perception import camera_node
from dex_perception.camera_node import OPTICAL, CameraNode
from dex_ros import convert, names, qos
from dex_ros.testing import ros_domain, spinning, wait_for

spec = importlib.util.spec_from_file_location("fake_camera", Path(__file__).with_name("fake_camera.py"))
fake_camera = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(fake_camera)  # type: ignore[union-attr]

pytestmark = pytest.mark.ros


class Watcher(Node):
    """Keeps what the camera node says."""

    def __init__(self, context: Any) -> None:
        super().__init__("watcher", context=context)
        self.seen: dict[str, list] = {}
        for message, topic, profile in (
            (Image, names.IMAGE, qos.SENSOR), (CameraInfo, names.CAMERA_INFO, qos.SENSOR), (Image, names.DEPTH, qos.SENSOR),
            (TFMessage, "/tf_static", qos.LATCHED), (DiagnosticArray, names.DIAGNOSTICS, qos.REPORT),
        ):
            self.seen[topic] = []
            self.create_subscription(message, topic, self.seen[topic].append, profile)

    def last_camera_status(self) -> dict[str, str]:
        for array in reversed(self.seen[names.DIAGNOSTICS]):
            for status in array.status:
                if status.name.endswith(": camera"):
                    return {"message": status.message, "level": str(status.level[0]), **{v.key: v.value for v in status.values}}
        return {}


class Bench:
    """A camera node that is active, its camera and a watcher."""

    def __init__(self, node: CameraNode, camera: Any, watcher: Watcher) -> None:
        self.node, self.camera, self.watcher = node, camera, watcher

    def images(self) -> list[Image]:
        return self.watcher.seen[names.IMAGE]

    def wait_images(self, n: int) -> None:
        target = len(self.images()) + n
        wait_for(lambda: len(self.images()) >= target, "pictures", 8.0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], depth=True, rate_hz=40.0)
    path = tmp_path / "cell.yaml"
    dataclasses.replace(cell, cameras={"front": front}).save(path)
    camera = fake_camera.FakeCamera(rate_hz=80.0)
    camera.faults = set()
    monkeypatch.setattr(camera_node, "make_camera", lambda config, cell: camera)
    with ros_domain(55) as context:
        node = CameraNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(path))])
        watcher = Watcher(context)
        with spinning(node, watcher):
            node.autostart()
            assert node.is_active
            yield Bench(node, camera, watcher)
            node.trigger_deactivate()
            node.trigger_cleanup()
        node.destroy_node()


def test_pictures_infos_depth_and_frames_are_published(bench: Bench) -> None:
    bench.wait_images(5)
    image, info = bench.images()[-1], bench.watcher.seen[names.CAMERA_INFO][-1]
    assert (image.width, image.height, image.encoding, image.header.frame_id) == (320, 240, "rgb8", OPTICAL)
    assert abs(time.time_ns() - convert.time_from_msg(image.header.stamp)) < 1e9
    assert convert.image_from_msg(image).std() > 10
    assert info.k[0] == pytest.approx(559.0 * 320 / 720) and info.header.frame_id == OPTICAL
    wait_for(lambda: bench.watcher.seen[names.DEPTH], "depth")
    depth = bench.watcher.seen[names.DEPTH][-1]
    assert depth.encoding == "32FC1" and np.allclose(np.frombuffer(depth.data, dtype=np.float32), 1.25)
    frames = wait_for(lambda: bench.watcher.seen["/tf_static"], "static frames")[-1].transforms
    assert [(t.header.frame_id, t.child_frame_id) for t in frames] == [("world", "camera_link"), ("camera_link", OPTICAL)]
    status = wait_for(bench.watcher.last_camera_status, "diagnostics")
    assert status["refused_blank"] == "0"


@pytest.mark.parametrize(
    "fault, counter, code",
    [("black", "refused_blank", "image_blank"), ("frozen", "refused_frozen", "camera_frozen"), ("repeat", "refused_repeated", "camera_frozen")],
)
def test_garbage_is_counted_and_not_published(bench: Bench, fault: str, counter: str, code: str) -> None:
    bench.wait_images(3)
    bench.camera.faults = {fault}
    status = wait_for(
        lambda: (s := bench.watcher.last_camera_status()) and s["level"] == "2" and int(s[counter]) > 0 and s, "the error in /diagnostics"
    )
    count, refused = len(bench.images()), int(status[counter])  # pictures from before the fault have arrived by now
    wait_for(lambda: int(bench.watcher.last_camera_status()[counter]) >= refused + 3, "more garbage")
    assert len(bench.images()) == count
    assert int(status[counter]) > 0 and status["code"] == code
    bench.camera.faults = set()
    bench.wait_images(3)


def test_unplugged_and_plugged_again(bench: Bench) -> None:
    bench.wait_images(3)
    bench.camera.faults = {"unplugged"}
    status = wait_for(lambda: (s := bench.watcher.last_camera_status()) and s["level"] == "2" and s, "the error in /diagnostics")
    assert "unplugged" in status["message"] and bench.node.heartbeat.reason == "camera_lost"
    bench.camera.faults = set()
    bench.wait_images(3)
    wait_for(lambda: bench.watcher.last_camera_status()["level"] != "2", "recovery in /diagnostics")
    assert bench.node.heartbeat.reason == ""


def test_nothing_is_published_while_inactive(bench: Bench) -> None:
    bench.wait_images(3)
    bench.node.trigger_deactivate()
    time.sleep(0.1)
    count = len(bench.images())
    time.sleep(0.3)
    assert len(bench.images()) == count
    bench.node.trigger_activate()
    bench.wait_images(3)


def test_a_camera_of_another_size_fails_to_configure_and_leaves_nothing(bench: Bench) -> None:
    bench.node.trigger_deactivate()
    bench.node.trigger_cleanup()
    bench.camera.size_wh = (640, 480)
    bench.node.trigger_configure()
    assert bench.node.state_id == 1 and bench.node.heartbeat.reason == "config_invalid"
    assert not bench.camera.open
    bench.camera.size_wh = (960, 540)
    bench.node.autostart()
    bench.wait_images(2)
