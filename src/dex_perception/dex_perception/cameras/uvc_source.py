# SPDX-License-Identifier: Apache-2.0
"""Where pictures come from: a V4L2 device through OpenCV, or a video file that is played like one."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras.replay import Player
from dex_perception.cameras.uvc_device import exposure_time
from dex_perception.cameras.uvc_reader import NewestReader

BUFFERS = 2
"""One to fill while the other is decoded: with a single one the driver drops every second picture. The reader leaves none to wait in it."""
LEAST_RATE = 0.9
"""A driver that offers less of the rate asked for is refused."""


class Picture(NamedTuple):
    """One picture as OpenCV gives it: (H, W, 3) uint8 BGR, wall-clock time of its exposure [ns], number since the source was opened."""

    bgr: NDArray[np.uint8]
    stamp_ns: int
    sequence: int


class PictureSource(Protocol):
    """Opens, hands out pictures, closes; used from one thread."""

    def open(self) -> None:
        """Raises DeviceError or ConfigError."""
        ...

    def take(self, timeout_s: float) -> Picture | None:
        """A picture that was not handed out yet; None when none came in time. Raises DeviceError: the source is gone."""
        ...

    def close(self) -> None:
        """Any number of times."""
        ...

    def details(self) -> dict[str, str]:
        """For diagnostics; from any thread."""
        ...


@dataclass(frozen=True)
class Mode:
    """What is asked of a device: size [px], rate [Hz], pixel format as four characters."""

    width: int
    height: int
    fps: float
    fourcc: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.fourcc} at {self.fps:g} Hz"


class V4l2Source:
    """The newest picture of a V4L2 device.

    Args:
        path: stable path of the device.
        mode: the device must give exactly this.
        open_capture: makes the cv2.VideoCapture.
    """

    def __init__(self, path: Path, mode: Mode, open_capture: Callable[[str, int], Any] = cv2.VideoCapture) -> None:
        self._path, self._mode, self._open_capture = path, mode, open_capture
        self._reader: NewestReader[Picture] | None = None
        self._stamps = ""

    def open(self) -> None:
        """Opens and sets the device, and starts to read.

        Raises:
            ConnectionLostError: not plugged in. DeviceError: no permission, in use, or no capture device. ConfigError: it has no such mode.
        """
        self.close()
        capture = self._opened()
        try:
            _set(capture, self._mode, self._path)
        except ConfigError:
            capture.release()
            raise
        numbers = itertools.count(1)
        self._reader = NewestReader(f"camera {self._path.name}", lambda: self._read(capture, numbers), capture.release)
        self._reader.start()

    def take(self, timeout_s: float) -> Picture | None:
        """The newest picture not handed out yet. Raises ConnectionLostError: not open, unplugged, or the driver has stopped."""
        if self._reader is None:
            raise ConnectionLostError(f"camera {self._path.name} is not open")
        newest = self._reader.take(timeout_s)
        if newest is None and not self._path.exists():
            raise self._gone()
        return newest

    def close(self) -> None:
        """Lets the device go; one that hangs in its driver goes when OpenCV gives up on it, after 10 s."""
        if self._reader is not None:
            self._reader.stop()
        self._reader = None

    def details(self) -> dict[str, str]:
        """Device, mode, where the stamps come from, and how many pictures gave way to a newer one."""
        dropped = self._reader.dropped if self._reader else 0
        return {"device": str(self._path), "mode": str(self._mode), "stamps": self._stamps or "none yet", "dropped": str(dropped)}

    def _opened(self) -> Any:
        real = self._path.resolve()
        if not real.exists():
            raise self._gone()
        if not os.access(real, os.R_OK | os.W_OK):
            raise DeviceError(f"{self._path} ({real}) may not be opened by this user; add the user to the group 'video' and log in again",
                              code="permission_denied")
        capture = self._open_capture(str(real), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise DeviceError(f"{self._path} ({real}) does not open: another program has it, or it gives no pictures (a camera's second node, "
                              "video-index1, carries only metadata)", code="device_busy")
        return capture

    def _read(self, capture: Any, numbers: Iterator[int]) -> Picture:
        try:
            good, bgr = capture.read()
        except cv2.error as error:
            raise ConnectionLostError(f"camera {self._path.name}: OpenCV cannot read its pictures: {error}") from error
        monotonic_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if not good:
            raise ConnectionLostError(f"camera {self._path.name} has stopped: its driver gives no pictures") if self._path.exists() else self._gone()
        exposure = exposure_time(capture.get(cv2.CAP_PROP_POS_MSEC), monotonic_ns, wall_ns)
        self._stamps = exposure.source
        return Picture(bgr, exposure.stamp_ns, next(numbers))

    def _gone(self) -> ConnectionLostError:
        return ConnectionLostError(f"camera {self._path.name} was unplugged")


class VideoFileSource:
    """A video file, played at its own intervals.

    Args:
        path: anything that OpenCV reads.
        rate: of time, 0 for as fast as it is asked for. loop: begins anew at the end.
    """

    def __init__(self, path: Path, *, rate: float = 1.0, loop: bool = True) -> None:
        self._path, self._rate = path, rate
        self._player: Player[Picture] = Player(f"video {path.name}", self._one_pass, rate=rate, loop=loop)

    def open(self) -> None:
        """Raises DeviceError: there is no such file, it is no video, or it has ended."""
        self._player.start()

    def take(self, timeout_s: float) -> Picture | None:
        """The newest picture that is due. Raises DeviceError: ``ended``, or not open."""
        played = self._player.take(timeout_s)
        return None if played is None else Picture(played.item.bgr, played.stamp_ns, played.sequence)

    def close(self) -> None:
        """Any number of times."""
        self._player.stop()

    def details(self) -> dict[str, str]:
        """File, rate of time, passes."""
        return {"video": str(self._path), "rate": f"{self._rate:g}", "passes": str(self._player.passes), "skipped": str(self._player.skipped)}

    def _one_pass(self) -> Iterator[Picture]:
        if not self._path.is_file():
            raise DeviceError(f"video {self._path} does not exist", code="video_missing")
        capture = cv2.VideoCapture(str(self._path))
        sequence = 0
        try:
            while True:
                good, bgr = capture.read()
                if not good:
                    break
                sequence += 1
                yield Picture(bgr, round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), sequence)
        finally:
            capture.release()
        if not sequence:
            raise DeviceError(f"{self._path} is no video that OpenCV reads", code="video_malformed")


def _set(capture: Any, mode: Mode, path: Path) -> None:
    """Asks for the mode and looks at what came of it: drivers take the nearest they have and say nothing. Raises ConfigError."""
    for key, value in (
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*mode.fourcc)), (cv2.CAP_PROP_FRAME_WIDTH, mode.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, mode.height), (cv2.CAP_PROP_FPS, mode.fps), (cv2.CAP_PROP_BUFFERSIZE, BUFFERS),
    ):
        capture.set(key, value)
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
    given = Mode(round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), capture.get(cv2.CAP_PROP_FPS), fourcc)
    slow = 0.0 < given.fps < LEAST_RATE * mode.fps  # 0: a driver that does not say
    if (given.width, given.height, given.fourcc) != (mode.width, mode.height, mode.fourcc) or slow:
        raise ConfigError(f"camera {path.name} gives {given} where {mode} is asked for; v4l2-ctl --list-formats-ext -d {path} lists its modes")
