# SPDX-License-Identifier: Apache-2.0
"""A camera that needs no device: noise that changes, at a true rate, to measure what pictures cost on the way and to try a cell without a camera."""

from __future__ import annotations

import time

import numpy as np

from dex_core.clock import NS
from dex_core.config import CameraConfig, CellConfig
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConnectionLostError

PICTURES = 8
"""So many different ones in turn: no two in a row are equal."""
COUNT = 4096
"""The count in the depth picture begins anew after so many exposures."""
NEAREST_M, STEP_M = 1.0, 1e-3


class PatternCamera(PulledCamera):
    """Colour noise, and depth as a slope, stamped when they are due.

    Every picture says which it is: the first eight bytes of the colour picture are its sequence number, little-endian, and the first pixel of
    the depth picture is ``1 m + (sequence % 4096) mm``, so that a reader knows what it lost.

    Args:
        config: size, rate, field of view and whether there is depth.
    """

    name = "pattern camera"

    def __init__(self, config: CameraConfig, cell: CellConfig) -> None:
        self._config = config
        self._period_ns = round(NS / config.rate_hz)
        self._connected = False
        self._sequence = 0
        self._due_ns = 0

    def connect(self) -> None:
        """Draws the pictures once; from then on they only change hands."""
        width, height = self._config.native_wh
        rng = np.random.default_rng(0)
        self._rgb = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(PICTURES)]
        slope = np.linspace(NEAREST_M, 2.0 * NEAREST_M, width, dtype=np.float32)
        self._depth = [np.tile(slope, (height, 1)) for _ in range(PICTURES)] if self._config.depth else []
        self._connected, self._sequence, self._due_ns = True, 0, time.time_ns()

    def intrinsics(self) -> Intrinsics:
        """Of a pinhole with the configured field of view."""
        return Intrinsics.of_view(self._config.native_wh, self._config.fovy_rad)

    def pull(self, timeout_s: float) -> Frame | None:
        """The next picture when it is due. Raises ConnectionLostError when not connected."""
        if not self._connected:
            raise ConnectionLostError("the pattern camera is not connected")
        wait_s = (self._due_ns - time.time_ns()) / NS
        if wait_s > timeout_s:
            time.sleep(max(0.0, timeout_s))
            return None
        time.sleep(max(0.0, wait_s))
        stamp_ns = self._due_ns
        behind = (time.time_ns() - stamp_ns) // self._period_ns
        if abs(behind) > 1:  # the process slept, or the clock was set
            stamp_ns = time.time_ns()
        self._due_ns = stamp_ns + self._period_ns
        self._sequence += 1
        return self._exposed(stamp_ns)

    def _exposed(self, stamp_ns: int) -> Frame:
        rgb = self._rgb[self._sequence % PICTURES].copy()
        rgb.reshape(-1)[:8] = np.frombuffer(np.int64(self._sequence).astype("<i8").tobytes(), dtype=np.uint8)
        rgb.setflags(write=False)
        depth = None
        if self._depth:
            depth = self._depth[self._sequence % PICTURES].copy()
            depth[0, 0] = NEAREST_M + (self._sequence % COUNT) * STEP_M
            depth.setflags(write=False)
        return Frame(rgb, depth, stamp_ns, self._sequence)

    def report(self) -> CameraReport:
        """Says that no device is behind it."""
        return CameraReport({"depth": "a drawn slope"}, "a drawn pattern: no camera is connected")

    def disconnect(self) -> None:
        """Ends it; any number of times."""
        self._connected = False
        self.forget()


def sequence_of(rgb: bytes | memoryview) -> int:
    """Which picture this is, from the bytes of the colour picture."""
    return int.from_bytes(bytes(rgb[:8]), "little", signed=True)
