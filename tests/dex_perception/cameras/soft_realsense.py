# SPDX-License-Identifier: Apache-2.0
"""A RealSense without hardware: librealsense's own software device, whose frames go through its syncer, filters, align and recorder."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyrealsense2 as rs

WALL_M, BOX_M = 1.2, 0.6
BOX_HALF_M = (0.10, 0.08)
RED = np.array([200, 20, 20], dtype=np.uint8)
BASELINE_M = 0.015
"""From the colour camera to the depth camera, to its left."""


def intrinsics(
    width: int, height: int, focal_px: float, model: rs.distortion = rs.distortion.none, coeffs: Sequence[float] = (0.0,) * 5,
) -> rs.intrinsics:
    """Of a camera that looks straight ahead."""
    given = rs.intrinsics()
    given.width, given.height, given.ppx, given.ppy, given.fx, given.fy = width, height, width / 2 - 0.5, height / 2 - 0.5, focal_px, focal_px
    given.model, given.coeffs = model, list(coeffs)
    return given


def sees_box(inner: rs.intrinsics, offset_m: float) -> np.ndarray:
    """(H, W) whether a pixel of a camera that stands ``offset_m`` to the left of the colour camera sees the box in front of the wall."""
    u, v = np.meshgrid(np.arange(inner.width), np.arange(inner.height))
    x, y = (u - inner.ppx) / inner.fx * BOX_M - offset_m, (v - inner.ppy) / inner.fy * BOX_M
    return (np.abs(x) < BOX_HALF_M[0]) & (np.abs(y) < BOX_HALF_M[1])


class SoftRealSense:
    """A device with one colour and one depth sensor, exposing at ``fps`` while ``exposing()``.

    Args:
        serial, name, line, usb: as it calls itself.
        stereo: it has a baseline, as a D400; else it is told from a laser.
        colour_wh, depth_wh, fps: its first mode; ``more`` (width, height, fps) are offered beside it for both streams.
        units_m: what one count of depth means.
        drift: how much slower its clock runs than the host's.
    """

    def __init__(
        self, serial: str = "123", *, name: str = "Soft D435", line: str = "D400", usb: str = "3.2", stereo: bool = True,
        colour_wh: tuple[int, int] = (320, 240), depth_wh: tuple[int, int] = (320, 240), fps: int = 60,
        more: Sequence[tuple[int, int, int]] = (), units_m: float = 0.001, colour_format: rs.format = rs.format.rgb8,
        lens: tuple[rs.distortion, Sequence[float]] = (rs.distortion.none, (0.0,) * 5),
    ) -> None:
        self.serial, self.fps, self.units_m, self.colour_format = serial, fps, units_m, colour_format
        self.device = rs.software_device()
        for info, text in ((rs.camera_info.serial_number, serial), (rs.camera_info.name, name), (rs.camera_info.product_line, line),
                           (rs.camera_info.usb_type_descriptor, usb), (rs.camera_info.firmware_version, "5.16.0.1")):
            self.device.register_info(info, text)
        self.depth_sensor, self.colour_sensor = self.device.add_sensor("Stereo Module"), self.device.add_sensor("RGB Camera")
        self.depth_intrinsics = intrinsics(*depth_wh, 0.7 * depth_wh[0])
        self.colour_intrinsics = intrinsics(*colour_wh, 0.95 * colour_wh[0], *lens)
        self._uid = 0
        self._depth = self._add(self.depth_sensor, rs.stream.depth, rs.format.z16, 2, fps, self.depth_intrinsics)
        self._colour = self._add(self.colour_sensor, rs.stream.color, colour_format, 3, fps, self.colour_intrinsics)
        for width, height, rate in more:
            self._add(self.depth_sensor, rs.stream.depth, rs.format.z16, 2, rate, intrinsics(width, height, 0.7 * width))
            self._add(self.colour_sensor, rs.stream.color, colour_format, 3, rate, intrinsics(width, height, 0.95 * width))
        self.depth_sensor.add_read_only_option(rs.option.depth_units, units_m)
        if stereo:
            self.depth_sensor.add_read_only_option(rs.option.stereo_baseline, 50.0)
        for sensor in (self.depth_sensor, self.colour_sensor):
            sensor.set_metadata(rs.frame_metadata_value.actual_fps, 1000 * fps)
        aside = rs.extrinsics()
        aside.rotation, aside.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [-BASELINE_M, 0, 0]
        self._depth.register_extrinsics_to(self._colour, aside)
        self.device.create_matcher(rs.matchers.default)
        self.domain = rs.timestamp_domain.hardware_clock
        self.number, self.device_ms = 0, 5000.0
        self.silent = False
        self._draw()

    def _add(
        self, sensor: rs.software_sensor, kind: rs.stream, form: rs.format, size: int, fps: int, inner: rs.intrinsics,
    ) -> rs.video_stream_profile:
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt, stream.bpp, stream.fps = kind, 0, self._uid, form, size, fps
        stream.width, stream.height, stream.intrinsics = inner.width, inner.height, inner
        self._uid += 1
        return sensor.add_video_stream(stream).as_video_stream_profile()

    def _draw(self) -> None:
        rng = np.random.default_rng(0)
        by_colour, by_depth = sees_box(self.colour_intrinsics, 0.0), sees_box(self.depth_intrinsics, BASELINE_M)
        self.rgb = rng.integers(90, 140, (*by_colour.shape, 3)).astype(np.uint8)
        self.rgb[by_colour] = RED
        self.counts = np.round(np.where(by_depth, BOX_M, WALL_M) / self.units_m).astype(np.uint16)
        self.counts[:, :4] = 0
        self.counts[::16, ::16] = 0

    # -- plugging -------------------------------------------------------------------------------------------------------
    def plug(self, context: rs.context) -> None:
        """From now on the context lists the device, for as long as somebody holds the list that its callback was given."""
        held: list[rs.device_list] = []
        context.set_devices_changed_callback(lambda change: held.append(change.get_new_devices()))
        self.device.add_to(context)
        deadline = time.monotonic() + 2.0
        while not held:
            assert time.monotonic() < deadline, "librealsense said nothing of a device added to its context"
            time.sleep(0.001)
        self._held = held[0]

    def unplug(self) -> None:
        """No more frames, and the context forgets the device."""
        self.silent = True
        self._held = None

    # -- exposing -------------------------------------------------------------------------------------------------------
    def expose(self, streams: str = "dc", number: int | None = None) -> None:
        """Pushes one frame of depth (d) and of colour (c) as they lie in ``counts`` and ``rgb``."""
        self.number = self.number + 1 if number is None else number
        self.device_ms += 1000.0 / self.fps
        self.rgb[0, :, 0] = self.number % 256  # no two exposures are equal, as with a real sensor
        rgb = self.rgb if self.colour_format == rs.format.rgb8 else np.ascontiguousarray(self.rgb[:, :, ::-1])
        for letter, sensor, profile, pixels in (("d", self.depth_sensor, self._depth, self.counts), ("c", self.colour_sensor, self._colour, rgb)):
            if letter not in streams:
                continue
            frame = rs.software_video_frame()
            frame.pixels, frame.bpp = pixels, pixels.strides[1]
            frame.stride = pixels.strides[0]
            frame.timestamp, frame.domain, frame.frame_number, frame.profile = self.device_ms, self.domain, self.number, profile
            frame.depth_units = self.units_m if letter == "d" else 0.0
            sensor.on_video_frame(frame)

    @contextmanager
    def exposing(self) -> Iterator[None]:
        """Exposes at ``fps`` from another thread, except while ``silent``."""
        stop = threading.Event()

        def run() -> None:
            due = time.monotonic()
            while not stop.wait(max(0.0, due - time.monotonic())):
                due += 1.0 / self.fps
                if not self.silent:
                    self.expose()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
