# SPDX-License-Identifier: Apache-2.0
"""A camera for tests: pictures of noise on a slope, with faults to switch on."""
from __future__ import annotations

import threading
import time

import numpy as np

from dex_core.config import CameraConfig, CellConfig
from dex_core.devices.camera import CameraReport, Frame, Intrinsics
from dex_core.errors import ConnectionLostError, DeadlineError

LENS = (0.05, -0.1, 1e-3, 2e-3, 0.02)


class FakeCamera:
    """Exposes at ``rate_hz``. Faults: ``unplugged``, ``silent``, ``black``, ``frozen`` (same pixels), ``repeat`` (same exposure), ``small``
    (pictures of another size), ``grey`` (one channel), ``other_depth`` (depth of another size), ``no_depth`` (unknown everywhere).
    """

    faults: set[str] = set()
    size_wh = (960, 540)

    def __init__(self, config: CameraConfig | None = None, cell: CellConfig | None = None, rate_hz: float = 100.0) -> None:
        self.period_s = 1.0 / (config.rate_hz if config else rate_hz)
        self.sequence = 0
        self.connects = 0
        self.threads: set[int] = set()
        self.open = False
        width, height = self.size_wh
        slope = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None]
        self._base = np.broadcast_to(slope, (height, width, 3)).copy()
        self._last: Frame | None = None
        self.said = CameraReport()

    def report(self) -> CameraReport:
        return self.said

    def connect(self) -> None:
        self.threads.add(threading.get_ident())
        if "unplugged" in self.faults:
            raise ConnectionLostError("fake camera is unplugged")
        self.connects += 1
        self.sequence = 0
        self.open = True

    def intrinsics(self) -> Intrinsics:
        width, height = self.size_wh
        return Intrinsics(width, height, 559.0, 559.0, width / 2 - 0.5, height / 2 - 0.5, LENS)

    def next_frame(self, timeout_s: float) -> Frame:
        self.threads.add(threading.get_ident())
        if "unplugged" in self.faults or not self.open:
            raise ConnectionLostError("fake camera is unplugged")
        if "silent" in self.faults:
            time.sleep(min(timeout_s, 0.2))
            raise DeadlineError("fake camera", timeout_s)
        time.sleep(self.period_s)
        if "repeat" in self.faults and self._last is not None:
            return self._last
        self.sequence += 1
        rgb = np.zeros_like(self._base) if "black" in self.faults else self._base.copy()
        if not self.faults & {"black", "frozen"}:
            rgb[self.sequence % 500, :, :] = 255
        depth = np.full(rgb.shape[:2], np.nan if "no_depth" in self.faults else 1.25, dtype=np.float32)
        depth[:3] = np.nan
        self._last = Frame(*self._misshapen(rgb, depth), time.time_ns(), self.sequence)
        return self._last

    def _misshapen(self, rgb: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if "small" in self.faults:
            return rgb[:100, :100], depth[:100, :100]
        if "grey" in self.faults:
            return rgb[:, :, 0], depth
        return rgb, depth[::2] if "other_depth" in self.faults else depth

    def newest_frame(self, max_age_s: float) -> Frame:
        return self.next_frame(max_age_s)

    def frame_after(self, stamp_ns: int, timeout_s: float) -> Frame:
        return self.next_frame(timeout_s)

    def disconnect(self) -> None:
        self.threads.add(threading.get_ident())
        self.open = False
