# SPDX-License-Identifier: Apache-2.0
"""One thread that owns one camera: connects, fetches exposures at the wanted rate, reconnects with back-off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dex_core.clock import NS
from dex_core.config import CameraConfig, CellConfig
from dex_core.devices.camera import Camera, Frame, Intrinsics
from dex_core.devices.registry import load_driver
from dex_core.errors import DeadlineError, DeviceError, DexError

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 2.0
EARLY = 0.25
"""An exposure that comes up to this part of a period early still counts for its slot."""


def make_camera(config: CameraConfig, cell: CellConfig) -> Camera:
    """The driver named in ``config``, not connected. Raises ConfigError with the drivers there are."""
    return load_driver("camera", config.driver)(config, cell)


class CameraWorker:
    """Drives a camera from a thread of its own; a driver is never touched by two threads.

    Args:
        camera: not connected.
        rate_hz: exposures are passed on at most this often.
        on_frame: called in the worker's thread with each exposure.
        on_connect: called in the worker's thread after every connect, with the intrinsics of the native picture.
        timeout_s: silence after which the camera counts as lost.

    Attributes:
        reason: code of what is wrong now, empty while exposures come; ``detail`` is the sentence.
        connects: how often the camera was opened.
    """

    def __init__(
        self, camera: Camera, rate_hz: float, on_frame: Callable[[Frame], None],
        on_connect: Callable[[Intrinsics], None] = lambda _intrinsics: None, timeout_s: float = 1.0,
    ) -> None:
        self._camera, self._period_ns = camera, round(NS / rate_hz)
        self._on_frame, self._on_connect = on_frame, on_connect
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None
        self.reason, self.detail = "not_connected", "the camera has not been opened yet"
        self.connects = 0

    def start(self, timeout_s: float = 10.0) -> None:
        """Starts the thread and waits for the first connect.

        Raises:
            DeviceError: the camera does not open; the thread has ended.
            DeadlineError: it neither opens nor refuses in time.
        """
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()
        if not self._first.wait(timeout_s):
            self.stop()
            raise DeadlineError("camera", timeout_s, "it neither opened nor refused")
        if not self.connects:
            reason, detail = self.reason, self.detail
            self.stop()
            raise DeviceError(detail, code=reason)

    def stop(self) -> None:
        """Ends the thread, which closes the camera; any number of times."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0 * self._timeout_s + 1.0)

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        try:
            while not self._stop.is_set():
                if self._connect():
                    backoff_s = FIRST_BACKOFF_S
                    self._stream()
                first_failed = not self.connects
                self._first.set()
                if first_failed:
                    return
                self._stop.wait(backoff_s)
                backoff_s = min(2.0 * backoff_s, LAST_BACKOFF_S)
        finally:
            self._camera.disconnect()

    def _connect(self) -> bool:
        try:
            self._camera.connect()
            self._on_connect(self._camera.intrinsics())
        except DexError as error:
            self.reason, self.detail = error.code, str(error)
            self._camera.disconnect()
            return False
        self.connects += 1
        self._first.set()
        return True

    def _stream(self) -> None:
        due_ns = time.monotonic_ns()
        while not self._stop.is_set():
            try:
                frame = self._camera.next_frame(self._timeout_s)
            except DexError as error:
                self.reason, self.detail = error.code, str(error)
                self._camera.disconnect()
                return
            self.reason, self.detail = "", ""
            now_ns = time.monotonic_ns()
            if now_ns < due_ns - self._period_ns * EARLY:
                continue
            due_ns = max(due_ns + self._period_ns, now_ns - self._period_ns)
            self._on_frame(frame)
