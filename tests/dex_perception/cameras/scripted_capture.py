# SPDX-License-Identifier: Apache-2.0
"""What cv2.VideoCapture looks like on a V4L2 device, played by a test: modes a driver has, stamps of a clock, and a cable that is pulled."""
from __future__ import annotations

import threading
import time

import cv2
import numpy as np


class ScriptedCapture:
    """Gives a picture each ``period_s``; ``modes``: (width, height, fps, fourcc) the driver has, the first where it lacks the one asked for.

    Attributes:
        unplugged: set it, and reads fail. raises: set it, and OpenCV raises. released: the device was let go.
    """

    def __init__(self, modes: list[tuple[int, int, float, str]], period_s: float = 0.01, stamp_ms: str = "monotonic", opens: bool = True) -> None:
        self._modes, self._period_s, self._stamp_ms, self._opens = modes, period_s, stamp_ms, opens
        self.asked: dict[int, float] = {}
        self.unplugged, self.raises, self.released = threading.Event(), threading.Event(), threading.Event()
        self.count = 0
        self.kernel_ns = 0

    def isOpened(self) -> bool:  # noqa: N802
        return self._opens

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return True

    @property
    def _mode(self) -> tuple[int, int, float, str]:
        fourcc = int(self.asked[cv2.CAP_PROP_FOURCC]).to_bytes(4, "little").decode()
        wanted = (int(self.asked[cv2.CAP_PROP_FRAME_WIDTH]), int(self.asked[cv2.CAP_PROP_FRAME_HEIGHT]), self.asked[cv2.CAP_PROP_FPS], fourcc)
        return wanted if wanted in self._modes else self._modes[0]

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return {"monotonic": self.kernel_ns * 1e-6, "none": 0.0}[self._stamp_ms]
        width, height, fps, fourcc = self._mode
        return {cv2.CAP_PROP_FRAME_WIDTH: float(width), cv2.CAP_PROP_FRAME_HEIGHT: float(height), cv2.CAP_PROP_FPS: fps,
                cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter_fourcc(*fourcc))}[key]

    def read(self) -> tuple[bool, np.ndarray | None]:
        if self.unplugged.wait(self._period_s):
            return False, None
        if self.raises.is_set():
            raise cv2.error("no memory for a picture")
        self.kernel_ns = time.monotonic_ns()
        self.count += 1
        picture = np.zeros((self._mode[1], self._mode[0], 3), dtype=np.uint8)
        picture[:] = (10, 20, self.count % 256)  # blue, green, red
        return True, picture

    def release(self) -> None:
        self.released.set()
