# SPDX-License-Identifier: Apache-2.0
"""A recording as a camera: the contract, pace, passes, pairing, lenses, and what is said of recordings that cannot be used."""
from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dex_core.config import CameraConfig
from dex_core.contracts.camera import CameraContract
from dex_core.devices.camera import Frame
from dex_core.errors import ConfigError, DeviceError, DexError, ShapeError
from dex_eval.bag_writer import BagWriter
from dex_perception.camera_worker import CameraWorker
from dex_perception.cameras.bag import BagCamera
from dex_perception.frame_watch import FrameWatch

spec = importlib.util.spec_from_file_location("make_bag", Path(__file__).with_name("make_bag.py"))
make_bag = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_bag)  # type: ignore[union-attr]
FRAMES = 8


def config(path: Path, depth: bool = True, **options: Any) -> CameraConfig:
    size = (make_bag.WIDTH, make_bag.HEIGHT)
    return replace(CameraConfig(), driver="bag", address=f"file:{path}", native_wh=size, crop_xywh=(0, 0, *size), output_wh=size, depth=depth,
                   options=options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bag.realsense(tmp_path / "run", FRAMES)


@pytest.fixture
def opened() -> Iterator[Callable[..., BagCamera]]:
    cameras: list[BagCamera] = []

    def make(path: Path, **settings: Any) -> BagCamera:
        cameras.append(BagCamera(config(path, **settings)))
        cameras[-1].connect()
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.disconnect()


class TestContract(CameraContract):
    timeout_s = 1.0

    @pytest.fixture
    def camera(self, folder: Path) -> Iterator[BagCamera]:
        camera = BagCamera(config(folder))
        yield camera
        camera.disconnect()


class TestContractUnpaced(CameraContract):
    timeout_s = 1.0

    @pytest.fixture
    def camera(self, folder: Path) -> Iterator[BagCamera]:
        camera = BagCamera(config(folder, rate=0.0))
        yield camera
        camera.disconnect()


class TestContractColourWithRecordedStamps(CameraContract):
    timeout_s = 1.0
    depth = False
    live = False

    @pytest.fixture
    def camera(self, tmp_path: Path) -> Iterator[BagCamera]:
        camera = BagCamera(config(make_bag.realsense(tmp_path / "run", 100, 5_000_000), depth=False, stamps="recorded", loop=False))
        yield camera
        camera.disconnect()


def test_every_exposure_whole_and_as_recorded(folder: Path, opened: Callable[..., BagCamera]) -> None:
    camera = opened(folder, rate=0.0, loop=False, stamps="recorded")
    for k in range(FRAMES):
        frame = camera.next_frame(1.0)
        assert np.array_equal(frame.rgb, make_bag.rgb_of(k))
        assert np.isnan(frame.depth_m[0, :5]).all() and frame.depth_m[1:] == pytest.approx((1000 + k) * 1e-3, abs=1e-6)
        assert frame.stamp_ns == make_bag.FIRST_NS + k * 20_000_000 and frame.sequence == k + 1
    with pytest.raises(DeviceError, match="recording run has ended; options loop: true") as caught:
        camera.next_frame(1.0)
    assert caught.value.code == "ended"
    with pytest.raises(DeviceError, match="has ended"):
        camera.connect()


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_recorded_intervals_are_kept_times_the_rate(tmp_path: Path, opened: Callable[..., BagCamera], rate: float) -> None:
    camera = opened(make_bag.realsense(tmp_path / "run", 6, 80_000_000), rate=rate, loop=False)
    start = time.monotonic()
    frames = [camera.next_frame(1.0) for _ in range(6)]
    assert 0.4 / rate - 0.01 <= time.monotonic() - start
    if [frame.sequence for frame in frames] == list(range(1, 7)):  # a machine that was away for an interval skips one, as a device would
        assert np.diff([frame.stamp_ns for frame in frames]) == pytest.approx(80e6 / rate, abs=2e6)


def test_who_comes_late_gets_the_newest_that_is_due(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    camera = opened(make_bag.realsense(tmp_path / "run", 200, 5_000_000), loop=False)
    first = camera.next_frame(1.0)
    time.sleep(0.12)
    second = camera.next_frame(1.0)
    assert second.sequence - first.sequence >= 20 and second.rgb[0, 0, 0] == second.sequence - 1
    assert int(camera.report().values["skipped"]) >= 19
    assert camera.newest_frame(0.5).sequence >= second.sequence


def test_unpaced_nothing_is_skipped_and_only_waiting_calls_move_it_on(folder: Path, opened: Callable[..., BagCamera]) -> None:
    camera = opened(folder, rate=0.0)
    first = camera.next_frame(0.1)
    assert camera.newest_frame(10.0) is first
    assert [camera.next_frame(0.1).sequence for _ in range(3)] == [2, 3, 4]


def test_passes_follow_each_other_in_time(folder: Path, opened: Callable[..., BagCamera]) -> None:
    camera = opened(folder, rate=5.0)
    frames = [camera.next_frame(1.0) for _ in range(3 * FRAMES)]
    assert np.all(np.diff([frame.stamp_ns for frame in frames]) > 0) and np.all(np.diff([frame.sequence for frame in frames]) > 0)
    assert int(camera.report().values["passes"]) >= 2
    shown = [frame.rgb[0, 0, 0] for frame in frames]
    assert all((frame.sequence - 1) % FRAMES == which for frame, which in zip(frames, shown, strict=True))


def test_halves_of_exposures_are_left_out_and_counted(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    missing = {("depth", 2), ("colour", 4), ("depth", 7)}
    folder = make_bag.realsense(tmp_path / "run", FRAMES, edit=lambda kind, k, value: None if (kind, k) in missing else value)
    camera = opened(folder, rate=0.0, loop=False)
    assert [camera.next_frame(1.0).rgb[0, 0, 0] for _ in range(5)] == [0, 1, 3, 5, 6]
    with pytest.raises(DeviceError, match="has ended"):
        camera.next_frame(1.0)
    assert camera.report().values["unpaired"] == "3"


def test_depth_a_little_apart_pairs_within_the_tolerance(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    def late(kind: str, k: int, value: Any) -> Any:
        return make_bag.image(make_bag.FIRST_NS + k * 20_000_000 + 6_000_000, make_bag.depth_mm_of(k), "16UC1") if kind == "depth" else value

    folder = make_bag.realsense(tmp_path / "run", FRAMES, edit=late)
    with pytest.raises(DeviceError, match="no whole exposure .* none within 0.005 s of depth .*16 left out"):
        opened(folder)
    frame = opened(folder, rate=0.0, pair_within_s=0.008).next_frame(1.0)
    assert frame.depth_m[5, 5] == pytest.approx(1.0)


def test_each_frame_has_the_lens_of_its_time(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    def zoomed(kind: str, k: int, value: Any) -> Any:
        stamp_ns = make_bag.FIRST_NS + k * 20_000_000
        return make_bag.info(stamp_ns, fx=40.0 + k, d=(0.1, -0.2, 0.001, 0.002, 0.03)) if kind == "info" else value

    camera = opened(make_bag.realsense(tmp_path / "run", FRAMES, edit=zoomed), rate=0.0)
    assert camera.intrinsics().fx == 40.0, "known before the first frame is fetched"
    for k in range(FRAMES):
        camera.next_frame(1.0)
        assert camera.intrinsics().fx == 40.0 + k and camera.intrinsics().distortion == (0.1, -0.2, 0.001, 0.002, 0.03)


def test_one_lens_for_the_whole_recording_is_enough(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    folder = make_bag.realsense(tmp_path / "run", FRAMES, edit=lambda kind, k, value: None if kind == "info" and k != 3 else value)
    camera = opened(folder, rate=0.0, loop=False)
    assert [camera.next_frame(1.0).sequence for _ in range(FRAMES)] == list(range(1, FRAMES + 1))


def test_a_lens_of_another_size_is_refused(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    def wrong(kind: str, k: int, value: Any) -> Any:
        return make_bag.info(make_bag.FIRST_NS + k * 20_000_000, size=(64, 48)) if kind == "info" else value

    camera = opened(make_bag.realsense(tmp_path / "run", FRAMES, edit=wrong), rate=0.0)
    with pytest.raises(DeviceError, match="has 32 x 24 pixels, its CameraInfo says 64 x 48") as caught:
        camera.next_frame(1.0)
    assert caught.value.code == "camera_info_mismatch"


def test_a_picture_that_is_none_is_refused_and_the_next_one_read(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    def wrong(kind: str, k: int, value: Any) -> Any:
        if kind == "depth" and k == 1:
            return make_bag.image(make_bag.FIRST_NS + 20_000_000, make_bag.rgb_of(1), "rgb8")
        return value

    camera = opened(make_bag.realsense(tmp_path / "run", FRAMES, edit=wrong), rate=0.0)
    camera.next_frame(1.0)
    with pytest.raises(ShapeError, match="depth picture with encoding 'rgb8'"):
        camera.next_frame(1.0)
    assert camera.next_frame(1.0).rgb[0, 0, 0] == 2


@pytest.mark.parametrize("drop, options, message", [
    ("depth", {}, "has no '/camera/camera/aligned_depth_to_color/image_raw', the depth aligned to .*color/image_raw'; .*depth: false; "
                  "pictures in it: .*/camera/camera/color/camera_info"),
    ("colour", {}, "no colour picture under a name that is known .* name one with colour_topic; pictures in it: .*aligned_depth"),
    ("info", {}, "no CameraInfo beside '/camera/camera/color/image_raw'; name one with info_topic"),
    ("", {"colour_topic": "/nowhere"}, "topic '/nowhere' is not in the recording; needed is sensor_msgs/msg/Image or"),
    ("", {"info_topic": "/rosout_text"}, "topic '/rosout_text' is std_msgs/msg/String; needed is sensor_msgs/msg/CameraInfo"),
])
def test_missing_topics_are_named_beside_those_there_are(tmp_path: Path, drop: str, options: dict, message: str) -> None:
    folder = make_bag.realsense(tmp_path / "run", 2, edit=lambda kind, _k, value: None if kind == drop else value)
    with pytest.raises(DexError, match=message):
        BagCamera(config(folder, **options)).connect()


@pytest.mark.parametrize("options, message", [
    ({"stamps": "recorded"}, "loop would send recorded stamps back in time"),
    ({"rat": 1.0}, "options of the bag camera: unknown key 'rat'; allowed: .*'rate'"),
    ({"rate": -1.0}, "rate is -1.0; allowed 0.0 to 100.0"),
])
def test_options_are_checked(folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BagCamera(config(folder, **options))


def test_an_address_is_needed(folder: Path) -> None:
    with pytest.raises(ConfigError, match="file:<path of the recording>"):
        BagCamera(replace(config(folder), address=""))


def test_two_cameras_must_be_told_apart(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    recording = make_bag.Recording()
    for side, k in (("left", 1), ("right", 2)):
        recording.add(f"/{side}/color/image_raw", make_bag.IMAGE, make_bag.image(make_bag.FIRST_NS, make_bag.rgb_of(k), "rgb8"), make_bag.FIRST_NS)
        recording.add(f"/{side}/color/camera_info", make_bag.INFO, make_bag.info(make_bag.FIRST_NS), make_bag.FIRST_NS)
    folder = recording.write(tmp_path / "two")
    with pytest.raises(ConfigError, match=r"2 cameras; name one of \['/left/color/image_raw', '/right/color/image_raw'\] with colour_topic"):
        opened(folder, depth=False)
    assert opened(folder, depth=False, colour_topic="/right/color/image_raw").next_frame(1.0).rgb[0, 0, 0] == 2


def test_a_recording_cut_before_its_first_flush_holds_nothing(folder: Path, opened: Callable[..., BagCamera]) -> None:
    file = next(folder.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DeviceError, match="there are no pictures in it, only nothing"):
        opened(file)


def test_of_a_cut_end_what_was_flushed_is_played(tmp_path: Path, opened: Callable[..., BagCamera]) -> None:
    """Without the index that a whole file has at its end."""
    file = next(make_bag.realsense(tmp_path / "run", 60).glob("*.mcap"))
    data = file.read_bytes()
    file.write_bytes(data[: data.rindex(b"/camera/camera/color/image_raw")])  # in the index at the end
    camera = opened(file, rate=0.0, loop=False)
    assert [camera.next_frame(1.0).sequence for _ in range(60)] == list(range(1, 61))
    assert camera.report().warning == "the end of the recording was cut off"


def recorded_by_the_stack(folder: Path, frames: int, whole: bool) -> Path:
    """Written as ``dex record`` writes, in LZ4 chunks; not ``whole``: the process was killed."""
    types = make_bag.TYPES
    writer = BagWriter(folder)
    names = {"/camera/color/image_raw": make_bag.IMAGE, "/camera/color/camera_info": make_bag.INFO,
             "/camera/aligned_depth_to_color/image_raw": make_bag.IMAGE}
    for topic, type_name in names.items():
        writer.add_topic(topic, type_name, [])
    for k in range(frames):
        stamp_ns = make_bag.FIRST_NS + k * 10_000_000
        metres = make_bag.depth_mm_of(k).astype(np.float32) * np.float32(1e-3)
        metres[metres == 0.0] = np.nan
        for topic, value in zip(names, (make_bag.image(stamp_ns, make_bag.rgb_of(k), "rgb8"), make_bag.info(stamp_ns),
                                        make_bag.image(stamp_ns, metres, "32FC1")), strict=True):
            writer.write(topic, bytes(types.serialize_cdr(value, names[topic])), stamp_ns, stamp_ns)
        writer.flush()
    writer.close() if whole else writer.abandon()
    return folder


@pytest.mark.parametrize("whole", [True, False])
def test_what_this_stack_records_plays(tmp_path: Path, opened: Callable[..., BagCamera], whole: bool) -> None:
    camera = opened(recorded_by_the_stack(tmp_path / "run", 20, whole), rate=0.0, loop=False)
    for k in range(20):
        frame = camera.next_frame(1.0)
        assert np.array_equal(frame.rgb, make_bag.rgb_of(k)) and np.isnan(frame.depth_m[0, 0])
        assert frame.depth_m[1:] == pytest.approx((1000 + k) * 1e-3, abs=1e-6)
    with pytest.raises(DeviceError, match="has ended"):
        camera.next_frame(1.0)
    assert bool(camera.report().warning) != whole


def test_through_the_worker_and_the_watch_of_the_camera_node(folder: Path) -> None:
    """Played pictures pass every check that a live camera's do: none is late, of the future, repeated or frozen."""
    watch, passed = FrameWatch(max_age_s=0.25), threading.Event()

    def judged(frame: Frame) -> None:
        if not watch.judge(frame, frame.rgb, time.time_ns()) and watch.passed >= 3 * FRAMES:
            passed.set()

    worker = CameraWorker(BagCamera(config(folder)), 120.0, judged, lambda inner: watch.restart())
    worker.start()
    try:
        assert passed.wait(10.0)
    finally:
        worker.stop()
    assert not {reason: count for reason, count in watch.refused.items() if count} and worker.connects == 1
