# SPDX-License-Identifier: Apache-2.0
"""The RealSense driver on librealsense's own software device and recordings: nothing of the library is replaced."""
from __future__ import annotations

import dataclasses
import importlib.util
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyrealsense2 as rs
import pytest

from dex_core.clock import NS
from dex_core.config import CameraConfig
from dex_core.contracts.camera import CameraContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.camera_worker import CameraWorker
from dex_perception.cameras.realsense import RealSenseCamera

spec = importlib.util.spec_from_file_location("soft_realsense", Path(__file__).with_name("soft_realsense.py"))
soft = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(soft)  # type: ignore[union-attr]

CONFIG = CameraConfig(
    driver="realsense", address="serial:123", native_wh=(320, 240), crop_xywh=(0, 0, 320, 240), output_wh=(320, 240), rate_hz=60.0, depth=True,
)


def camera_for(context: rs.context, **changes: object) -> RealSenseCamera:
    return RealSenseCamera(dataclasses.replace(CONFIG, **changes), context=context)


@pytest.fixture
def context() -> rs.context:
    return rs.context()


@pytest.fixture
def device(context: rs.context) -> Iterator[soft.SoftRealSense]:
    device = soft.SoftRealSense()
    device.plug(context)
    with device.exposing():
        yield device


class BoxContract(CameraContract):
    def masks(self, frame):
        return (frame.rgb == soft.RED).all(axis=2), frame.depth_m < 0.9


class TestSoftwareDevice(BoxContract):
    @pytest.fixture
    def camera(self, context, device):
        camera = camera_for(context)
        yield camera
        camera.disconnect()


class TestWithoutDepth(CameraContract):
    depth = False

    @pytest.fixture
    def camera(self, context, device):
        camera = camera_for(context, depth=False)
        yield camera
        camera.disconnect()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second, written by the library's own recorder."""
    path = tmp_path_factory.mktemp("recording") / "box.db3"
    context, device = rs.context(), soft.SoftRealSense()
    device.plug(context)
    recorder = rs.recorder(str(path), context.query_devices()[0])
    sensors, queue = recorder.query_sensors(), rs.frame_queue(4)
    for sensor in sensors:
        sensor.open(sensor.get_stream_profiles())
        sensor.start(queue)
    for _ in range(60):
        device.expose()
        time.sleep(0.004)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    return path


class TestRecording(BoxContract):
    """A recording is a device: its exposures are stamped with now."""

    @pytest.fixture
    def camera(self, context, recording):
        camera = camera_for(context, address=f"file:{recording}")
        yield camera
        camera.disconnect()


# -- which device -----------------------------------------------------------------------------------------------------------
def test_none_attached_is_said_with_why_an_l515_is_not_seen(context: rs.context) -> None:
    with pytest.raises(ConnectionLostError, match="no RealSense is attached .*L515"):
        camera_for(context).connect()


def test_another_serial_number_is_refused_with_those_there_are(context: rs.context, device: soft.SoftRealSense) -> None:
    with pytest.raises(ConnectionLostError, match=r"serial number 99 is attached; there is: \['123'\]"):
        camera_for(context, address="serial:99").connect()


def test_the_only_one_is_taken_and_named(context: rs.context, device: soft.SoftRealSense) -> None:
    camera = camera_for(context, address="")
    camera.connect()
    assert camera.report().values["serial"] == "123" and camera.report().values["name"] == "Soft D435"
    camera.disconnect()


def test_several_without_a_name_are_refused_with_the_list(context: rs.context, device: soft.SoftRealSense) -> None:
    other = soft.SoftRealSense("456")
    other.plug(context)
    with pytest.raises(ConfigError, match=r"several RealSense .*\['serial:123', 'serial:456'\]"):
        camera_for(context, address="").connect()
    camera = camera_for(context, address="serial:456")
    camera.connect()
    assert camera.report().values["serial"] == "456"
    camera.disconnect()


@pytest.mark.parametrize("address", ["123", "serial:", "serial:12 3", "file:", "file:box.mcap", "/dev/video0", "usb:1"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="allowed: 'serial:<number>', 'file:<path>'"):
        RealSenseCamera(dataclasses.replace(CONFIG, address=address))


def test_a_usb_2_port_is_told(context: rs.context) -> None:
    device = soft.SoftRealSense(usb="2.1")
    device.plug(context)
    camera = camera_for(context)
    assert not camera.report().warning
    camera.connect()
    assert "on USB 2.1: fewer sizes and rates" in camera.report().warning
    camera.disconnect()


# -- what it gives ----------------------------------------------------------------------------------------------------------
def test_depth_is_metres_in_the_unit_of_the_device(context: rs.context) -> None:
    """An L515 counts quarters of a millimetre, a D435 whole ones."""
    device = soft.SoftRealSense(units_m=0.00025, stereo=False, name="Soft L515", line="L500")
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    with device.exposing():
        depth = camera.next_frame(2.0).depth_m
    camera.disconnect()
    assert np.nanmin(depth) == pytest.approx(soft.BOX_M, abs=1e-6) and np.nanmax(depth) == pytest.approx(soft.WALL_M, abs=1e-6)
    assert np.isnan(depth).any()


def test_a_depth_picture_of_another_size_is_laid_on_the_colour(context: rs.context) -> None:
    device = soft.SoftRealSense(colour_wh=(320, 240), depth_wh=(212, 120))
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    with device.exposing():
        frame = camera.next_frame(2.0)
    assert frame.depth_m.shape == (240, 320)
    by_colour, by_depth = BoxContract().masks(frame)
    assert (by_colour & by_depth).sum() / (by_colour | by_depth).sum() > 0.9
    camera.disconnect()


def test_blue_comes_last_also_from_a_device_that_sends_it_first(context: rs.context) -> None:
    device = soft.SoftRealSense(colour_format=rs.format.bgr8)
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    with device.exposing():
        assert tuple(camera.next_frame(2.0).rgb[120, 160]) == tuple(soft.RED)
    camera.disconnect()


def test_a_set_without_depth_and_one_that_came_before_are_no_frames(context: rs.context) -> None:
    device = soft.SoftRealSense()
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    for _ in range(3):  # what the matcher lets through alone at the start
        device.expose()
        camera.pull(0.05)
    device.expose("c")
    assert camera.pull(0.2) is None
    device.expose()
    first = camera.next_frame(1.0)
    device.expose(number=device.number)
    assert camera.pull(0.2) is None, "the same frame number again"
    device.expose(number=device.number + 4)
    assert camera.next_frame(1.0).sequence == first.sequence + 1
    assert int(camera.report().values["exposures_dropped"]) >= 3
    camera.disconnect()


def test_waiting_leaves_the_interpreter_to_others(context: rs.context) -> None:
    device = soft.SoftRealSense()
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    waiter = threading.Thread(target=lambda: camera.pull(0.3))
    start, turns = time.monotonic(), 0
    waiter.start()
    while waiter.is_alive():
        time.sleep(0.005)
        turns += 1
    assert turns > 10 and time.monotonic() - start > 0.25
    camera.disconnect()


# -- time -------------------------------------------------------------------------------------------------------------------
def test_stamps_follow_a_device_whose_clock_drifts_and_starts_anywhere(context: rs.context) -> None:
    device = soft.SoftRealSense()
    device.device_ms = 4.2e9
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    with device.exposing():
        frames = [camera.next_frame(2.0) for _ in range(30)]
    camera.disconnect()
    gaps_s = np.diff([frame.stamp_ns for frame in frames]) / NS
    assert np.median(gaps_s) == pytest.approx(1.0 / 60.0, abs=0.002), "the device's rhythm, not that of the arrivals"
    assert abs(time.time_ns() - frames[-1].stamp_ns) < NS


@pytest.mark.parametrize("domain", [rs.timestamp_domain.system_time, rs.timestamp_domain.global_time])
def test_stamps_of_the_hosts_own_clock_are_taken_as_they_are(context: rs.context, domain: rs.timestamp_domain) -> None:
    device = soft.SoftRealSense()
    device.domain = domain
    device.plug(context)
    camera = camera_for(context, options={"transport_s": 0.004})
    camera.connect()
    device.device_ms = time.time() * 1e3 - 200.0
    stamp = None
    for _ in range(5):
        device.expose()
        stamp = camera.pull(0.1) or stamp
    assert stamp is not None and stamp.stamp_ns == pytest.approx(device.device_ms * 1e6 - 4e6, abs=2000)
    camera.disconnect()


def test_a_stamp_of_the_future_becomes_now(context: rs.context) -> None:
    device = soft.SoftRealSense()
    device.domain = rs.timestamp_domain.global_time
    device.plug(context)
    camera = camera_for(context)
    camera.connect()
    device.device_ms = time.time() * 1e3 + 60_000.0
    for _ in range(5):
        device.expose()
        frame = camera.pull(0.1)
    assert frame.stamp_ns <= time.time_ns()
    camera.disconnect()


# -- loss and return --------------------------------------------------------------------------------------------------------
def test_unplugged_and_plugged_again_under_the_worker(context: rs.context) -> None:
    """The worker that the node uses: it names the loss, tries again, and goes on with the device that came back."""
    device = soft.SoftRealSense()
    device.plug(context)
    frames = []
    worker = CameraWorker(camera_for(context), 60.0, frames.append, timeout_s=0.5)
    with device.exposing():
        worker.start()
        wait_until(lambda: len(frames) > 3)
        device.unplug()
        wait_until(lambda: worker.reason == "connection_lost")
        assert "no longer attached" in worker.detail or "no RealSense is attached" in worker.detail
    back = soft.SoftRealSense()
    back.plug(context)
    seen = len(frames)
    with back.exposing():
        wait_until(lambda: len(frames) > seen + 3)
        assert worker.connects == 2 and not worker.reason
        worker.stop()


def test_a_device_that_the_library_reports_removed_is_lost_at_once(context: rs.context, recording: Path) -> None:
    """The devices-changed callback of the library itself, raised by taking a loaded device out of its context."""
    camera = camera_for(context, address=f"file:{recording}")
    camera.connect()
    camera.next_frame(2.0)
    context.unload_device(str(recording))
    with pytest.raises(ConnectionLostError, match="was unplugged"):
        for _ in range(3):
            camera.pull(0.3)
    camera.disconnect()


def test_a_silent_device_that_is_still_there_is_only_late(context: rs.context, device: soft.SoftRealSense) -> None:
    camera = camera_for(context)
    camera.connect()
    camera.next_frame(2.0)
    device.silent = True
    wait_until(lambda: camera.pull(0.0) is None)
    assert camera.pull(0.25) is None
    device.silent = False
    camera.next_frame(2.0)
    camera.disconnect()


# -- recordings -------------------------------------------------------------------------------------------------------------
def test_a_recording_begins_anew_and_sequence_and_stamps_go_on(context: rs.context, recording: Path) -> None:
    camera = camera_for(context, address=f"file:{recording}")
    camera.connect()
    frames = [camera.next_frame(3.0) for _ in range(90)]  # 60 were recorded
    camera.disconnect()
    assert all(a.sequence < b.sequence and a.stamp_ns < b.stamp_ns for a, b in zip(frames, frames[1:], strict=False))
    assert abs(time.time_ns() - frames[-1].stamp_ns) < NS


def test_a_recording_may_end_instead(context: rs.context, recording: Path) -> None:
    camera = camera_for(context, address=f"file:{recording}", options={"loop": False})
    camera.connect()
    with pytest.raises(ConnectionLostError, match="has ended") as caught:
        for _ in range(90):
            camera.next_frame(3.0)
    assert caught.value.code == "ended"
    camera.disconnect()


@pytest.mark.parametrize("name, content, says", [("none.db3", None, "there is no recording"), ("bad.db3", b"garbage", "cannot be played"),
                                                 ("bad.bag", b"garbage", "cannot be played")])
def test_a_recording_that_cannot_be_played_is_refused(context: rs.context, tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeviceError, match=says):
        camera_for(context, address=f"file:{path}").connect()


def test_a_recording_of_another_size_says_what_it_holds(context: rs.context, recording: Path) -> None:
    camera = camera_for(context, address=f"file:{recording}", native_wh=(640, 480))
    with pytest.raises(ConfigError, match="no colour mode of 640x480 at 60 Hz or more; the device offers 320x240@60"):
        camera.connect()
    again = camera_for(context, address=f"file:{recording}")
    again.connect()
    again.disconnect()


def wait_until(condition, timeout_s: float = 8.0) -> None:  # noqa: ANN001
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)
