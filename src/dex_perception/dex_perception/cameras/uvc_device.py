# SPDX-License-Identifier: Apache-2.0
"""V4L2 devices by the paths that stay theirs, and the kernel's time of an exposure on the wall clock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from dex_core.clock import NS
from dex_core.errors import ConfigError, ConnectionLostError

V4L = Path("/dev/v4l")
MOST_PLAUSIBLE_AGE_NS = 2 * NS
CLOCK_SLACK_NS = 2_000_000
"""The two clocks are read one after the other, and the kernel rounds to microseconds."""


def attached(root: Path = V4L) -> list[str]:
    """Stable paths of the video devices that are plugged in, by identity first, then by port."""
    return [str(path) for folder in ("by-id", "by-path") for path in sorted((root / folder).glob("*"))]


def stable_path(address: str, root: Path = V4L) -> Path:
    """The device that ``address`` names.

    Raises:
        ConfigError: empty, a ``/dev/videoN``, which is another camera after the next boot, or no path of a video device; says what is plugged in.
        ConnectionLostError: a stable path, and nothing is plugged in there.
    """
    there = attached(root)
    listed = f"plugged in: {there}" if there else "no video device is plugged in"
    if not address:
        raise ConfigError(f"address is empty; a V4L2 camera needs its path under {root}/by-id, or file:<video>; {listed}")
    if re.fullmatch(r"(/dev/video)?\d+", address):
        raise ConfigError(f"address {address!r} is another camera after the next boot; give its path under {root}/by-id; {listed}")
    path = Path(address)
    if root not in path.parents:
        raise ConfigError(f"address {address!r} is not a path under {root}/by-id or {root}/by-path; {listed}")
    if not path.exists():
        raise ConnectionLostError(f"camera {path.name} is not plugged in; {listed}")
    return path


class Exposure(NamedTuple):
    """When a picture was taken (wall clock [ns]) and how that is known."""

    stamp_ns: int
    source: str


def exposure_time(kernel_ms: float, monotonic_ns: int, wall_ns: int) -> Exposure:
    """The stamp a driver gave a buffer, on the wall clock.

    Drivers stamp with the monotonic clock (all of uvcvideo's do), a few old ones with the wall clock, and some with nothing that can be used; those
    pictures are stamped with their arrival, and it is said so.

    Args:
        kernel_ms: buffer stamp [ms]. monotonic_ns, wall_ns: both clocks when the buffer was fetched [ns].
    """
    kernel_ns = round(kernel_ms * 1e6)
    for now_ns, source in ((monotonic_ns, "kernel, monotonic clock"), (wall_ns, "kernel, wall clock")):
        age_ns = now_ns - kernel_ns
        if kernel_ns > 0 and -CLOCK_SLACK_NS <= age_ns <= MOST_PLAUSIBLE_AGE_NS:
            return Exposure(wall_ns - max(0, age_ns), source)
    return Exposure(wall_ns, "arrival; the driver's stamps are of no known clock")
