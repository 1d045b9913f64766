# SPDX-License-Identifier: Apache-2.0
"""What a cell may ask of a ZED, its modes, and its error codes in words: all that needs no SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dex_core.config.strict import bounded, choice
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras.replay import ENDED

SERIAL, FILE = "serial:", "file:"
SVO_SUFFIXES = (".svo", ".svo2")


class Resolution(NamedTuple):
    """One of a ZED's resolutions: its name in the SDK, the rates [Hz] a USB model has at it (none: only a ZED X has it, which is no USB camera)."""

    sdk_name: str
    rates_hz: tuple[int, ...] = ()


RESOLUTIONS = {
    (2208, 1242): Resolution("HD2K", (15,)),
    (1920, 1200): Resolution("HD1200"),
    (1920, 1080): Resolution("HD1080", (15, 30)),
    (1280, 720): Resolution("HD720", (15, 30, 60)),
    (960, 600): Resolution("SVGA"),
    (672, 376): Resolution("VGA", (15, 30, 60, 100)),
}
"""Size of one eye's picture [px] -> what it is called."""

CORRUPTED, REBOOTING = "CORRUPTED_FRAME", "CAMERA_REBOOTING"
END = "END_OF_SVOFILE_REACHED"
LOST = ("CAMERA_NOT_DETECTED", "CAMERA_NOT_INITIALIZED", "CAMERA_DETECTION_ISSUE")
WORDS = {
    "FAILURE": "the SDK failed without saying why",
    "NO_GPU_COMPATIBLE": "the graphics card is too old for the SDK",
    "NO_GPU_DETECTED": "the SDK needs an NVIDIA graphics card and finds none; set options backend: uvc to do without the SDK",
    "NOT_ENOUGH_GPU_MEMORY": "the graphics card has too little free memory for this resolution and depth_mode",
    "CAMERA_NOT_DETECTED": "no such camera is plugged in, or another program has it",
    "CAMERA_DETECTION_ISSUE": "the camera was found and does not answer; plug it in again",
    "CAMERA_NOT_INITIALIZED": "the camera is not open",
    "CAMERA_FAILED_TO_SETUP": "the camera does not take its settings; plug it in again",
    "CAMERA_REBOOTING": "the camera is starting anew",
    "CANNOT_START_CAMERA_STREAM": "the camera does not begin to stream; another program may have it",
    "CORRUPTED_FRAME": "a picture was damaged on its way",
    "LOW_USB_BANDWIDTH": "the USB port is too slow: USB 3 is needed, and no hub shared with other cameras",
    "CAMERA_EXCEEDS_BANDWIDTH": "more is asked of the camera than its link carries; choose a smaller size or rate",
    "INVALID_RESOLUTION": "this model does not have this resolution",
    "INVALID_FIRMWARE": "the camera's firmware is too old for the SDK; ZED Explorer brings it up to date",
    "CALIBRATION_FILE_NOT_AVAILABLE": "the camera's calibration is not in /usr/local/zed/settings and could not be downloaded",
    "INVALID_CALIBRATION_FILE": "the camera's calibration file is damaged",
    "POTENTIAL_CALIBRATION_ISSUE": "the calibration no longer fits the camera; have it recalibrated",
    "CONFIGURATION_FALLBACK": "the camera took the nearest settings it has",
    "SENSOR_CONFIGURATION_CHANGED": "the camera's sensors were set anew",
    "SENSORS_DATA_REQUIRED": "the SDK misses the camera's motion sensors",
    "INVALID_SVO_FILE": "there is no such SVO file, or it is damaged",
    "SVO_UNSUPPORTED_COMPRESSION": "the SVO file is compressed in a way this graphics card cannot undo",
    "END_OF_SVOFILE_REACHED": "the SVO file has ended; options loop: true plays it again and again",
    "CUDA_ERROR": "CUDA failed; the driver log (dmesg) says more",
    "NVIDIA_DRIVER_OUT_OF_DATE": "the NVIDIA driver is too old for the SDK",
    "DRIVER_FAILURE": "the NVIDIA or camera driver failed; dmesg says more",
    "CORRUPTED_SDK_INSTALLATION": "files of the SDK are missing; install it again",
    "INCOMPATIBLE_SDK_VERSION": "pyzed and the installed SDK are of different versions",
    "MODULE_NOT_COMPATIBLE_WITH_CUDA_VERSION": "this depth_mode does not run on the installed CUDA",
}
"""Name of a code in sl.ERROR_CODE (SDK 5) -> what it means here."""


@dataclass(frozen=True)
class ZedOptions:
    """``options`` of a camera with the driver ``zed``.

    Attributes:
        backend: ``sdk``: Stereolabs' SDK, neural depth; ``uvc``: two raw pictures, rectified and matched here; ``auto``: the SDK where it is
            installed, unless the address is a V4L2 path.
        depth_mode: of the SDK.
        confidence: depth with less than this of the SDK's 100 levels of uncertainty stays; 95 is the SDK's own choice.
        nearest_m, farthest_m: depth outside is unknown.
        calibration: without the SDK: the camera's SN<serial>.conf.
        shrink, block_px: without the SDK: of the matcher, see DepthSettings.
        rate: of a side-by-side video; an SVO plays at its own.
        loop: a recording begins anew at its end.
    """

    backend: str = choice("auto", "sdk", "uvc", default="auto")
    depth_mode: str = choice("NEURAL_LIGHT", "NEURAL", "NEURAL_PLUS", "ULTRA", "QUALITY", "PERFORMANCE", default="NEURAL")
    confidence: int = bounded(1, 100, default=95)
    nearest_m: float = bounded(0.1, 10.0, default=0.35)
    farthest_m: float = bounded(0.2, 50.0, default=5.0)
    calibration: str = ""
    shrink: int = bounded(1, 4, default=1)
    block_px: int = bounded(3, 15, default=5)
    rate: float = bounded(0.0, 100.0, default=1.0)
    loop: bool = True

    def __post_init__(self) -> None:
        if self.nearest_m >= self.farthest_m:
            raise ConfigError(f"nearest_m {self.nearest_m} must be less than farthest_m {self.farthest_m}")


def choose_backend(address: str, backend: str, sdk_there: bool) -> str:
    """``sdk`` or ``uvc``.

    Raises:
        ConfigError: what is asked for needs the SDK and it is not installed, or the address is none of the chosen backend.
    """
    svo = address.startswith(FILE) and address.endswith(SVO_SUFFIXES)
    for_sdk = svo or not address or address.startswith(SERIAL)
    chosen = backend if backend != "auto" else "sdk" if for_sdk else "uvc"
    if chosen == "sdk" and not for_sdk:
        raise ConfigError(f"address {address!r} is none of the SDK; give serial:<number>, file:<recording>.svo2, or nothing for the only camera")
    if chosen == "uvc" and for_sdk:
        raise ConfigError(f"address {address or 'empty'!r} needs the SDK; without it give the camera's path under /dev/v4l/by-id, or file:<video>")
    if chosen == "sdk" and not sdk_there:
        raise ConfigError(f"address {address or 'empty'!r} needs Stereolabs' SDK and its Python package pyzed, which are not installed; without them "
                          "give the camera's path under /dev/v4l/by-id and its calibration: depth is OpenCV's then, not neural")
    return chosen


def serial_number(address: str) -> int | None:
    """The number in ``serial:<n>``; None where there is none. Raises ConfigError."""
    if not address.startswith(SERIAL):
        return None
    text = address.removeprefix(SERIAL)
    if not text.isdecimal():
        raise ConfigError(f"address {address!r}: a ZED's serial number is a whole number")
    return int(text)


def resolution(size_wh: tuple[int, int]) -> Resolution:
    """The resolution of a size of one eye's picture [px]. Raises ConfigError with those there are."""
    found = RESOLUTIONS.get(tuple(size_wh))
    if found is None:
        known = ", ".join(f"{w}x{h}" for w, h in RESOLUTIONS)
        raise ConfigError(f"a ZED has no pictures of {size_wh[0]}x{size_wh[1]} pixels; native_wh is one of {known}")
    return found


def usb_rate_hz(size_wh: tuple[int, int], rate_hz: float) -> int:
    """The slowest rate of a USB model at a size that is not slower than asked for. Raises ConfigError with those there are."""
    rates = resolution(size_wh).rates_hz
    found = next((rate for rate in rates if rate >= rate_hz), None)
    if found is None:
        raise ConfigError(f"a ZED on USB gives {size_wh[0]}x{size_wh[1]} at {list(rates) or 'no rate'} Hz, not {rate_hz:g}")
    return found


def sdk_rate_hz(size_wh: tuple[int, int], rate_hz: float) -> int:
    """The slowest rate known for a size that is not slower than asked for; where none is known, e.g. of a ZED X, what was asked for."""
    return next((rate for rate in resolution(size_wh).rates_hz if rate >= rate_hz), round(rate_hz))


def words(name: str) -> str:
    """What an error code means: ``LOW_USB_BANDWIDTH`` -> a sentence that names it."""
    return f"{WORDS.get(name, 'the SDK refused')} (ERROR_CODE.{name})"


def failure(name: str, who: str, value: int | None = None) -> DeviceError:
    """The error to raise for a code above SUCCESS: ConnectionLostError where the camera is gone."""
    if name == END:
        return DeviceError(f"{who}: {words(name)}", code=ENDED, device_code=value)
    kind = ConnectionLostError if name in LOST else DeviceError
    return kind(f"{who}: {words(name)}", device_code=value)


def rgb_of_bgra(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 BGRA, possibly a view of memory that the SDK will use again -> (H, W, 3) RGB of its own."""
    return np.ascontiguousarray(bgra[..., 2::-1])


def known_depth(depth_m: NDArray[np.float32], nearest_m: float, farthest_m: float) -> NDArray[np.float32]:
    """(H, W) float32 [m] of the SDK, with NaN unknown, +inf too far, -inf too near -> a copy with NaN for all of these and beyond the range."""
    depth = np.array(depth_m, dtype=np.float32)
    depth[~((depth >= nearest_m) & (depth <= farthest_m))] = np.nan
    return depth
