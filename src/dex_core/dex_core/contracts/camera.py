# SPDX-License-Identifier: Apache-2.0
"""What every Camera must do. Inherit the class in a test file and give it a fixture ``camera``:

    class TestMyCamera(CameraContract):
        @pytest.fixture
        def camera(self):
            camera = MyCamera(...)
            yield camera
            camera.disconnect()

The camera must be reachable, exposing, and not yet connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.devices.camera import DISTORTION_SIZES, Camera, CameraReport, Frame, Intrinsics, ReportingCamera
from dex_core.errors import DeadlineError, DeviceError, DexError, StaleError

Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
READINGS: dict[str, Callable[[Camera], Frame]] = {
    "next_frame": lambda camera: camera.next_frame(0.2),
    "newest_frame": lambda camera: camera.newest_frame(1.0),
    "frame_after": lambda camera: camera.frame_after(0, 0.2),
}


class CameraContract:
    """Numbers and facts that a subclass may change.

    Attributes:
        timeout_s: longest wait for an exposure of a camera that works.
        depth: whether its frames carry depth.
        live: its stamps are of now; False for a recording that keeps the recorded ones.
        latency_s: oldest that a live exposure may be when ``next_frame`` returns it.
        ahead_s: how far a stamp may lie ahead of the host's clock: the error of mapping the device's clock.
        iou: how well the two masks of :meth:`masks` must agree.
    """

    timeout_s = 5.0
    depth = True
    live = True
    latency_s = 1.0
    ahead_s = 0.005
    iou = 0.9

    def masks(self, frame: Frame) -> Masks | None:
        """Two (H, W) masks of one object in view, by its colour and by its depth; None where the scene has none to tell by both."""
        return None

    # -- connection -----------------------------------------------------------------------------------------------------
    def test_is_a_camera(self, camera: Camera) -> None:
        assert isinstance(camera, Camera)

    @pytest.mark.parametrize("reading", READINGS)
    def test_before_connect_every_reading_says_that_there_is_no_device(self, camera: Camera, reading: str) -> None:
        with pytest.raises(DeviceError):
            READINGS[reading](camera)

    @pytest.mark.parametrize("reading", READINGS)
    def test_after_disconnect_nothing_of_the_old_connection_is_left(self, camera: Camera, reading: str) -> None:
        camera.connect()
        camera.next_frame(self.timeout_s)
        camera.disconnect()
        with pytest.raises(DeviceError):
            READINGS[reading](camera)

    def test_disconnect_any_number_of_times_and_connect_again(self, camera: Camera) -> None:
        camera.disconnect()
        camera.connect()
        camera.disconnect()
        camera.disconnect()
        camera.connect()
        self.check_frame(camera, camera.next_frame(self.timeout_s))

    # -- three kinds of reading -----------------------------------------------------------------------------------------
    def test_next_frame_returns_each_exposure_once(self, camera: Camera) -> None:
        camera.connect()
        frames = [camera.next_frame(self.timeout_s) for _ in range(6)]
        for earlier, later in zip(frames[:-1], frames[1:], strict=True):
            assert later.sequence > earlier.sequence and later.stamp_ns > earlier.stamp_ns
        for frame in frames:
            self.check_frame(camera, frame)

    def test_next_frame_does_not_return_what_another_reading_returned(self, camera: Camera) -> None:
        camera.connect()
        first = camera.next_frame(self.timeout_s)
        newest = camera.frame_after(first.stamp_ns + 1, self.timeout_s)
        assert camera.next_frame(self.timeout_s).sequence > newest.sequence > first.sequence

    def test_newest_frame_is_there_at_once_and_never_older_than_the_last(self, camera: Camera) -> None:
        camera.connect()
        last = camera.next_frame(self.timeout_s)
        newest = camera.newest_frame(self.oldest_s(last))
        assert newest.sequence >= last.sequence and newest.stamp_ns >= last.stamp_ns
        self.check_frame(camera, newest)

    def test_newest_frame_refuses_what_is_older_than_asked(self, camera: Camera) -> None:
        camera.connect()
        camera.next_frame(self.timeout_s)
        with pytest.raises(StaleError):
            camera.newest_frame(-self.ahead_s)

    def test_newest_frame_before_the_first_is_fresh_or_refused(self, camera: Camera) -> None:
        camera.connect()
        try:
            frame = camera.newest_frame(self.latency_s)
        except StaleError:
            return
        self.check_frame(camera, frame)

    def test_frame_after_waits_for_an_exposure_of_then_or_later(self, camera: Camera) -> None:
        camera.connect()
        last = camera.next_frame(self.timeout_s)
        assert camera.frame_after(last.stamp_ns, self.timeout_s).stamp_ns >= last.stamp_ns
        wanted_ns = last.stamp_ns + 1
        assert camera.frame_after(wanted_ns, self.timeout_s).stamp_ns >= wanted_ns

    def test_frame_after_gives_up_at_its_deadline(self, camera: Camera) -> None:
        camera.connect()
        last = camera.next_frame(self.timeout_s)
        start = time.monotonic()
        with pytest.raises(DeadlineError):
            camera.frame_after(last.stamp_ns + 3600 * NS, 0.2)
        assert 0.15 < time.monotonic() - start < 0.2 + self.timeout_s

    # -- what a frame is ------------------------------------------------------------------------------------------------
    def test_intrinsics_are_those_of_the_picture(self, camera: Camera) -> None:
        camera.connect()
        inner, frame = camera.intrinsics(), camera.next_frame(self.timeout_s)
        assert isinstance(inner, Intrinsics)
        assert (inner.height, inner.width) == frame.rgb.shape[:2]
        assert inner.fx > 0.0 and inner.fy > 0.0
        assert 0.0 < inner.cx < inner.width and 0.0 < inner.cy < inner.height
        assert len(inner.distortion) in DISTORTION_SIZES
        assert inner.matrix.shape == (3, 3) and inner.matrix[0, 2] == inner.cx

    def test_a_live_exposure_is_stamped_with_the_wall_clock(self, camera: Camera) -> None:
        if not self.live:
            pytest.skip("a recording keeps its stamps")
        camera.connect()
        for _ in range(3):
            frame = camera.next_frame(self.timeout_s)
            age_s = (time.time_ns() - frame.stamp_ns) / NS
            assert -self.ahead_s <= age_s <= self.latency_s

    def test_depth_lies_on_the_colour_it_belongs_to(self, camera: Camera) -> None:
        camera.connect()
        masks = self.masks(camera.next_frame(self.timeout_s))
        if masks is None:
            pytest.skip("no object in view is told by colour and by depth")
        by_colour, by_depth = masks
        assert by_colour.any() and by_depth.any()
        assert (by_colour & by_depth).sum() / (by_colour | by_depth).sum() >= self.iou

    def test_a_report_says_something(self, camera: Camera) -> None:
        if not isinstance(camera, ReportingCamera):
            pytest.skip("this camera has nothing to report")
        assert isinstance(camera.report(), CameraReport), "also before connect"
        camera.connect()
        camera.next_frame(self.timeout_s)
        report = camera.report()
        assert report.values and all(isinstance(text, str) for item in report.values.items() for text in item)

    def test_every_error_is_one_that_this_project_raises_on_purpose(self, camera: Camera) -> None:
        camera.connect()
        for reading in (lambda: camera.next_frame(0.0), lambda: camera.newest_frame(0.0), lambda: camera.frame_after(time.time_ns(), 0.0)):
            try:
                self.check_frame(camera, reading())
            except DexError as error:
                assert str(error) and error.code

    def oldest_s(self, frame: Frame) -> float:
        """An age that ``frame`` has for as long as a working camera needs for the next one."""
        return (time.time_ns() - frame.stamp_ns) / NS + self.timeout_s

    def check_frame(self, camera: Camera, frame: Frame) -> None:
        """Types, shapes, and what depth is where it is unknown."""
        inner = camera.intrinsics()
        assert frame.rgb.dtype == np.uint8 and frame.rgb.shape == (inner.height, inner.width, 3)
        assert not frame.rgb.flags.writeable
        assert isinstance(frame.stamp_ns, int) and isinstance(frame.sequence, int)
        assert (frame.depth_m is not None) == self.depth
        if frame.depth_m is None:
            return
        assert frame.depth_m.dtype == np.float32 and frame.depth_m.shape == frame.rgb.shape[:2]
        assert not frame.depth_m.flags.writeable
        known = frame.depth_m[~np.isnan(frame.depth_m)]
        assert known.size and np.isfinite(known).all() and known.min() > 0.0, "unknown depth is NaN: not zero, negative or infinite"
