# SPDX-License-Identifier: Apache-2.0
"""A V4L2 camera: the contract on a device that a test plays and on a video file, and what is refused."""
from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dex_core.config import CameraConfig
from dex_core.contracts.camera import CameraContract
from dex_core.devices.camera import Frame
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, ShapeError
from dex_perception.camera_worker import CameraWorker
from dex_perception.cameras.uvc import UvcCamera
from dex_perception.cameras.uvc_device import attached
from dex_perception.cameras.uvc_source import Mode, V4l2Source
from dex_ros.testing import wait_for

spec = importlib.util.spec_from_file_location("scripted_capture", Path(__file__).with_name("scripted_capture.py"))
scripted = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(scripted)  # type: ignore[union-attr]
SIZE = (64, 48)
CONFIG = CameraConfig(driver="uvc", native_wh=SIZE, crop_xywh=(0, 0, *SIZE), output_wh=SIZE, rate_hz=30.0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 60.0, SIZE)
    for k in range(20):
        writer.write(np.full((*SIZE[::-1], 3), (30, 90, 10 * k), dtype=np.uint8))
    writer.release()
    return path


class TestContractOnADevice(CameraContract):
    timeout_s = 1.0
    depth = False

    @pytest.fixture
    def camera(self, tmp_path: Path) -> Iterator[UvcCamera]:
        path = tmp_path / "usb-Eye-video-index0"
        path.touch()
        source = V4l2Source(path, Mode(*SIZE, 30.0, "MJPG"), lambda _path, _backend: scripted.ScriptedCapture([(*SIZE, 30.0, "MJPG")]))
        camera = UvcCamera(CONFIG, source=source)
        yield camera
        camera.disconnect()


class TestContractOnAFile(CameraContract):
    timeout_s = 1.0
    depth = False

    @pytest.fixture
    def camera(self, video: Path) -> Iterator[UvcCamera]:
        camera = UvcCamera(replace(CONFIG, address=f"file:{video}"))
        yield camera
        camera.disconnect()


def test_colours_come_in_the_order_red_green_blue(video: Path) -> None:
    camera = UvcCamera(replace(CONFIG, address=f"file:{video}", options={"rate": 0.0}))
    camera.connect()
    camera.next_frame(1.0)
    red, green, blue = camera.next_frame(1.0).rgb.reshape(-1, 3).mean(axis=0)
    assert (red, green, blue) == pytest.approx((10, 90, 30), abs=4)
    camera.disconnect()


def test_the_lens_is_calibrated_or_said_not_to_be(video: Path, tmp_path: Path) -> None:
    camera = UvcCamera(replace(CONFIG, address=f"file:{video}"))
    camera.connect()
    assert "not calibrated" in camera.report().warning and camera.report().values["intrinsics"] == "from fovy_rad, not calibrated"
    assert camera.report().values["video"] == str(video)
    camera.disconnect()
    path = tmp_path / "eye.yaml"
    path.write_text("image_width: 64\nimage_height: 48\ncamera_matrix: {rows: 3, cols: 3, data: [50, 0, 31, 0, 51, 23, 0, 0, 1]}\n"
                    "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n")
    camera = UvcCamera(replace(CONFIG, address=f"file:{video}", options={"calibration": str(path)}))
    camera.connect()
    assert camera.intrinsics().fx == 50.0 and camera.intrinsics().distortion[0] == 0.1 and not camera.report().warning
    camera.disconnect()


def test_pictures_of_another_size_are_refused(video: Path) -> None:
    camera = UvcCamera(replace(CONFIG, address=f"file:{video}", native_wh=(32, 24)))
    camera.connect()
    with pytest.raises(ShapeError, match="gives 64 x 48 pixels; the cell says 32 x 24"):
        camera.next_frame(1.0)
    camera.disconnect()


@pytest.mark.parametrize("changes, message", [
    ({"depth": True}, "depth is true; a V4L2 camera has none"),
    ({"options": {"pixel_format": "H264"}}, "pixel_format is 'H264'; allowed"),
    ({"options": {"exposure": 3}}, "options of the uvc camera: unknown key 'exposure'"),
])
def test_settings_are_checked(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UvcCamera(replace(CONFIG, **changes))


@pytest.mark.parametrize("address, error, message", [
    ("", ConfigError, "address is empty"),
    ("/dev/video0", ConfigError, "another camera after the next boot"),
    ("/dev/v4l/by-id/usb-Nobody_Has_This-video-index0", ConnectionLostError, "usb-Nobody_Has_This-video-index0 is not plugged in"),
    ("file:/nowhere/a.mp4", DeviceError, "/nowhere/a.mp4 does not exist"),
])
def test_a_camera_that_is_not_there(address: str, error: type[Exception], message: str) -> None:
    camera = UvcCamera(replace(CONFIG, address=address))
    with pytest.raises(error, match=message):
        camera.connect()
    with pytest.raises(ConnectionLostError):
        camera.next_frame(0.0)


def test_unplugged_and_plugged_in_again_under_the_worker(tmp_path: Path) -> None:
    """F16: the loss has its reason, nothing of it goes on, and pictures come back without a restart."""
    path, captures = tmp_path / "usb-Eye-video-index0", []
    path.touch()

    def opened(_path: str, _backend: int) -> Any:
        captures.append(scripted.ScriptedCapture([(*SIZE, 30.0, "MJPG")]))
        return captures[-1]

    frames: list[Frame] = []
    worker = CameraWorker(UvcCamera(CONFIG, source=V4l2Source(path, Mode(*SIZE, 30.0, "MJPG"), opened)), 100.0, frames.append, timeout_s=0.5)
    worker.start()
    try:
        wait_for(lambda: frames, "a picture")
        path.unlink()
        captures[0].unplugged.set()
        wait_for(lambda: worker.reason == "connection_lost", "the reason")
        assert "usb-Eye-video-index0 was unplugged" in worker.detail
        count = len(frames)
        path.touch()
        wait_for(lambda: len(frames) > count + 2, "pictures after the return")
        assert worker.connects == len(captures) == 2 and not worker.reason
    finally:
        worker.stop()
    assert all(capture.released.is_set() for capture in captures)


@pytest.mark.hardware
@pytest.mark.skipif(not attached(), reason="no V4L2 camera is plugged in: /dev/v4l is empty")
def test_a_real_camera() -> None:
    """Whatever is plugged in first, at the mode that nearly every USB camera has."""
    size = (640, 480)
    camera = UvcCamera(replace(CONFIG, address=attached()[0], native_wh=size))
    camera.connect()
    frames = [camera.next_frame(5.0) for _ in range(5)]
    assert all(frame.rgb.shape == (480, 640, 3) for frame in frames)
    assert camera.report().values["stamps"] == "kernel, monotonic clock"
    camera.disconnect()
