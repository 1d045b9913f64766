# SPDX-License-Identifier: Apache-2.0
"""Finding one RealSense and nothing else: by serial number, or a recording; what is known of it; the library's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyrealsense2 as rs

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras.realsense_settings import RealSenseOptions, preset_value

SERIAL, FILE = "serial", "file"
RECORDINGS = (".bag", ".db3")
INFOS = {
    "name": rs.camera_info.name, "serial": rs.camera_info.serial_number, "line": rs.camera_info.product_line,
    "firmware": rs.camera_info.firmware_version, "usb": rs.camera_info.usb_type_descriptor,
}
RETIRED = f"an L515 is not seen by librealsense {rs.__version__}, whose maker retired it: docs/cameras.md"


class Address(NamedTuple):
    """Where a camera is: ``kind`` and, unless empty, its ``value``."""

    kind: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """``serial:<n>``, ``file:<path>``, or empty for the only camera attached. Raises ConfigError."""
        kind, _, value = text.partition(":")
        if not text:
            return cls(SERIAL, "")
        if kind == SERIAL and value.isalnum():
            return cls(SERIAL, value)
        if kind == FILE and Path(value).suffix in RECORDINGS:
            return cls(FILE, value)
        raise ConfigError(f"address {text!r} of a RealSense; allowed: 'serial:<number>', 'file:<path>' that ends in {list(RECORDINGS)}, or '' "
                          "for the only one attached")


@contextmanager
def library(doing: str) -> Iterator[None]:
    """librealsense raises RuntimeError for everything: here it becomes a DeviceError that says what was being done."""
    try:
        yield
    except RuntimeError as error:
        raise DeviceError(f"{doing}: {error}") from error


def information(device: rs.device) -> dict[str, str]:
    """What a device says of itself: those of ``INFOS`` that it has."""
    return {key: device.get_info(info) for key, info in INFOS.items() if device.supports(info)}


def attached(context: rs.context) -> dict[str, rs.device]:
    """Serial number -> device, for the live ones."""
    devices = [device for device in context.query_devices() if not device.is_playback()]
    return {information(device).get("serial", ""): device for device in devices}


def find(context: rs.context, address: Address) -> rs.device:
    """The one device meant by an address; a recording is loaded.

    Raises:
        ConnectionLostError: it is not attached.
        ConfigError: no serial number is given and several are attached; names them.
        DeviceError: the recording is missing or unreadable.
    """
    if address.kind == FILE:
        if not Path(address.value).is_file():
            raise DeviceError(f"there is no recording {address.value}", code="no_recording")
        with library(f"recording {address.value} cannot be played"):
            return context.load_device(address.value)
    with library("RealSense cameras cannot be listed"):
        there = attached(context)
    if not there:
        raise ConnectionLostError(f"no RealSense is attached ({RETIRED})")
    if address.value:
        if address.value not in there:
            raise ConnectionLostError(f"no RealSense with serial number {address.value} is attached; there is: {sorted(there)}")
        return there[address.value]
    if len(there) > 1:
        raise ConfigError(f"several RealSense are attached and none is named; set address to one of {[f'{SERIAL}:{n}' for n in sorted(there)]}")
    return next(iter(there.values()))


def prepare(device: rs.device, options: RealSenseOptions, known: Mapping[str, str]) -> None:
    """Sets preset and projector, and lets the device's own clock through: one estimate of it is enough.

    Raises:
        ConfigError: the device does not have what was asked for.
        DeviceError: it refuses.
    """
    wanted = {}
    if options.preset:
        wanted[rs.option.visual_preset] = float(preset_value(known.get("line", ""), options.preset))
    if options.emitter:
        wanted[rs.option.emitter_enabled] = float(options.emitter == "on")
    sensors = device.query_sensors()
    with library("a setting was refused"):
        for option, value in wanted.items():
            takers = [sensor for sensor in sensors if sensor.is_depth_sensor() and sensor.supports(option)]
            if not takers:
                raise ConfigError(f"{known.get('name', 'this device')} has no {option.name}")
            takers[0].set_option(option, value)
        for sensor in sensors:
            if sensor.supports(rs.option.global_time_enabled) and not sensor.is_option_read_only(rs.option.global_time_enabled):
                sensor.set_option(rs.option.global_time_enabled, 0.0)


def is_stereo(device: rs.device) -> bool:
    """Whether depth comes from two lenses (D400) and not from a laser (L515)."""
    return any(sensor.supports(rs.option.stereo_baseline) for sensor in device.query_sensors())
