# SPDX-License-Identifier: Apache-2.0
"""Which V4L2 device an address names, and when its pictures were taken."""
from __future__ import annotations

from pathlib import Path

import pytest

from dex_core.errors import ConfigError, ConnectionLostError
from dex_perception.cameras.uvc_device import attached, exposure_time, stable_path

NAME = "usb-Acme_Eye_4711-video-index0"


@pytest.fixture
def v4l(tmp_path: Path) -> Path:
    """/dev/v4l of a machine with one camera."""
    node = tmp_path / "video3"
    node.touch()
    for folder, name in (("by-id", NAME), ("by-path", "pci-0000:00:14.0-usb-0:2:1.0-video-index0")):
        (tmp_path / "v4l" / folder).mkdir(parents=True)
        (tmp_path / "v4l" / folder / name).symlink_to(node)
    return tmp_path / "v4l"


def test_stable_paths_are_taken(v4l: Path) -> None:
    for address in attached(v4l):
        assert stable_path(address, v4l) == Path(address)
    assert [Path(path).parent.name for path in attached(v4l)] == ["by-id", "by-path"]


@pytest.mark.parametrize("address", ["/dev/video0", "/dev/video12", "0"])
def test_a_number_is_no_camera(v4l: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{address}' is another camera after the next boot; .*plugged in: .*{NAME}"):
        stable_path(address, v4l)


def test_no_camera_is_guessed(v4l: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"address is empty; .* plugged in: .*{NAME}"):
        stable_path("", v4l)
    with pytest.raises(ConfigError, match="no video device is plugged in"):
        stable_path("", tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is not a path under .*by-id"):
        stable_path("/dev/null", v4l)


def test_a_camera_that_is_not_plugged_in(v4l: Path) -> None:
    with pytest.raises(ConnectionLostError, match=f"camera usb-Other-video-index0 is not plugged in; plugged in: .*{NAME}"):
        stable_path(str(v4l / "by-id" / "usb-Other-video-index0"), v4l)
    (v4l.parent / "video3").unlink()
    with pytest.raises(ConnectionLostError, match="not plugged in"):
        stable_path(str(v4l / "by-id" / NAME), v4l)


MONOTONIC, WALL = 80_000 * 10**9, 1_700_000_000 * 10**9


@pytest.mark.parametrize("kernel_ms, age_ms, source", [
    (MONOTONIC * 1e-6 - 25.0, 25.0, "kernel, monotonic clock"),
    (MONOTONIC * 1e-6 + 1.0, 0.0, "kernel, monotonic clock"),
    (WALL * 1e-6 - 40.0, 40.0, "kernel, wall clock"),
    (0.0, 0.0, "arrival"),
    (MONOTONIC * 1e-6 - 60_000.0, 0.0, "arrival"),
    (MONOTONIC * 1e-6 + 60_000.0, 0.0, "arrival"),
])
def test_the_drivers_stamp_on_the_wall_clock(kernel_ms: float, age_ms: float, source: str) -> None:
    exposure = exposure_time(kernel_ms, MONOTONIC, WALL)
    assert WALL - exposure.stamp_ns == pytest.approx(age_ms * 1e6, abs=300_000)  # a double of ms since 1970 has a quarter of a microsecond
    assert exposure.source.startswith(source)
