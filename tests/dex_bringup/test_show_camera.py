# SPDX-License-Identifier: Apache-2.0
"""dex show camera: the page moves, figures are told, silence is said and nothing old is shown as new."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from PIL import Image as Picture
from rclpy.context import Context
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage

from dex_bringup.annotate.intake import Intake
from dex_bringup.annotate.live import LiveSamples
from dex_bringup.cli import main
from dex_bringup.show.camera import watch
from dex_bringup.show.camera_page import CameraPage
from dex_bringup.show.camera_view import CameraView
from dex_core.clock import NS
from dex_core.config import load_cell
from dex_core.errors import DeadlineError
from dex_msgs.msg import Segmentation
from dex_perception.frames import quaternion_xyzw
from dex_perception.keypoints.annotator import Annotator
from dex_perception.keypoints.assemble import Limits
from dex_perception.keypoints.sample import Sample
from dex_perception.keypoints.testing import OPTICAL, at_rest, camera_pose, home, lens
from dex_ros import names, qos
from dex_ros.convert import image_to_msg, pixels_to_msg, time_to_msg

CELL = load_cell("xarm_bimanual")


@pytest.fixture
def page() -> Iterator[CameraPage]:
    shown = CameraPage("dex show camera front", port=18_411)
    yield shown
    shown.close()


def jpeg(value: int) -> bytes:
    return cv2.imencode(".jpg", np.full((8, 8, 3), value, dtype=np.uint8))[1].tobytes()


def test_the_page_has_a_picture_and_figures(page: CameraPage) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{page.url}/frame.jpg", timeout=5)
    assert caught.value.code == 503, "none yet"
    page.put(jpeg(40), {"picture": "12 ms old"})
    assert b"stream.mjpg" in urllib.request.urlopen(page.url, timeout=5).read()
    assert json.load(urllib.request.urlopen(f"{page.url}/status.json", timeout=5)) == {"picture": "12 ms old"}
    assert urllib.request.urlopen(f"{page.url}/frame.jpg", timeout=5).read() == jpeg(40)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{page.url}/etc/passwd", timeout=5)


def test_every_viewer_gets_every_new_picture(page: CameraPage) -> None:
    page.put(jpeg(0), {})
    streams = [urllib.request.urlopen(f"{page.url}/stream.mjpg", timeout=5) for _ in range(2)]
    assert all("multipart/x-mixed-replace" in stream.headers["Content-Type"] for stream in streams)
    for value in (0, 90):
        for stream in streams:
            while not (line := stream.readline()).startswith(b"Content-Length"):
                pass
            stream.readline()
            assert stream.read(int(line.split(b":")[1])) == jpeg(value)
        page.put(jpeg(90), {})
    for stream in streams:
        stream.close()


def test_a_port_in_use_is_passed_over(page: CameraPage) -> None:
    port = int(page.url.rsplit(":", 1)[1])
    other = CameraPage("other", port=port)
    assert other.url != page.url
    other.close()


def view_of(found: bool = True, before_s: float = 0.0, size: tuple[int, int] = (240, 320)) -> tuple[CameraView, Sample]:
    intake = Intake(CELL, masks=False)
    sample = at_rest(CELL, stamp_ns=time.time_ns())
    mask = np.zeros(size, dtype=np.uint8)
    mask[150:200, 100:160] = 255
    stamp = sample.stamp_ns - round(before_s * NS)
    result = Segmentation(found=found, target="can", confidence=0.9, code="" if found else "no_target")
    result.header.stamp = time_to_msg(stamp)
    result.mask = pixels_to_msg(mask, "mono8", stamp, OPTICAL)
    intake.put(names.SEGMENT_RESULT, result, 0)
    return CameraView(intake, Annotator(CELL, masks=False)), sample


def inside(picture: np.ndarray) -> float:
    """How much redder than grey the middle of the object's mask is."""
    patch = picture[3 * 170 : 3 * 180, 3 * 120 : 3 * 140].astype(float)
    return float((patch[..., 0] - patch[..., 1]).mean())


def test_mask_and_words_of_this_picture_are_drawn() -> None:
    view, sample = view_of()
    picture = view.picture(sample)
    assert picture.shape[1] == 960 and picture.shape[0] > 720 and inside(picture) > 30.0
    assert "confidence 0.90, of this picture" in view.status["segmentation"] and "ms old" in view.status["picture"]
    assert "seen" in view.status["points"] and view.status["left out"] == "none"


@pytest.mark.parametrize(("given", "words"), [
    ({"before_s": 3.0}, "too old to draw"), ({"found": False}, "no_target"), ({"size": (200, 300)}, "another size"),
])
def test_what_is_not_of_this_picture_is_not_drawn(given: dict[str, object], words: str) -> None:
    view, sample = view_of(**given)  # type: ignore[arg-type]
    assert abs(inside(view.picture(sample))) < 1.0 and words in view.status["segmentation"]


def test_silence_is_said_over_a_darker_picture() -> None:
    view, sample = view_of()
    assert view.silent("nobody publishes").shape[1] == 640 and view.status["picture"] == "no picture yet"
    bright = view.picture(sample)[:720]
    dark = view.silent("the camera is silent")[:720]
    assert dark.mean() < 0.4 * bright.mean() and view.status["picture"].startswith("no picture for")
    assert view.status["why"] == "the camera is silent"


class Publisher:
    """The topics of a cell at rest."""

    def __init__(self, namespace: str) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self._node = rclpy.create_node("publisher", namespace=namespace, context=self.context)
        make = self._node.create_publisher
        self._image, self._info = make(Image, names.IMAGE, qos.SENSOR), make(CameraInfo, names.CAMERA_INFO, qos.SENSOR)
        self._states = {name: make(JointState, names.device_states(name), qos.SENSOR) for name in CELL.interfaces}
        self._tf = make(TFMessage, "/tf_static", qos.LATCHED)
        entry = TransformStamped(child_frame_id=OPTICAL)
        entry.header.frame_id = "world"
        t, r = entry.transform.translation, entry.transform.rotation
        t.x, t.y, t.z = camera_pose(CELL)[:3, 3].tolist()
        r.x, r.y, r.z, r.w = quaternion_xyzw(camera_pose(CELL)[:3, :3])
        self._tf.publish(TFMessage(transforms=[entry]))
        self._going = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        q, i = iter(home(CELL)), lens()
        states = {name: JointState(name=list(c.names), position=[float(next(q)) for _ in c.names]) for name, c in CELL.interfaces.items()}
        info = CameraInfo(width=i.width, height=i.height, distortion_model="plumb_bob", k=[i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0])
        rgb = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        beat = 0
        while not self._going.wait(0.01):
            now = time.time_ns()
            for name, state in states.items():
                state.header.stamp = time_to_msg(now)
                self._states[name].publish(state)
            beat += 1
            if beat % 5 == 0:
                info.header.stamp, info.header.frame_id = time_to_msg(now - NS // 200), OPTICAL
                self._info.publish(info)
                self._image.publish(image_to_msg(rgb, now - NS // 200, OPTICAL))

    def close(self) -> None:
        self._going.set()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    found = Publisher("/shown")
    yield found
    found.close()


@pytest.mark.ros
def test_a_running_cell_is_drawn_saved_and_annotated(publisher: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "now.png"
    assert main(["show", "camera", "--namespace", "shown", "--save", str(file), "--timeout", "20"]) == 0
    assert Picture.open(file).size[0] == 960 and "ms old" in capsys.readouterr().out
    intake = Intake(CELL, limits=Limits(patience_s=0.2), masks=False)
    shown: list[np.ndarray] = []
    with LiveSamples(intake, "shown") as source:
        watch(source, CameraView(intake, Annotator(CELL, masks=False)), shown.append, 50.0, lambda: len(shown) < 3)
        assert {picture.shape[1] for picture in shown} == {960}
    assert main(["annotate", "--live", "--namespace", "shown", "-o", str(tmp_path / "set"), "--seconds", "0.5", "--no-masks", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["annotated"] >= 2 and main(["annotate", "--check", str(tmp_path / "set")]) == 0


@pytest.mark.ros
def test_without_a_cell_the_wait_ends_and_says_who_was_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "camera", "--namespace", "nowhere", "--save", str(tmp_path / "x.png"), "--timeout", "0.5"]) == 1
    assert "camera/color/image_raw" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
    intake = Intake(CELL)
    with LiveSamples(intake, "nowhere") as source, pytest.raises(DeadlineError, match="does the cell run"):
        source.next(0.2)
