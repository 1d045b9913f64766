# SPDX-License-Identifier: Apache-2.0
"""The thread that owns a camera: rate, loss, reconnect, and one thread only."""
from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest

from dex_core.config import CameraConfig, load_cell
from dex_core.devices.camera import Camera, Frame
from dex_core.errors import ConfigError, DeviceError
from dex_perception.camera_worker import CameraWorker, make_camera
from dex_ros.testing import wait_for

spec = importlib.util.spec_from_file_location("fake_camera", Path(__file__).with_name("fake_camera.py"))
fake_camera = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(fake_camera)  # type: ignore[union-attr]


@pytest.fixture
def camera() -> Camera:
    camera = fake_camera.FakeCamera(rate_hz=200.0)
    camera.faults = set()
    return camera


def test_frames_come_at_the_wanted_rate_from_one_thread(camera: Camera) -> None:
    frames: list[Frame] = []
    worker = CameraWorker(camera, 25.0, frames.append)
    worker.start()
    start = time.monotonic()
    wait_for(lambda: len(frames) >= 15, "frames")
    rate_hz = 14 / (time.monotonic() - start)
    worker.stop()
    assert 18.0 < rate_hz < 27.0
    assert len(camera.threads) == 1 and threading.get_ident() not in camera.threads
    assert not camera.open and not worker.reason


def test_a_camera_that_is_not_there_fails_the_start_with_its_reason(camera: Camera) -> None:
    camera.faults = {"unplugged"}
    with pytest.raises(DeviceError, match="unplugged") as caught:
        CameraWorker(camera, 20.0, lambda _f: None).start()
    assert caught.value.code == "connection_lost"


@pytest.mark.parametrize("fault, code", [("unplugged", "connection_lost"), ("silent", "deadline")])
def test_a_lost_camera_is_named_and_comes_back(camera: Camera, fault: str, code: str) -> None:
    frames: list[Frame] = []
    connects: list[int] = []
    worker = CameraWorker(camera, 50.0, frames.append, lambda i: connects.append(i.width), timeout_s=0.2)
    worker.start()
    wait_for(lambda: frames, "a frame")
    camera.faults = {fault}
    wait_for(lambda: worker.reason == code, "the reason")
    time.sleep(0.1)
    count = len(frames)
    time.sleep(0.2)
    assert len(frames) == count
    camera.faults = set()
    wait_for(lambda: len(frames) > count + 3, "frames after the return")
    worker.stop()
    assert worker.connects >= 2 and len(connects) == worker.connects


def test_drivers_are_found_by_entry_point() -> None:
    with pytest.raises(ConfigError, match="simulated"):
        make_camera(CameraConfig(driver="nonsense"), load_cell("xarm_bimanual"))
