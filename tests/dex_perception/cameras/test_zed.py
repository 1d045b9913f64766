# SPDX-License-Identifier: Apache-2.0
"""A ZED by both ways: as the stereo camera that it is, on pictures of known geometry, and through what stands in for its SDK."""
from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dex_core.config import CameraConfig
from dex_core.contracts.camera import CameraContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, ShapeError, StaleError
from dex_perception.cameras.stereo_rectify import Rectifier
from dex_perception.cameras.stereo_synthetic import StereoPair, render, tabletop, zed_like
from dex_perception.cameras.uvc_source import Mode, Picture, V4l2Source, VideoFileSource
from dex_perception.cameras.zed import ZedCamera
from dex_perception.cameras.zed_sdk import sdk


def beside(name: str) -> Any:
    """A module that lies beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


conf_text = beside("make_conf").conf_text
Sl, ErrorCode = (getattr(beside("standin_sl"), name) for name in ("Sl", "ErrorCode"))
SIZE = (672, 376)
CONFIG = CameraConfig(driver="zed", native_wh=SIZE, crop_xywh=(0, 0, *SIZE), output_wh=SIZE, rate_hz=30.0, depth=True)


@pytest.fixture(scope="module")
def pair() -> StereoPair:
    return render(zed_like("VGA"), tabletop())


class PairSource:
    """Both eyes side by side, as a ZED on USB gives them, at once."""

    def __init__(self, pair: StereoPair) -> None:
        self.bgr = np.ascontiguousarray(np.hstack((pair.left, pair.right))[..., ::-1])
        self.count, self.open_, self.stamp_ns = 0, False, 0

    def open(self) -> None:
        self.open_ = True

    def take(self, timeout_s: float) -> Picture | None:
        if timeout_s <= 0.0:
            return None
        time.sleep(min(0.005, timeout_s))
        self.count += 1
        return Picture(self.bgr, time.time_ns(), self.count)

    def close(self) -> None:
        self.open_ = False

    def details(self) -> dict[str, str]:
        return {"device": "a pair"}


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "SN4711.conf"
    path.write_text(conf_text(), encoding="utf-8")
    return path


def stereo_config(calibration: Path, **changes: Any) -> CameraConfig:
    options = {"calibration": str(calibration), "shrink": 2} | changes.pop("options", {})
    return replace(CONFIG, address="/dev/v4l/by-id/usb-ZED-video-index0", options=options, **changes)


@pytest.fixture
def stereo(calibration: Path, pair: StereoPair) -> Iterator[ZedCamera]:
    camera = ZedCamera(stereo_config(calibration), source=PairSource(pair))
    yield camera
    camera.disconnect()


class TestContractWithoutTheSdk(CameraContract):
    @pytest.fixture
    def camera(self, stereo: ZedCamera) -> ZedCamera:
        return stereo

    def masks(self, frame: Any) -> tuple[np.ndarray, np.ndarray]:
        """The nearest box: blue, and less than 0.68 m away."""
        red, _green, blue = np.moveaxis(cv2.GaussianBlur(frame.rgb, (0, 0), 3.0).astype(int), 2, 0)
        near = frame.depth_m < 0.68
        window = np.zeros(near.shape, dtype=bool)
        window[150:320, 370:490] = True
        return window & (blue - red > 18), window & near


def test_pictures_and_depth_of_a_known_scene(stereo: ZedCamera, pair: StereoPair) -> None:
    stereo.connect()
    frame = stereo.next_frame(5.0)
    rectifier = Rectifier(zed_like("VGA"))
    assert np.array_equal(frame.rgb, rectifier(pair.left, pair.right)[0]), "the rectified left eye, red first"
    error = np.abs(frame.depth_m - pair.depth_m)
    known = np.isfinite(error)
    assert known.mean() > 0.9 and float(np.median(error[known])) < 0.010
    assert stereo.intrinsics().fx == pytest.approx(rectifier.intrinsics.fx) and not stereo.intrinsics().distortion


def test_that_depth_is_not_neural_is_said(stereo: ZedCamera) -> None:
    stereo.connect()
    report = stereo.report()
    assert report.warning == "depth: OpenCV SGBM, not neural" == f"depth: {report.values['depth']}"
    assert report.values["baseline_mm"] == "120.1" and report.values["calibration"].endswith("SN4711.conf") and report.values["device"] == "a pair"


def test_the_newest_is_matched_once_however_fast_pictures_come(calibration: Path, pair: StereoPair) -> None:
    class Flood(PairSource):
        def take(self, timeout_s: float) -> Picture:
            self.count += 1
            return Picture(self.bgr, time.time_ns(), self.count)

    source = Flood(pair)
    camera = ZedCamera(stereo_config(calibration), source=source)
    camera.connect()
    assert camera.newest_frame(5.0).sequence == 1 == source.count
    with pytest.raises(StaleError, match="newest picture of ZED"):
        camera.newest_frame(0.0)
    camera.disconnect()


def test_without_depth_nothing_is_matched(calibration: Path, pair: StereoPair) -> None:
    camera = ZedCamera(stereo_config(calibration, depth=False), source=PairSource(pair))
    camera.connect()
    assert camera.next_frame(1.0).depth_m is None and not camera.report().warning
    camera.disconnect()


def test_one_eye_alone_is_refused(calibration: Path, pair: StereoPair) -> None:
    source = PairSource(pair)
    source.bgr = source.bgr[:, :672]
    camera = ZedCamera(stereo_config(calibration), source=source)
    camera.connect()
    with pytest.raises(ShapeError, match="has 672 x 376 pixels; two eyes of 672 x 376 side by side make 1344 x 376"):
        camera.next_frame(1.0)
    camera.disconnect()


def test_a_side_by_side_video_plays(calibration: Path, pair: StereoPair, tmp_path: Path) -> None:
    path = tmp_path / "zed.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (1344, 376))
    for _ in range(3):
        writer.write(PairSource(pair).bgr)
    writer.release()
    camera = ZedCamera(replace(stereo_config(calibration, options={"rate": 0.0}), address=f"file:{path}"))
    camera.connect()
    depth = camera.next_frame(5.0).depth_m
    error = np.abs(depth - pair.depth_m)[np.isfinite(depth) & np.isfinite(pair.depth_m)]
    assert float(np.median(error)) < 0.015, "also through the video's compression"
    camera.disconnect()


def test_the_device_is_asked_for_both_eyes(calibration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Mode]] = []

    def opened(address: str, mode: Mode, *, rate: float, loop: bool) -> VideoFileSource:
        asked.append((address, mode))
        raise ConnectionLostError("not here")

    monkeypatch.setattr("dex_perception.cameras.zed_stereo.open_source", opened)
    with pytest.raises(ConnectionLostError):
        ZedCamera(stereo_config(calibration, rate_hz=20.0)).connect()
    assert asked == [("/dev/v4l/by-id/usb-ZED-video-index0", Mode(1344, 376, 30, "YUYV"))]


def test_a_camera_that_is_not_plugged_in(calibration: Path) -> None:
    with pytest.raises(ConnectionLostError, match="usb-ZED-video-index0 is not plugged in"):
        ZedCamera(stereo_config(calibration)).connect()


@pytest.mark.parametrize("changes, message", [
    ({"options": {"calibration": ""}}, "without the SDK a ZED needs its SN<serial>.conf"),
    ({"native_wh": (640, 480)}, "no pictures of 640x480"),
    ({"rate_hz": 120.0}, r"672x376 at \[15, 30, 60, 100\] Hz, not 120"),
    ({"options": {"neural": True}}, "options of the zed camera: unknown key 'neural'"),
])
def test_settings_are_checked(calibration: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZedCamera(stereo_config(calibration, **changes))


# -- through the SDK ----------------------------------------------------------------------------------------------------
@pytest.fixture
def sl() -> Any:
    return Sl()


class TestContractWithTheSdk(CameraContract):
    @pytest.fixture
    def camera(self, sl: Any) -> Iterator[ZedCamera]:
        camera = ZedCamera(replace(CONFIG, address="serial:4711"), sl=sl)
        yield camera
        camera.disconnect()


@pytest.fixture
def opened(sl: Any) -> Iterator[Any]:
    cameras: list[ZedCamera] = []

    def make(**changes: Any) -> ZedCamera:
        cameras.append(ZedCamera(replace(CONFIG, **changes), sl=sl))
        cameras[-1].connect()
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.disconnect()
    assert sl.closed >= len([p for p in sl.opened if sl.opens is ErrorCode.SUCCESS]), "every camera that was opened is closed"


def test_the_sdk_is_asked_for_metres_in_the_optical_frame(sl: Any, opened: Any) -> None:
    camera = opened(address="serial:4711", options={"depth_mode": "NEURAL_LIGHT", "nearest_m": 0.3, "farthest_m": 3.0})
    p = sl.opened[0]
    assert (p.serial, p.camera_resolution, p.camera_fps, p.depth_mode) == (4711, "VGA", 30, "NEURAL_LIGHT")
    assert (p.coordinate_units, p.coordinate_system, p.depth_minimum_distance, p.depth_maximum_distance) == ("METER", "IMAGE", 0.3, 3.0)
    frame = camera.next_frame(1.0)
    assert frame.rgb[0, 0].tolist()[1:] == [20, 10] and np.isnan(frame.depth_m[0, :4]).all() and frame.depth_m[1, 0] == 1.5
    values = camera.report().values
    assert values["depth"] == "NEURAL_LIGHT of the SDK" and values["serial"] == "4711" and values["stamps"] == "kernel, wall clock"


def test_without_depth_the_sdk_computes_none(sl: Any, opened: Any) -> None:
    camera = opened(address="serial:4711", depth=False)
    assert sl.opened[0].depth_mode == "NONE" and camera.next_frame(1.0).depth_m is None


def test_the_only_camera_needs_no_number(sl: Any, opened: Any) -> None:
    opened(address="")
    assert sl.opened[0].serial == 4711
    sl.serials = [1, 2]
    with pytest.raises(ConfigError, match=r"2 ZEDs are plugged in; give serial:<number>, one of \[1, 2\]"):
        opened(address="")
    sl.serials = []
    with pytest.raises(ConnectionLostError, match="no ZED is plugged in"):
        opened(address="")


def test_a_camera_that_does_not_open_says_why(sl: Any, opened: Any) -> None:
    sl.opens = ErrorCode.LOW_USB_BANDWIDTH
    with pytest.raises(DeviceError, match="ZED serial:4711: the USB port is too slow") as caught:
        opened(address="serial:4711")
    assert caught.value.device_code == 8


def test_unplugged_while_it_streams(sl: Any, opened: Any) -> None:
    camera = opened(address="serial:4711")
    camera.next_frame(1.0)
    sl.grabs = [ErrorCode.CAMERA_NOT_DETECTED]
    with pytest.raises(ConnectionLostError, match="no such camera is plugged in"):
        for _ in range(5):
            camera.next_frame(1.0)
    camera.connect()
    assert camera.next_frame(1.0).sequence >= 1


def test_warnings_are_told_and_damaged_pictures_left_out(sl: Any, opened: Any) -> None:
    sl.opens = ErrorCode.CONFIGURATION_FALLBACK
    sl.grabs = [ErrorCode.CORRUPTED_FRAME] * 3
    camera = opened(address="serial:4711")
    assert camera.next_frame(1.0).sequence >= 1
    report = camera.report()
    assert report.values["damaged"] == "3" and report.warning.startswith("the camera took the nearest settings it has")


def test_a_recording_plays_and_begins_anew_or_ends(sl: Any, opened: Any) -> None:
    sl.svo_frames = 3
    camera = opened(address="file:/data/run.svo2")
    assert sl.opened[0].svo == "/data/run.svo2" and sl.opened[0].svo_real_time_mode
    seen = {int(camera.next_frame(1.0).rgb[0, 0, 0]) for _ in range(12)}
    assert seen <= {1, 2, 3} and len(seen) > 1 and camera.report().values["stamps"] == "as if taken now"
    camera = opened(address="file:/data/run.svo2", options={"loop": False})
    with pytest.raises(DeviceError, match="the SVO file has ended") as caught:
        for _ in range(5):
            camera.next_frame(1.0)
    assert caught.value.code == "ended"


def test_a_recording_of_another_size_is_refused(sl: Any, opened: Any) -> None:
    sl.SIZES = sl.SIZES | {"VGA": (1280, 720)}
    with pytest.raises(ShapeError, match="gives 1280 x 720 pixels; the cell says 672 x 376"):
        opened(address="file:/data/run.svo2")


@pytest.mark.skipif(sdk() is not None, reason="Stereolabs' SDK is installed")
def test_without_the_sdk_it_is_said_what_to_do() -> None:
    with pytest.raises(ConfigError, match="pyzed, which are not installed; without them give the camera's path under /dev/v4l/by-id"):
        ZedCamera(replace(CONFIG, address="serial:4711"))


@pytest.mark.hardware
def test_a_real_zed() -> None:
    """The camera that is plugged in, at its smallest size."""
    sl = pytest.importorskip("pyzed.sl", reason="Stereolabs' SDK and its Python package are not installed; they need an NVIDIA graphics card")
    if not sl.Camera.get_device_list():
        pytest.skip("no ZED is plugged in")
    camera = ZedCamera(replace(CONFIG, address="", options={"depth_mode": "NEURAL_LIGHT"}))
    camera.connect()
    frames = [camera.next_frame(5.0) for _ in range(5)]
    assert all(frame.rgb.shape == (376, 672, 3) and np.isfinite(frame.depth_m).any() for frame in frames)
    camera.disconnect()


def test_a_pulled_cable_on_usb(calibration: Path, pair: StereoPair, tmp_path: Path) -> None:
    """The stereo camera over the real V4L2 source: what that source says reaches the reader."""
    scripted = beside("scripted_capture")
    node = tmp_path / "usb-ZED-video-index0"
    node.touch()
    capture = scripted.ScriptedCapture([(1344, 376, 30.0, "YUYV")])
    camera = ZedCamera(stereo_config(calibration), source=V4l2Source(node, Mode(1344, 376, 30.0, "YUYV"), lambda _path, _backend: capture))
    camera.connect()
    assert camera.next_frame(5.0).rgb.shape == (376, 672, 3) and camera.report().values["stamps"] == "kernel, monotonic clock"
    node.unlink()
    capture.unplugged.set()
    with pytest.raises(ConnectionLostError, match="was unplugged"):
        for _ in range(3):
            camera.next_frame(1.0)
    camera.disconnect()
