# SPDX-License-Identifier: Apache-2.0
"""Pictures of a device that a test plays, and of a video file that OpenCV really decodes."""
from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras.uvc_source import Mode, V4l2Source, VideoFileSource

spec = importlib.util.spec_from_file_location("scripted_capture", Path(__file__).with_name("scripted_capture.py"))
scripted = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(scripted)  # type: ignore[union-attr]
WANTED = (64, 48, 30.0, "MJPG")
MODE = Mode(64, 48, 30.0, "MJPG")


class Bench:
    """A device node, its stable path, and the captures that were opened on it."""

    def __init__(self, folder: Path) -> None:
        self.node, self.path = folder / "video0", folder / "usb-Eye-video-index0"
        self.node.touch()
        self.path.symlink_to(self.node)
        self.captures: list[Any] = []
        self.opened: list[tuple[str, int]] = []
        self.settings: dict[str, Any] = {"modes": [WANTED]}
        self.source = V4l2Source(self.path, MODE, self.open)

    def open(self, path: str, backend: int) -> Any:
        self.opened.append((path, backend))
        self.captures.append(scripted.ScriptedCapture(**self.settings))
        return self.captures[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.source.close()
    assert all(capture.released.wait(1.0) for capture in bench.captures), "every capture that was opened is released"


def test_pictures_come_with_the_kernels_time_and_the_device_is_set(bench: Bench) -> None:
    bench.source.open()
    before_ns = time.time_ns()
    pictures = [bench.source.take(1.0) for _ in range(3)]
    assert bench.opened == [(str(bench.node), cv2.CAP_V4L2)], "the node behind the stable path, through V4L2 alone"
    assert bench.captures[0].asked[cv2.CAP_PROP_BUFFERSIZE] == 2
    for earlier, later in zip(pictures[:-1], pictures[1:], strict=True):
        assert later.sequence > earlier.sequence and later.stamp_ns > earlier.stamp_ns
    assert pictures[0].bgr.shape == (48, 64, 3) and pictures[0].bgr[0, 0, 0] == 10
    assert before_ns - 50_000_000 < pictures[-1].stamp_ns <= time.time_ns()
    assert bench.source.details() | {"dropped": "0"} == {
        "device": str(bench.path), "mode": "64x48 MJPG at 30 Hz", "stamps": "kernel, monotonic clock", "dropped": "0"}


def test_who_comes_late_gets_the_newest_and_the_others_are_counted(bench: Bench) -> None:
    bench.source.open()
    first = bench.source.take(1.0)
    while bench.captures[0].count < first.sequence + 10:
        time.sleep(0.005)
    later = bench.source.take(1.0)
    assert later.sequence >= first.sequence + 9 and int(bench.source.details()["dropped"]) >= 8
    assert bench.source.take(1.0).sequence > later.sequence, "each is handed out once"


def test_a_driver_without_usable_stamps_is_named(bench: Bench) -> None:
    bench.settings["stamp_ms"] = "none"
    bench.source.open()
    assert abs(time.time_ns() - bench.source.take(1.0).stamp_ns) < 1_000_000_000
    assert bench.source.details()["stamps"].startswith("arrival")


def test_unplugged_while_it_streams_and_back_again(bench: Bench) -> None:
    bench.source.open()
    bench.source.take(1.0)
    bench.node.unlink()
    bench.captures[0].unplugged.set()
    with pytest.raises(ConnectionLostError, match="camera usb-Eye-video-index0 was unplugged"):
        for _ in range(3):  # a last picture may still be there
            bench.source.take(1.0)
    with pytest.raises(ConnectionLostError, match="was unplugged"):
        bench.source.open()
    bench.node.touch()
    bench.source.open()
    assert bench.source.take(1.0).sequence >= 1


def test_a_driver_that_goes_silent_while_its_device_vanishes(bench: Bench) -> None:
    bench.settings["period_s"] = 5.0
    bench.source.open()
    assert bench.source.take(0.05) is None
    bench.node.unlink()
    with pytest.raises(ConnectionLostError, match="was unplugged"):
        bench.source.take(0.05)
    bench.captures[0].unplugged.set()


def test_a_driver_that_stops_with_the_device_still_there(bench: Bench) -> None:
    bench.source.open()
    bench.captures[0].unplugged.set()
    with pytest.raises(ConnectionLostError, match="has stopped: its driver gives no pictures"):
        for _ in range(3):
            bench.source.take(1.0)


def test_what_opencv_raises_is_said(bench: Bench) -> None:
    bench.source.open()
    bench.captures[0].raises.set()
    with pytest.raises(ConnectionLostError, match="OpenCV cannot read its pictures: no memory"):
        for _ in range(5):
            bench.source.take(1.0)


@pytest.mark.parametrize("given, message", [
    ((640, 480, 30.0, "MJPG"), "gives 640x480 MJPG at 30 Hz where 64x48 MJPG at 30 Hz is asked for; v4l2-ctl --list-formats-ext"),
    ((64, 48, 30.0, "YUYV"), "gives 64x48 YUYV at 30 Hz"),
    ((64, 48, 15.0, "MJPG"), "gives 64x48 MJPG at 15 Hz"),
])
def test_another_mode_than_asked_for_is_refused(bench: Bench, given: tuple, message: str) -> None:
    bench.settings["modes"] = [given]
    with pytest.raises(ConfigError, match=message):
        bench.source.open()
    with pytest.raises(ConnectionLostError, match="is not open"):
        bench.source.take(0.0)


def test_a_device_that_somebody_else_has(bench: Bench) -> None:
    bench.settings["opens"] = False
    with pytest.raises(DeviceError, match="another program has it") as caught:
        bench.source.open()
    assert caught.value.code == "device_busy"


def test_a_device_that_this_user_may_not_open(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with pytest.raises(DeviceError, match="add the user to the group 'video'") as caught:
        bench.source.open()
    assert caught.value.code == "permission_denied" and not bench.captures


def test_close_any_number_of_times(bench: Bench) -> None:
    bench.source.close()
    bench.source.open()
    bench.source.close()
    bench.source.close()
    with pytest.raises(ConnectionLostError, match="is not open"):
        bench.source.take(0.0)


# -- a video file -------------------------------------------------------------------------------------------------------
def video(path: Path, frames: int = 10, fps: float = 50.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for k in range(frames):
        writer.write(np.full((48, 64, 3), (200, 100, 20 * k), dtype=np.uint8))
    writer.release()
    return path


def test_a_file_plays_every_picture_in_order(tmp_path: Path) -> None:
    source = VideoFileSource(video(tmp_path / "a.avi"), rate=0.0, loop=False)
    source.open()
    pictures = [source.take(1.0) for _ in range(10)]
    assert [round(float(picture.bgr[..., 2].mean()) / 20) for picture in pictures] == list(range(10))
    with pytest.raises(DeviceError, match="video a.avi has ended"):
        source.take(1.0)


def test_a_file_plays_at_its_own_rate(tmp_path: Path) -> None:
    source = VideoFileSource(video(tmp_path / "a.avi", fps=20.0))
    source.open()
    first, second = source.take(1.0), source.take(1.0)
    assert (second.stamp_ns - first.stamp_ns) / (second.sequence - first.sequence) == pytest.approx(50e6, abs=2e6)
    source.close()
    with pytest.raises(ConnectionLostError):
        source.take(0.0)


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="nothing.avi does not exist"):
        VideoFileSource(tmp_path / "nothing.avi").open()
    (tmp_path / "text.avi").write_text("hello")
    with pytest.raises(DeviceError, match="text.avi is no video that OpenCV reads"):
        VideoFileSource(tmp_path / "text.avi").open()
