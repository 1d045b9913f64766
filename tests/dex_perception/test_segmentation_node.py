# SPDX-License-Identifier: Apache-2.0
"""The segmentation node with made-up pictures: what it publishes, what it withdraws, what it says is wrong (F17 to F19, F24, F27, F28)."""
from __future__ import annotations

import dataclasses
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, TransformStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from dex_core.clouds import Cloud
from dex_core.config import PerceptionConfig, load_cell
from dex_core.errors import DexError
from dex_msgs.action import Segment
from dex_msgs.msg import Segmentation
from dex_perception import segmentation_node
from dex_perception.frames import quaternion_xyzw
from dex_perception.segmentation_node import SegmentationNode
from dex_ros import convert, names, qos
from dex_ros.clouds import cloud_from_msg
from dex_ros.testing import ros_domain, spinning, wait_for

spec = importlib.util.spec_from_file_location("segment_scenes", Path(__file__).parent / "segment" / "conftest.py")
scenes = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
sys.modules["segment_scenes"] = scenes
spec.loader.exec_module(scenes)  # type: ignore[union-attr]

pytestmark = pytest.mark.ros
DOMAIN = 58
OPTICAL = "camera_color_optical_frame"
GREEN, RED = (30, 160, 40), (200, 30, 30)
RESULT = Segment.Result


class FakeCamera(Node):
    """Publishes one scene again and again, with fresh stamps and noise; everything can be spoilt by a test."""

    def __init__(self, context: Any) -> None:
        super().__init__("fake_camera", context=context)
        self.scene = scenes.Scene((scenes.Ball((0.02, 0.0, 0.04), 0.04, GREEN), scenes.Box((0.14, -0.02, 0.0), (0.22, 0.04, 0.05), RED)))
        self.colour = self.depth = self.info = self.transforms = True
        self.spoil: Callable[[Image, Image, CameraInfo], None] = lambda colour, depth, info: None
        self.frozen = False
        self.age_s = self.depth_later_s = 0.0
        self._count, self._picture = 0, None
        self._out = {kind: self.create_publisher(m, t, qos.SENSOR) for kind, m, t in (
            ("colour", Image, names.IMAGE), ("depth", Image, names.DEPTH), ("info", CameraInfo, names.DEPTH_INFO),
        )}
        self._tf = self.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
        self._moving = self.create_publisher(TFMessage, "/tf", qos.REPORT)
        self.moves_late_s: float | None = None
        self.results: list[Segmentation] = []
        self.clouds: list[PointCloud2] = []
        self.masks: list[Image] = []
        self.statuses: dict[str, dict[str, str]] = {}
        self.create_subscription(Segmentation, names.SEGMENT_RESULT, self.results.append, qos.REPORT)
        self.create_subscription(PointCloud2, names.SEGMENT_CLOUD, self.clouds.append, qos.REPORT)
        self.create_subscription(Image, names.SEGMENT_MASK, self.masks.append, qos.REPORT)
        self.completed: list[PointCloud2] = []
        self.create_subscription(PointCloud2, names.SEGMENT_COMPLETED, self.completed.append, qos.REPORT)
        self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, qos.REPORT)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.say_transforms()
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        self._thread.join(2.0)

    def say_transforms(self) -> None:
        self._tf.publish(TFMessage(transforms=[self._transform(OPTICAL)]))

    def _transform(self, child: str, stamp_ns: int = 0) -> TransformStamped:
        pose = self.scene.pose()
        t = TransformStamped()
        t.header.frame_id, t.child_frame_id, t.header.stamp = "world", child, convert.time_to_msg(stamp_ns)
        p, r = t.transform.translation, t.transform.rotation
        p.x, p.y, p.z = pose[:3, 3].tolist()
        r.x, r.y, r.z, r.w = quaternion_xyzw(pose[:3, :3])
        return t

    def settle(self) -> None:
        """Until pictures as they are now have replaced what waited in the queues."""
        count = self._count
        wait_for(lambda: self._count >= count + 3, "pictures")

    def _run(self) -> None:
        while not self._closing.wait(0.04):
            self._publish()

    def _publish(self) -> None:
        stamp_ns = time.time_ns() - round(self.age_s * 1e9)
        self._count += 1
        if self._picture is None or not self.frozen:
            picture, self.labels = self.scene.render(stamp_ns)
            noise = np.random.default_rng(self._count).integers(0, 3, picture.rgb.shape).astype(np.uint8)
            self._picture = dataclasses.replace(picture, rgb=picture.rgb + noise)
        i = self._picture.intrinsics
        colour = convert.image_to_msg(self._picture.rgb, stamp_ns, OPTICAL)
        depth = convert.depth_to_msg(self._picture.depth_m, stamp_ns + round(self.depth_later_s * 1e9), OPTICAL)
        info = CameraInfo(width=i.width, height=i.height, distortion_model="plumb_bob", d=[0.0] * 5, k=i.matrix.ravel().tolist())
        info.header = depth.header
        self.spoil(colour, depth, info)
        if self.moves_late_s is not None:
            self._moving.publish(TFMessage(transforms=[self._transform("elsewhere", stamp_ns - round(self.moves_late_s * 1e9))]))
        for kind, message in (("info", info), ("colour", colour), ("depth", depth)):
            if getattr(self, kind):
                self._out[kind].publish(message)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            values = {v.key: v.value for v in status.values}
            self.statuses[status.name.split(": ")[-1]] = {"message": status.message, "level": str(status.level[0]), **values}


class Client:
    """Sends goals to the node."""

    def __init__(self, camera: FakeCamera) -> None:
        self._client = ActionClient(camera, Segment, names.SEGMENT)
        assert self._client.wait_for_server(5.0)
        self.feedback: list[Segment.Feedback] = []
        self.camera = camera

    def send(self, **goal: Any) -> Any:
        if not goal.keys() & {"text", "box", "points", "clicks"}:
            column, row = scenes.centre_of(self.camera.labels, goal.pop("number", 1))
            goal.update(clicks=[Point(x=column, y=row)], click_labels=[True])
        future = self._client.send_goal_async(Segment.Goal(**goal), feedback_callback=lambda m: self.feedback.append(m.feedback))
        wait_for(future.done, "segment goal")
        return future.result()

    def result(self, handle: Any, timeout_s: float = 8.0) -> tuple[int, Segment.Result]:
        future = handle.get_result_async()
        wait_for(future.done, "segment result", timeout_s)
        return future.result().status, future.result().result

    def run(self, **goal: Any) -> tuple[int, Segment.Result]:
        handle = self.send(**goal)
        assert handle.accepted
        return self.result(handle)

    def close(self) -> None:
        self._client.destroy()


@dataclasses.dataclass
class Bench:
    node: SegmentationNode
    camera: FakeCamera
    client: Client

    def said(self, code: str, status: str = "segmentation") -> None:
        wait_for(lambda: self.camera.statuses.get(status, {}).get("code") == code, f"diagnostics {code}; last {self.camera.statuses.get(status)}")


class FakeCompleter:
    """Makes of every object its own points twice, the second time 10 cm higher; refuses when told."""

    refuses = False

    def complete(self, cloud: Cloud, camera_m: np.ndarray, support_m: float | None) -> Any:
        assert support_m == pytest.approx(0.0, abs=2e-3) and np.allclose(camera_m, (0.0, -0.75, 0.65))
        if FakeCompleter.refuses:
            raise DexError("too few points", code="too_few_points")
        points = np.concatenate([cloud.points_m, cloud.points_m + np.array([0.0, 0.0, 0.1], np.float32)])
        return type("Completed", (), {"cloud": Cloud(points), "invented_share": 0.5})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(segmentation_node, "make_completer", lambda config: FakeCompleter())
    monkeypatch.setattr(FakeCompleter, "refuses", False)
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], depth=True, driver="external")
    config = PerceptionConfig(
        workspace_low_m=(-0.6, -0.6, -0.05), workspace_high_m=(0.6, 0.6, 0.5), picture_timeout_s=1.2, lost_timeout_s=0.8, max_age_s=1.0, budget_s=0.9,
        rate_hz=20.0, pairing_s=0.004,
    )
    path = tmp_path / "cell.yaml"
    dataclasses.replace(cell, cameras={"front": front}, perception=config).save(path)
    with ros_domain(DOMAIN) as context:
        node = SegmentationNode(context=context, parameter_overrides=[Parameter("cell_file", value=str(path))])
        camera = FakeCamera(context)
        with spinning(node, camera, threads=6):
            node.autostart()
            assert node.is_active
            camera.start()
            wait_for(lambda: hasattr(camera, "labels"), "a picture")
            client = Client(camera)
            yield Bench(node, camera, client)
            camera.stop()
            node.trigger_deactivate()
            node.trigger_cleanup()
            client.close()
        node.destroy_node()
        camera.destroy_node()


def test_a_click_gives_mask_cloud_and_result_and_they_are_withdrawn(bench: Bench) -> None:
    status, result = bench.client.run()
    found = result.segmentation
    assert status == GoalStatus.STATUS_SUCCEEDED and result.outcome == RESULT.SUCCEEDED and found.found, result.detail
    assert found.header.frame_id == OPTICAL and found.segmenter == "geometric" and found.target == "click" and found.world_frame == "world"
    mask = convert.pixels_from_msg(found.mask)
    assert found.mask.encoding == "mono8" and mask.shape == (120, 160) and set(np.unique(mask)) == {0, 255}
    truth = bench.camera.labels == 1
    assert (truth & (mask > 0)).sum() / (truth | (mask > 0)).sum() > 0.7
    wait_for(lambda: len(bench.camera.clouds) >= 2 and len(bench.camera.masks) >= 2, "the withdrawal")
    cloud = cloud_from_msg(bench.camera.clouds[0])
    assert len(cloud) == found.points and cloud.normals is not None and cloud.rgb is not None and bench.camera.clouds[0].header.frame_id == "world"
    np.testing.assert_allclose(cloud.points_m.mean(axis=0), (found.centre.x, found.centre.y, found.centre.z), atol=1e-4)
    assert np.abs(np.linalg.norm(cloud.points_m - (0.02, 0.0, 0.04), axis=1) - 0.04).max() < 5e-3
    shown, gone = bench.camera.results[:2]
    assert shown.found and not gone.found and gone.code == "expired" and gone.header == shown.header and not gone.mask.data
    assert len(cloud_from_msg(bench.camera.clouds[1])) == 0 and not convert.pixels_from_msg(bench.camera.masks[1]).any()


def test_a_completed_cloud_goes_with_the_object_and_is_withdrawn_with_it(bench: Bench) -> None:
    _, result = bench.client.run()
    wait_for(lambda: len(bench.camera.completed) >= 2, "the completed cloud and its withdrawal")
    whole, gone = bench.camera.completed[:2]
    assert len(cloud_from_msg(whole)) == 2 * result.segmentation.points and len(cloud_from_msg(gone)) == 0
    assert whole.header.stamp == gone.header.stamp == result.segmentation.header.stamp and whole.header.frame_id == "world"
    FakeCompleter.refuses = True
    count = len(bench.camera.completed)
    handle = bench.client.send(continuous=True)
    wait_for(lambda: "too_few_points" in bench.camera.statuses["segmentation"].get("completion", ""), "why it was not completed")
    handle.cancel_goal_async()
    assert bench.client.result(handle)[1].segmentation.found
    assert all(len(cloud_from_msg(m)) == 0 for m in bench.camera.completed[count:])


def test_it_follows_until_cancelled(bench: Bench) -> None:
    handle = bench.client.send(continuous=True)
    wait_for(lambda: sum(r.found and r.tracked for r in bench.camera.results) >= 3, "tracked results")
    stamps = [convert.time_from_msg(r.header.stamp) for r in bench.camera.results]
    assert stamps == sorted(set(stamps)) and all(r.found for r in bench.camera.results)
    wait_for(lambda: any(f.stage == "tracking" and f.found for f in bench.client.feedback), "feedback")
    handle.cancel_goal_async()
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_CANCELED and result.outcome == RESULT.CANCELLED and result.pictures >= 3
    wait_for(lambda: bench.camera.results[-1].code == "expired", "the withdrawal")


def test_cancel_service_and_a_lost_object(bench: Bench) -> None:
    trigger = bench.camera.create_client(Trigger, names.SEGMENT_CANCEL)
    assert trigger.wait_for_service(5.0)
    handle = bench.client.send(continuous=True)
    wait_for(lambda: bench.camera.results, "a result")
    reply = trigger.call_async(Trigger.Request())
    wait_for(reply.done, "the cancel service")
    assert reply.result().success
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.CANCELLED
    handle = bench.client.send(continuous=True)
    count = len(bench.camera.results)
    wait_for(lambda: any(r.found for r in bench.camera.results[count:]), "a result")
    bench.camera.scene = dataclasses.replace(bench.camera.scene, things=bench.camera.scene.things[1:])
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.NO_TARGET and result.reason == "lost"
    assert not bench.camera.results[-1].found


def test_one_owner_two_clients(bench: Bench) -> None:
    first, second = bench.client, Client(bench.camera)
    running = first.send(continuous=True)
    wait_for(lambda: bench.camera.results, "a result")
    assert not second.send(continuous=True).accepted
    wait_for(lambda: "preempt is false" in bench.camera.statuses.get("rejected goal", {}).get("message", ""), "why it was rejected")
    taken = second.send(number=2, preempt=True)
    status, result = first.result(running)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.PREEMPTED and result.reason == "preempted"
    status, result = second.result(taken)
    assert status == GoalStatus.STATUS_SUCCEEDED and result.segmentation.centre.x > 0.1
    second.close()


@pytest.mark.parametrize(("goal", "text"), [
    ({"text": "mug", "box": [0.0, 0.0, 5.0, 5.0]}, "text and box"), ({"text": ""}, "got nothing"), ({"box": [1.0, 2.0]}, "2 numbers"),
    ({"clicks": [Point(x=1.0, y=1.0, z=1.0)], "click_labels": [True]}, "z is not 0"), ({"text": "mug", "budget_ms": float("nan")}, "budget_s is nan"),
    ({"points": [Point()], "point_labels": []}, "one label each"),
])
def test_wrong_goals_are_refused_with_the_reason(bench: Bench, goal: dict, text: str) -> None:
    status, result = bench.client.run(**goal)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.REFUSED and result.reason == "prompt_invalid" and text in result.detail
    assert not bench.camera.results


@pytest.mark.parametrize(("goal", "code"), [
    ({"clicks": [Point(x=500.0, y=5.0)], "click_labels": [True]}, "prompt_outside"), ({"text": "the lemon"}, "no_text_model"),
    ({"points": [Point(x=0.0, y=0.0, z=2.0)], "point_labels": [True], "points_frame": "world"}, "prompt_outside"),
])
def test_no_target_is_said_with_its_code(bench: Bench, goal: dict, code: str) -> None:
    status, result = bench.client.run(**goal)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.NO_TARGET and result.reason == code
    wait_for(lambda: bench.camera.results, "a result")
    assert not bench.camera.results[0].found and bench.camera.results[0].code == code


def spoiler(**fields: Any) -> Callable:
    def spoil(colour: Image, depth: Image, info: CameraInfo) -> None:
        for name, change in fields.items():
            change({"colour": colour, "depth": depth, "info": info}[name])

    return spoil


def set_field(name: str, value: Any) -> Callable:
    return lambda message: setattr(message, name, value)


def rename(message: Any) -> None:
    message.header.frame_id = "elsewhere"


def fill(byte: int) -> Callable:
    def change(message: Image) -> None:
        message.data = bytes([byte]) * len(message.data)

    return change


@pytest.mark.parametrize(("spoil", "code"), [
    (spoiler(colour=fill(0)), "image_blank"), (spoiler(depth=fill(0)), "depth_empty"),
    (spoiler(colour=set_field("encoding", "mono8x")), "image_encoding"),
    (spoiler(depth=set_field("encoding", "rgb8")), "image_encoding"), (spoiler(info=set_field("width", 80)), "image_size"),
    (spoiler(info=set_field("k", [0.0] * 9)), "camera_info_missing"), (spoiler(depth=rename), "frame_wrong"),
    (spoiler(colour=rename, depth=rename), "tf_missing"), (spoiler(colour=set_field("data", b"12345")), "image_size"),
])
def test_bad_pictures_are_told_and_never_used(bench: Bench, spoil: Callable, code: str) -> None:
    bench.camera.spoil = spoil
    bench.camera.settle()
    handle = bench.client.send()
    bench.said(code)
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.ABORTED and result.reason == code, result.detail
    assert not any(r.found for r in bench.camera.results)


@pytest.mark.parametrize(("change", "code"), [
    ({"colour": False}, "camera_lost"), ({"depth": False}, "depth_missing"), ({"info": False}, "camera_info_missing"),
    ({"depth_later_s": 0.02}, "depth_missing"), ({"age_s": 3.0}, "image_late"), ({"age_s": -3.0}, "image_future"),
    ({"frozen": True}, "camera_frozen"),
])
def test_bad_streams_are_told_and_the_next_goal_recovers(bench: Bench, change: dict, code: str) -> None:
    assert bench.client.run()[1].outcome == RESULT.SUCCEEDED
    before = {name: getattr(bench.camera, name) for name in change}
    for name, value in change.items():
        setattr(bench.camera, name, value)
    bench.camera.settle()
    if "info" in change:
        bench.client.run()  # takes the camera_info that came before the change and still waits, if there is one
    handle = bench.client.send(continuous=True)
    bench.said(code)
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.ABORTED and result.reason == code, result.detail
    for name, value in before.items():
        setattr(bench.camera, name, value)
    wait_for(lambda: bench.client.run()[1].outcome == RESULT.SUCCEEDED, "recovery without a restart", 8.0)


def test_transforms_of_a_moving_camera_are_waited_for_and_missed_when_they_stop(bench: Bench) -> None:
    bench.camera.spoil = spoiler(colour=rename, depth=rename)
    bench.camera.moves_late_s = 0.07
    bench.camera.settle()
    status, result = bench.client.run()
    assert result.outcome == RESULT.SUCCEEDED and result.segmentation.header.frame_id == "elsewhere", result.detail
    bench.camera.moves_late_s = None
    bench.camera.settle()
    handle = bench.client.send()
    bench.said("tf_future")
    assert bench.client.result(handle)[1].reason == "tf_future"


def test_a_publisher_that_cannot_be_heard_is_told(bench: Bench) -> None:
    deaf = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = bench.camera.create_publisher(TFMessage, "/tf_static", deaf)
    bench.said("qos_incompatible", "streams")
    assert "fake_camera on /tf_static" in bench.camera.statuses["streams"]["detail"]
    bench.camera.destroy_publisher(publisher)
    bench.said("", "streams")


def test_goals_while_inactive_and_deactivation_under_way(bench: Bench) -> None:
    handle = bench.client.send(continuous=True)
    wait_for(lambda: any(r.found for r in bench.camera.results), "a result")
    bench.node.trigger_deactivate()
    status, result = bench.client.result(handle)
    assert status == GoalStatus.STATUS_ABORTED and result.outcome == RESULT.ABORTED and result.reason == "inactive"
    wait_for(lambda: not bench.camera.results[-1].found, "the withdrawal")
    assert not bench.client.send().accepted
    bench.node.trigger_activate()
    assert bench.client.run()[1].outcome == RESULT.SUCCEEDED
