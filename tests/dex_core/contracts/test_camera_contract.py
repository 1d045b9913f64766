# SPDX-License-Identifier: Apache-2.0
"""The suite that every camera inherits passes a camera that keeps its word and finds what is wrong with one that does not."""
from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from dex_core.contracts.camera import READINGS, CameraContract
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConnectionLostError, DexError, StaleError

PERIOD_S = 0.004
RED = np.array([255, 0, 0], dtype=np.uint8)
SQUARE = (slice(6, 18), slice(8, 24))


class Good(PulledCamera):
    """A red square 0.5 m in front of a grey wall 1 m away; a column without depth."""

    name = "a good camera"
    depth_value, unknown = 0.5, np.nan

    def __init__(self) -> None:
        self.open, self.sequence = False, 0

    def connect(self) -> None:
        self.open, self.sequence = True, 0

    def intrinsics(self) -> Intrinsics:
        return Intrinsics(32, 24, 30.0, 30.0, 15.5, 11.5)

    def pull(self, timeout_s: float) -> Frame | None:
        if not self.open:
            raise ConnectionLostError(f"{self.name} is not connected")
        if timeout_s < PERIOD_S:
            return None
        time.sleep(PERIOD_S)
        self.sequence += 1
        return self.expose()

    def expose(self) -> Frame:
        rgb = np.full((24, 32, 3), 90, dtype=np.uint8)
        depth = np.ones((24, 32), dtype=np.float32)
        rgb[SQUARE], depth[SQUARE], depth[:, 0] = RED, self.depth_value, self.unknown
        for array in (rgb, depth):
            array.setflags(write=False)
        return Frame(rgb, depth, time.time_ns(), self.sequence)

    def report(self) -> CameraReport:
        return CameraReport({"serial": "1"})

    def disconnect(self) -> None:
        self.open = False
        self.forget()


class RedSquare(CameraContract):
    def masks(self, frame):
        return (frame.rgb == RED).all(axis=2), frame.depth_m < 0.75


class TestGoodCamera(RedSquare):
    @pytest.fixture
    def camera(self):
        camera = Good()
        yield camera
        camera.disconnect()


def changed(camera: PulledCamera, **changes: object) -> Callable[[], Frame]:
    """``expose`` whose frame differs in the attributes given, each a function of the true frame."""
    true = camera.expose

    def expose() -> Frame:
        frame = true()
        return Frame(**{**vars(frame), **{key: change(frame) for key, change in changes.items()}})

    return expose


def writable(frame: Frame) -> np.ndarray:
    return frame.rgb.copy()


FLAWS = {
    "a sequence that stands still": (
        {"sequence": lambda f: 1}, lambda suite, camera: suite.test_next_frame_returns_each_exposure_once(camera)),
    "pixels that can be written": ({"rgb": writable}, lambda suite, camera: suite.test_next_frame_returns_each_exposure_once(camera)),
    "zero where depth is unknown": (
        {"depth_m": lambda f: np.nan_to_num(f.depth_m)}, lambda suite, camera: suite.test_next_frame_returns_each_exposure_once(camera)),
    "depth in double precision": (
        {"depth_m": lambda f: f.depth_m.astype(float)}, lambda suite, camera: suite.test_next_frame_returns_each_exposure_once(camera)),
    "depth that was not asked for": (
        {"depth_m": lambda f: None}, lambda suite, camera: suite.test_next_frame_returns_each_exposure_once(camera)),
    "depth of another lens": (
        {"depth_m": lambda f: np.roll(f.depth_m, 3, axis=1)}, lambda suite, camera: suite.test_depth_lies_on_the_colour_it_belongs_to(camera)),
    "pictures of another size": (
        {"rgb": lambda f: f.rgb[:20]}, lambda suite, camera: suite.test_intrinsics_are_those_of_the_picture(camera)),
    "stamps of the monotonic clock": (
        {"stamp_ns": lambda f: time.monotonic_ns()}, lambda suite, camera: suite.test_a_live_exposure_is_stamped_with_the_wall_clock(camera)),
    "stamps of tomorrow": (
        {"stamp_ns": lambda f: f.stamp_ns + 10**14}, lambda suite, camera: suite.test_newest_frame_refuses_what_is_older_than_asked(camera)),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_of_the_frames_is_found(flaw: str) -> None:
    changes, check = FLAWS[flaw]
    suite, camera = RedSquare(), Good()
    check(suite, camera)
    camera.disconnect()
    camera.expose = changed(camera, **changes)  # type: ignore[method-assign]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(suite, camera)


@pytest.mark.parametrize("method, replacement, check", [
    ("disconnect", lambda camera: None, "test_after_disconnect_nothing_of_the_old_connection_is_left"),
    ("next_frame", lambda camera, timeout_s: camera.expose(), "test_before_connect_every_reading_says_that_there_is_no_device"),
])
def test_a_camera_that_is_never_closed_is_found(method: str, replacement: Callable, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Good, method, replacement)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(RedSquare(), check)(Good(), "next_frame")


def test_a_wait_without_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Good, "frame_after", lambda camera, stamp_ns, timeout_s: camera.next_frame(timeout_s))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        RedSquare().test_frame_after_gives_up_at_its_deadline(Good())


def test_no_exposure_yet_is_refused_and_the_name_is_said() -> None:
    camera = Good()
    camera.connect()
    with pytest.raises(StaleError, match="newest picture of a good camera is inf ms old"):
        camera.newest_frame(1.0)


def test_every_kind_of_reading_is_tried() -> None:
    for read in READINGS.values():
        with pytest.raises(DexError, match="not connected"):
            read(Good())
