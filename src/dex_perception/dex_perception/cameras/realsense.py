# SPDX-License-Identifier: Apache-2.0
"""RealSense D400 cameras (and what else the installed librealsense knows) and their recordings: colour, and depth aligned to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from dex_core.clock import NS
from dex_core.config import CameraConfig, CellConfig
from dex_core.config.strict import build
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConnectionLostError, DexError
from dex_perception.cameras.realsense_clock import DeviceClock
from dex_perception.cameras.realsense_device import FILE, Address, attached, find, information, is_stereo, library, prepare
from dex_perception.cameras.realsense_lens import intrinsics_of
from dex_perception.cameras.realsense_settings import Chosen, DepthFilters, Mode, RealSenseOptions, choose_profiles

SLICE_S = 0.1
"""A cable that is pulled is noticed within this, however long the wait."""
QUEUED = 1
"""Sets of pictures that the library keeps back: a late reader gets the newest."""
CLOCK_STEP_NS = NS // 10
"""A wall clock set back by more takes the stamps with it."""


class _Stream(NamedTuple):
    """One connection."""

    device: rs.device
    chosen: tuple[Chosen, ...]
    syncer: rs.syncer
    align: rs.align
    filters: DepthFilters
    intrinsics: Intrinsics
    known: Mapping[str, str]


class RealSenseCamera(PulledCamera):
    """Implements dex_core.devices.camera.Camera on librealsense's sensors, syncer and align. Colour and depth only: the IMU stays off.

    Sensors are opened directly and not through the library's pipeline: that restarts by itself when a device is lost and may block for 15 s.

    Args:
        config: ``address`` (``serial:<n>``, ``file:<path>``, or empty for the only one attached), native size, rate, depth, options.
        cell: not needed.
        context: librealsense's; None makes one.

    Raises:
        ConfigError: an address or option that does not exist.
    """

    def __init__(self, config: CameraConfig, cell: CellConfig | None = None, *, context: rs.context | None = None) -> None:
        self._config = config
        self._address = Address.parse(config.address)
        self._options = build(RealSenseOptions, config.options, "options of the RealSense")
        self._context = context
        self._stream: _Stream | None = None
        self._removed = threading.Event()
        self.name = f"RealSense {config.address}".strip()

    def connect(self) -> None:
        """Finds the device, sets it up and starts it.

        Raises:
            ConnectionLostError: not attached. DeviceError: it refuses.
            ConfigError: it has no such mode or setting, or several are attached and none is named.
        """
        self.disconnect()
        self._context = self._context or rs.context()
        self._clock, self._sequence, self._number, self._dropped, self._last_ns = DeviceClock(), 0, -1, 0, 0
        device = find(self._context, self._address)
        self._removed.clear()
        self._context.set_devices_changed_callback(lambda change: self._removed.set() if change.was_removed(device) else None)
        try:
            self._stream = self._start(device)
        except DexError:
            self._unload()
            raise

    def intrinsics(self) -> Intrinsics:
        """Of the colour picture. Raises ConnectionLostError when not connected."""
        return self._connected().intrinsics

    def pull(self, timeout_s: float) -> Frame | None:
        """The next exposure with everything asked for; None when none came in time.

        Raises:
            ConnectionLostError: not connected, unplugged, or the recording has ended.
            DeviceError: the library fails.
        """
        deadline_ns = time.monotonic_ns() + round(timeout_s * NS)
        while True:
            stream = self._connected()
            if self._removed.is_set():
                raise ConnectionLostError(f"{self.name} was unplugged")
            left_s = (deadline_ns - time.monotonic_ns()) / NS
            with library(f"{self.name} gives no pictures"):
                got, frames = stream.syncer.try_wait_for_frames(round(1e3 * max(0.0, min(left_s, SLICE_S))))
                frame = self._frame(stream, frames, time.monotonic_ns()) if got else None
            if frame is not None:
                return frame
            if not got and self._address.kind == FILE:
                self._check_not_ended(stream)
            if left_s <= 0.0:
                self._check_still_there(stream, timeout_s)
                return None

    def report(self) -> CameraReport:
        """Who it is, how it is connected, and how its clock runs."""
        stream = self._stream
        if stream is None:
            return CameraReport({"realsense": "not connected"})
        values = {
            **stream.known, "modes": " ".join(str(Mode.of(profile)) for chosen in stream.chosen for profile in chosen.profiles),
            "filters": ", ".join(stream.filters.names) or "none", "librealsense": rs.__version__,
            "clock_drift_ppm": f"{self._clock.drift * 1e6:.1f}", "clock_restarts": str(self._clock.restarts),
            "exposures_dropped": str(self._dropped),
        }
        usb = stream.known.get("usb", "")
        slow = usb.startswith("2")
        return CameraReport(values, f"on USB {usb}: fewer sizes and rates; use a USB 3 port and cable" if slow else "")

    def disconnect(self) -> None:
        """Stops and closes the sensors; any number of times, also after the device is gone."""
        stream, self._stream = self._stream, None
        self.forget()
        if stream is not None:
            _close(stream.chosen)
            self._unload()
            self._context.set_devices_changed_callback(lambda _change: None)  # the one before keeps the device

    # -- opening and losing ---------------------------------------------------------------------------------------------
    def _start(self, device: rs.device) -> _Stream:
        with library(f"{self.name} cannot be started"):
            known = information(device)
            config, options = self._config, self._options
            if self._address.kind != FILE:
                prepare(device, options, known)
            chosen = choose_profiles(device, config.native_wh, config.rate_hz, depth=config.depth, depth_wh=options.depth_wh)
            colour = next(p for c in chosen for p in c.profiles if p.stream_type() == rs.stream.color)
            filters = DepthFilters(options, stereo=is_stereo(device))
            stream = _Stream(device, chosen, rs.syncer(QUEUED), rs.align(rs.stream.color), filters, intrinsics_of(colour.intrinsics), known)
            started: list[Chosen] = []
            try:
                for one in chosen:
                    started.append(one)
                    one.sensor.open(list(one.profiles))
                    one.sensor.start(stream.syncer)
            except RuntimeError:
                _close(started)
                raise
        return stream

    def _connected(self) -> _Stream:
        if self._stream is None:
            raise ConnectionLostError(f"{self.name} is not connected")
        return self._stream

    def _check_still_there(self, stream: _Stream, patience_s: float) -> None:
        """After a whole wait in vain: whether the library still lists the device. Looking touches every device, so not after each slice."""
        if patience_s > 0.0 and self._address.kind != FILE and stream.known.get("serial", "") not in attached(self._context):
            raise ConnectionLostError(f"{self.name} is no longer attached")

    def _check_not_ended(self, stream: _Stream) -> None:
        """A recording that has ended begins anew, sequence and stamps going on, or is lost."""
        if stream.device.as_playback().current_status() != rs.playback_status.stopped:
            return
        if not self._options.loop:
            raise ConnectionLostError(f"{self.name} has ended", code="ended")
        _close(stream.chosen)
        self._unload()
        self._stream, self._number, self._clock = None, -1, DeviceClock()
        device = find(self._context, self._address)
        self._removed.clear()
        self._stream = self._start(device)

    def _unload(self) -> None:
        """The library knows a recording until it is told to forget it."""
        if self._address.kind == FILE and self._context is not None:
            self._context.unload_device(self._address.value)

    # -- exposures ------------------------------------------------------------------------------------------------------
    def _frame(self, stream: _Stream, frames: rs.composite_frame, arrival_ns: int) -> Frame | None:
        """A set as a Frame; None for one that is not whole, as the first one after the start, or that came before."""
        colour = frames.get_color_frame()
        if not colour or colour.get_frame_number() == self._number or (self._config.depth and not frames.get_depth_frame()):
            return None
        if self._number >= 0:
            self._dropped += max(0, colour.get_frame_number() - self._number - 1)
        self._number = colour.get_frame_number()
        stamp_ns = self._stamp_ns(colour, arrival_ns)
        depth = stream.align.process(stream.filters.process(frames)).get_depth_frame() if self._config.depth else None
        self._sequence += 1
        return Frame(_rgb(colour), _metres(depth) if depth else None, stamp_ns, self._sequence)

    def _stamp_ns(self, colour: rs.video_frame, arrival_ns: int) -> int:
        """Wall-clock time of an exposure: its own where the library gives it on the host's clock, else its device time mapped to it."""
        given_ns = round(colour.get_timestamp() * 1e6)
        if self._address.kind != FILE and colour.get_frame_timestamp_domain() != rs.timestamp_domain.hardware_clock:
            wall_ns = min(given_ns, time.time_ns())
        else:
            wall_ns = self._clock.host_ns(given_ns, arrival_ns) + _wall_minus_monotonic_ns()
        wall_ns -= round(self._options.transport_s * NS)
        if self._last_ns - CLOCK_STEP_NS < wall_ns <= self._last_ns:
            wall_ns = self._last_ns + 1
        self._last_ns = wall_ns
        return wall_ns


def _close(chosen: tuple[Chosen, ...] | list[Chosen]) -> None:
    """Each sensor as far as it had come; one that is gone, or never began, has nothing to stop."""
    for one in chosen:
        for action in (one.sensor.stop, one.sensor.close):
            try:
                action()
            except RuntimeError:
                continue


def _wall_minus_monotonic_ns() -> int:
    """Best of three, so that a thread that is stopped in between does not shift a stamp."""
    tries = []
    for _ in range(3):
        before_ns, wall_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2))
    return min(tries)[1]


def _rgb(colour: rs.video_frame) -> NDArray[np.uint8]:
    """A copy: the library's own buffer goes back to its pool."""
    seen = np.asanyarray(colour.get_data())
    rgb = seen[:, :, ::-1].copy() if colour.get_profile().format() == rs.format.bgr8 else seen.copy()
    rgb.setflags(write=False)
    return rgb


def _metres(depth: rs.depth_frame) -> NDArray[np.float32]:
    """z16 in the device's unit, which differs between models, to metres; its zero means unknown."""
    counts = np.asanyarray(depth.get_data())
    metres = np.multiply(counts, np.float32(depth.get_units()), dtype=np.float32)
    np.copyto(metres, np.nan, where=counts == 0)
    metres.setflags(write=False)
    return metres
