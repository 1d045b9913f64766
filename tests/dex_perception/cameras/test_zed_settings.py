# SPDX-License-Identifier: Apache-2.0
"""What is decided about a ZED without its SDK."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras.zed_settings import (
    ZedOptions,
    choose_backend,
    failure,
    known_depth,
    resolution,
    rgb_of_bgra,
    sdk_rate_hz,
    serial_number,
    usb_rate_hz,
    words,
)


@pytest.mark.parametrize("address, backend, there, chosen", [
    ("serial:4711", "auto", True, "sdk"), ("", "auto", True, "sdk"), ("file:/a/b.svo2", "auto", True, "sdk"), ("file:/a/b.svo", "sdk", True, "sdk"),
    ("/dev/v4l/by-id/usb-x", "auto", True, "uvc"), ("/dev/v4l/by-id/usb-x", "uvc", False, "uvc"), ("file:/a/b.mkv", "auto", False, "uvc"),
])
def test_the_way_to_the_camera_follows_from_its_address(address: str, backend: str, there: bool, chosen: str) -> None:
    assert choose_backend(address, backend, there) == chosen


@pytest.mark.parametrize("address, backend, there, message", [
    ("serial:4711", "auto", False, "'serial:4711' needs Stereolabs' SDK .* not installed; .*depth is OpenCV's then, not neural"),
    ("", "auto", False, "address 'empty' needs Stereolabs' SDK"),
    ("serial:4711", "uvc", True, "needs the SDK; without it give the camera's path under /dev/v4l/by-id"),
    ("/dev/v4l/by-id/usb-x", "sdk", True, "is none of the SDK; give serial:<number>"),
])
def test_a_way_that_does_not_lead_there(address: str, backend: str, there: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_backend(address, backend, there)


def test_serial_numbers() -> None:
    assert serial_number("serial:0042") == 42 and serial_number("") is None
    with pytest.raises(ConfigError, match="serial number is a whole number"):
        serial_number("serial:left")


def test_sizes_and_rates() -> None:
    assert resolution((672, 376)).sdk_name == "VGA" and resolution((1280, 720)).sdk_name == "HD720"
    assert usb_rate_hz((1280, 720), 20.0) == 30 and usb_rate_hz((672, 376), 100.0) == 100 and usb_rate_hz((2208, 1242), 15.0) == 15
    assert sdk_rate_hz((672, 376), 20.0) == 30 and sdk_rate_hz((1920, 1080), 60.0) == 60 and sdk_rate_hz((960, 600), 120.0) == 120
    with pytest.raises(ConfigError, match="no pictures of 640x480 pixels; native_wh is one of 2208x1242"):
        resolution((640, 480))
    with pytest.raises(ConfigError, match=r"gives 1920x1080 at \[15, 30\] Hz, not 60"):
        usb_rate_hz((1920, 1080), 60.0)
    with pytest.raises(ConfigError, match="gives 960x600 at no rate Hz"):
        usb_rate_hz((960, 600), 30.0)


def test_codes_in_words() -> None:
    assert words("CAMERA_NOT_INITIALIZED") == "the camera is not open (ERROR_CODE.CAMERA_NOT_INITIALIZED)"
    assert words("A_CODE_OF_TOMORROW") == "the SDK refused (ERROR_CODE.A_CODE_OF_TOMORROW)"
    lost = failure("CAMERA_NOT_DETECTED", "ZED serial:1", 4)
    assert isinstance(lost, ConnectionLostError) and lost.device_code == 4 and "ZED serial:1: no such camera is plugged in" in str(lost)
    assert failure("END_OF_SVOFILE_REACHED", "ZED").code == "ended"
    refused = failure("NO_GPU_DETECTED", "ZED")
    assert type(refused) is DeviceError and "backend: uvc" in str(refused)


def test_pictures_are_copied_and_turned_to_rgb() -> None:
    bgra = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    rgb = rgb_of_bgra(bgra)
    assert rgb.flags.c_contiguous and np.array_equal(rgb, bgra[..., [2, 1, 0]])
    bgra[:] = 0
    assert rgb.any()


def test_depth_that_is_none_becomes_nan() -> None:
    depth = np.array([[np.nan, np.inf, -np.inf, 0.0], [0.34, 0.36, 4.9, 5.1]], dtype=np.float32)
    known = known_depth(depth, 0.35, 5.0)
    assert np.array_equal(np.isnan(known), [[True] * 4, [True, False, False, True]])
    assert known.dtype == np.float32 and np.isinf(depth).any(), "the SDK's memory is left alone"


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="nearest_m 2.0 must be less than farthest_m 1.0"):
        ZedOptions(nearest_m=2.0, farthest_m=1.0)
