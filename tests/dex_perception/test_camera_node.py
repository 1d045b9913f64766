# SPDX-License-Identifier: Apache-2.0
"""The camera node with a fake camera: what it publishes, what it never publishes, and how it comes back (F16, F17)."""
from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from dex_core.config import CameraConfig, load_cell
from dex_core.devices.camera import CameraReport, Intrinsics
from dex_perception import camera_node
from dex_perception.camera_node import OPTICAL, CameraNode, camera_info, compressed, static_transforms
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
            (CameraInfo, names.DEPTH_INFO, qos.SENSOR),
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


@contextmanager
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Iterator[Bench]:
    """The node of the cell's camera with these changes to its configuration."""
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], **{"depth": True, "rate_hz": 40.0, **changes})
    path = tmp_path / "cell.yaml"
    dataclasses.replace(cell, cameras={"front": front}).save(path)
    camera = fake_camera.FakeCamera(rate_hz=80.0)
    camera.faults = set()
    monkeypatch.setattr(camera_node, "make_camera", lambda config, cell: camera)
    with ros_domain(55) as context, running(context, path, "") as node:
        watcher = Watcher(context)
        with spinning(node, watcher):
            node.autostart()
            assert node.is_active
            yield Bench(node, camera, watcher)
            node.trigger_deactivate()
            node.trigger_cleanup()


@contextmanager
def running(context: Context, cell_file: Path, interface: str) -> Iterator[CameraNode]:
    node = CameraNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(cell_file)), Parameter("interface", value=interface)])
    try:
        yield node
    finally:
        node.destroy_node()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with active(tmp_path, monkeypatch) as bench:
        yield bench


def test_pictures_infos_depth_and_frames_are_published(bench: Bench) -> None:
    bench.wait_images(5)
    image, info = bench.images()[-1], bench.watcher.seen[names.CAMERA_INFO][-1]
    assert (image.width, image.height, image.encoding, image.header.frame_id) == (320, 240, "rgb8", OPTICAL)
    assert abs(time.time_ns() - convert.time_from_msg(image.header.stamp)) < 1e9
    assert convert.image_from_msg(image).std() > 10
    assert info.k[0] == pytest.approx(559.0 * 320 / 720) and info.header.frame_id == OPTICAL
    wait_for(lambda: bench.watcher.seen[names.DEPTH], "depth")
    depth = bench.watcher.seen[names.DEPTH][-1]
    metres = convert.depth_from_msg(depth)
    assert depth.encoding == "32FC1" and np.isnan(metres[0]).all() and (metres[2:] == 1.25).all()
    frames = wait_for(lambda: bench.watcher.seen["/tf_static"], "static frames")[-1].transforms
    assert [(t.header.frame_id, t.child_frame_id) for t in frames] == [("world", "camera_link"), ("camera_link", OPTICAL)]
    status = wait_for(bench.watcher.last_camera_status, "diagnostics")
    assert status["refused_blank"] == "0"


@pytest.mark.parametrize(
    "fault, counter, code",
    [
        ("black", "refused_blank", "image_blank"), ("frozen", "refused_frozen", "camera_frozen"), ("repeat", "refused_repeated", "camera_frozen"),
        ("small", "refused_malformed", "image_shape"), ("grey", "refused_malformed", "image_shape"),
        ("other_depth", "refused_malformed", "image_shape"),
    ],
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


def test_depth_in_whole_millimetres_when_the_cell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with active(tmp_path, monkeypatch, depth_encoding="16UC1") as bench:
        depth = wait_for(lambda: bench.watcher.seen[names.DEPTH], "depth")[-1]
    pixels = convert.pixels_from_msg(depth)
    assert (depth.encoding, depth.step, pixels.dtype) == ("16UC1", 640, np.uint16)
    assert set(np.unique(pixels)) == {0, 1250}, "millimetres, and zero where it is unknown"


def test_the_lens_is_published_with_the_picture_and_with_depth(bench: Bench) -> None:
    bench.wait_images(3)
    wait_for(lambda: bench.watcher.seen[names.DEPTH_INFO], "the lens of depth")
    colour, depth = bench.watcher.seen[names.CAMERA_INFO][-1], bench.watcher.seen[names.DEPTH_INFO][-1]
    for info in (colour, depth):
        assert info.distortion_model == "plumb_bob" and tuple(info.d) == pytest.approx(fake_camera.LENS)
        assert (info.width, info.height, info.header.frame_id) == (320, 240, OPTICAL)
    assert list(colour.k) == list(depth.k)


def test_a_compressed_picture_is_made_only_for_those_who_listen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(camera_node, "compressed", lambda *args: made.append(1) or compressed(*args))
    bench.wait_images(5)
    assert not made
    seen: list[CompressedImage] = []
    bench.watcher.create_subscription(CompressedImage, names.COMPRESSED, seen.append, qos.SENSOR)
    picture = wait_for(lambda: seen, "a compressed picture")[-1]
    decoded = cv2.imdecode(np.frombuffer(picture.data, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert picture.format == "rgb8; jpeg compressed bgr8" and decoded.shape == (240, 320, 3) and picture.header.frame_id == OPTICAL
    raw = wait_for(lambda: [m for m in bench.images() if m.header.stamp == picture.header.stamp], "the same picture raw")[0]
    assert np.abs(decoded[:, :, ::-1].astype(int) - convert.image_from_msg(raw)).mean() < 3.0


def test_readers_of_either_reliability_get_pictures(bench: Bench) -> None:
    """F24: RViz and most tools ask for reliable delivery, this stack's own readers do not."""
    seen: list[Image] = []
    bench.watcher.create_subscription(Image, names.IMAGE, seen.append, 10)
    wait_for(lambda: len(seen) > 2, "pictures for a reliable reader")
    bench.wait_images(2)


def test_what_the_camera_says_of_itself_is_in_diagnostics_and_a_warning_shows(bench: Bench) -> None:
    bench.camera.said = CameraReport({"serial": "815"}, "on USB 2.1: fewer sizes")
    status = wait_for(lambda: (s := bench.watcher.last_camera_status()) and s.get("serial") == "815" and s, "the camera's own report")
    assert (status["level"], status["message"]) == ("1", "on USB 2.1: fewer sizes")
    bench.camera.said = CameraReport()
    wait_for(lambda: bench.watcher.last_camera_status()["level"] == "0", "a good state")


def test_depth_that_is_unknown_everywhere_is_told(bench: Bench) -> None:
    bench.wait_images(3)
    bench.camera.faults = {"no_depth"}
    status = wait_for(lambda: (s := bench.watcher.last_camera_status()) and s["level"] == "1" and s, "the warning")
    assert "depth is unknown everywhere" in status["message"] and status["depth_known"] == "0 %"


def test_two_cameras_of_a_cell_are_kept_apart_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], rate_hz=40.0)
    wrist = dataclasses.replace(front, output_wh=(160, 120))
    dataclasses.replace(cell, cameras={"front": front, "wrist": wrist}).save(tmp_path / "cell.yaml")
    monkeypatch.setattr(camera_node, "make_camera", lambda config, cell: fake_camera.FakeCamera(rate_hz=80.0))
    fake_camera.FakeCamera.faults = set()
    with ros_domain(55) as context, running(context, tmp_path / "cell.yaml", "front") as first, \
            running(context, tmp_path / "cell.yaml", "wrist") as second:
        watcher = Watcher(context)
        images: list[Image] = []
        watcher.create_subscription(Image, "wrist/camera/color/image_raw", images.append, qos.SENSOR)
        with spinning(first, second, watcher):
            for node in (first, second):
                node.autostart()
            wait_for(lambda: images and watcher.seen[names.IMAGE], "pictures of both")
            assert {(m.width, m.header.frame_id) for m in images} == {(160, "wrist_camera_color_optical_frame")}
            assert {(m.width, m.header.frame_id) for m in watcher.seen[names.IMAGE]} == {(320, OPTICAL)}
            for node in (first, second):
                node.trigger_deactivate()
                node.trigger_cleanup()


def test_the_name_of_one_of_several_cameras_must_be_given(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    dataclasses.replace(cell, cameras={"front": cell.cameras["front"], "wrist": cell.cameras["front"]}).save(tmp_path / "cell.yaml")
    with ros_domain(55) as context, running(context, tmp_path / "cell.yaml", "") as node:
        node.trigger_configure()
        assert node.state_id == 1 and node.heartbeat.reason == "config_invalid"


@pytest.mark.parametrize("lens, model, d", [
    ((), "plumb_bob", [0.0] * 5), ((0.1, -0.2, 0.0, 0.001), "plumb_bob", [0.1, -0.2, 0.0, 0.001, 0.0]),
    (tuple(0.01 * k for k in range(8)), "rational_polynomial", [0.01 * k for k in range(8)]),
])
def test_a_lens_has_the_model_that_its_coefficients_are_of(lens: tuple[float, ...], model: str, d: list[float]) -> None:
    info = camera_info(Intrinsics(640, 480, 600.0, 601.0, 320.0, 241.0, lens), OPTICAL)
    assert (info.distortion_model, list(info.d)) == (model, d)
    assert list(info.k) == [600.0, 0.0, 320.0, 0.0, 601.0, 241.0, 0.0, 0.0, 1.0] and list(info.r) == [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]
    assert list(info.p) == [600.0, 0.0, 320.0, 0.0, 0.0, 601.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_frames_carry_the_cameras_name() -> None:
    frames = static_transforms(CameraConfig(), "wrist_camera").transforms
    assert [(t.header.frame_id, t.child_frame_id) for t in frames] == [
        ("world", "wrist_camera_link"), ("wrist_camera_link", "wrist_camera_color_optical_frame")]


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


@pytest.mark.parametrize("crop", [(300, 0, 720, 540), (0, 1, 960, 540), (-1, 0, 100, 100), (0, 0, 0, 100)])
def test_a_crop_that_leaves_the_picture_fails_to_configure(crop: tuple[int, int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = load_cell("xarm_bimanual")
    dataclasses.replace(cell, cameras={"front": dataclasses.replace(cell.cameras["front"], crop_xywh=crop)}).save(tmp_path / "cell.yaml")
    monkeypatch.setattr(camera_node, "make_camera", lambda config, cell: fake_camera.FakeCamera(config, cell))
    fake_camera.FakeCamera.faults = set()
    with ros_domain(55) as context, running(context, tmp_path / "cell.yaml", "") as node:
        node.trigger_configure()
        assert node.state_id == 1 and node.heartbeat.reason == "config_invalid"
