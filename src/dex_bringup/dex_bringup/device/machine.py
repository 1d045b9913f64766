# SPDX-License-Identifier: Apache-2.0
"""What the machine has for devices: serial ports and their names, rights, vendors' libraries, and the way over the network."""

from __future__ import annotations

import grp
import importlib.metadata
import importlib.util
import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dex_core.errors import ConfigError, DeviceError

ROUND_TRIPS = 20
ROUND_TRIP_TIMEOUT_S = 0.5
FTDI_LATENCY_MS = 1
"""Asked for by every servo bus: the adapter's default of 16 ms would be the largest part of a cycle."""
LIBRARIES = {
    "xarm-python-sdk": ("xarm", "xArm"), "pylibfranka": ("pylibfranka", "Franka"), "franky-control": ("franky", "Franka, the other client"),
    "pymodbus": ("pymodbus", "Inspire"), "dynamixel-sdk": ("dynamixel_sdk", "LEAP"), "ability-hand": ("ah_wrapper", "Ability, for comparison"),
    "pyserial": ("serial", "serial ports"), "xhand-controller": ("xhand_controller", "XHand1, the vendor's own transport"),
    "pxdex": ("pxdex", "Paxini DexH13"), "unitree-sdk2py": ("unitree_sdk2py", "Unitree, not needed: the driver speaks ROS messages"),
}
"""Distribution -> (module, what it is for)."""
NEEDED = ("xarm-python-sdk", "pylibfranka", "pymodbus", "dynamixel-sdk", "pyserial")


@dataclass(frozen=True)
class SerialPort:
    """One serial port of this machine.

    Attributes:
        device: e.g. ``/dev/ttyUSB0``; names: those that stay the same over re-plugging, ``/dev/serial/by-id/...``.
        readable: this user may read and write it. group: who may.
        latency_ms: of an FTDI adapter, None of others.
    """

    device: str
    names: tuple[str, ...]
    readable: bool
    group: str
    latency_ms: int | None


def serial_ports(dev: Path = Path("/dev"), sys_class: Path = Path("/sys/class/tty")) -> list[SerialPort]:
    """Serial ports with hardware behind them, in order: USB adapters, and those that udev names."""
    by_id = sorted((dev / "serial" / "by-id").glob("*"))
    named: dict[str, list[str]] = {}
    for link in by_id:
        named.setdefault(str(link.resolve()), []).append(str(link))
    devices = sorted({*named, *(str(path) for pattern in ("ttyUSB*", "ttyACM*") for path in dev.glob(pattern))})
    return [
        SerialPort(
            device, tuple(named.get(device, ())), os.access(device, os.R_OK | os.W_OK), _group_of(device),
            _latency_of(sys_class / Path(device).name / "device" / "latency_timer"),
        )
        for device in devices if Path(device).exists()
    ]


def port_problem(port: SerialPort) -> str:
    """What keeps a port from being used well, and what to do; empty when nothing."""
    if not port.readable:
        return f"this user may not open it: sudo usermod -aG {port.group} $USER, then log in anew"
    if port.latency_ms is not None and port.latency_ms > FTDI_LATENCY_MS:
        name = Path(port.device).name
        return (
            f"latency_timer is {port.latency_ms} ms, a servo bus wants {FTDI_LATENCY_MS}: "
            f"echo {FTDI_LATENCY_MS} | sudo tee /sys/bus/usb-serial/devices/{name}/latency_timer"
        )
    return "" if port.names else "it has no name under /dev/serial/by-id: another adapter may get its number"


def in_dialout() -> bool:
    """Whether this process may open serial ports as their group does."""
    try:
        dialout = grp.getgrnam("dialout").gr_gid
    except KeyError:
        return os.geteuid() == 0
    return os.geteuid() == 0 or dialout in (*os.getgroups(), os.getegid())


def limits() -> dict[str, str]:
    """rtprio and memlock of this process, in words."""
    rtprio, memlock = resource.getrlimit(resource.RLIMIT_RTPRIO)[0], resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    unlimited = resource.RLIM_INFINITY
    return {
        "rtprio": "unlimited" if rtprio == unlimited else str(rtprio),
        "memlock": "unlimited" if memlock == unlimited else f"{memlock >> 10} KiB",
    }


def libraries() -> Iterator[tuple[str, str, str]]:
    """(distribution, version or empty, what it is for) of every vendor's library."""
    for name, (module, use) in LIBRARIES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown version" if importlib.util.find_spec(module) else ""
        yield name, version, use


@dataclass(frozen=True)
class RoundTrip:
    """Times of TCP handshakes [ms]. ``open``: something listens at the port; a refusal is an answer too."""

    median_ms: float
    p95_ms: float
    worst_ms: float
    lost: int
    open: bool


def round_trip(address: str, count: int = ROUND_TRIPS, timeout_s: float = ROUND_TRIP_TIMEOUT_S) -> RoundTrip:
    """Measures the way to a given ``HOST`` or ``HOST:PORT`` (no port: 502) by opening connections, one after another; sends nothing.

    Raises:
        ConfigError: it is no address.
        DeviceError: ``connection_lost``, nothing answers at all.
    """
    host, _, port = address.partition(":")
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"address {address!r} is no HOST or HOST:PORT")
    times_ms, answered = [], False
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        try:
            socket.create_connection((host, int(port or 502)), timeout_s).close()
            answered = True
        except ConnectionRefusedError:
            pass  # the host is there and said no: a round trip all the same
        except OSError as error:
            if not times_ms:
                raise DeviceError(f"{address} does not answer: {error}", code="connection_lost") from error
            continue
        times_ms.append((time.perf_counter_ns() - start_ns) * 1e-6)
    median, p95 = np.percentile(times_ms, [50, 95])
    return RoundTrip(float(median), float(p95), max(times_ms), count - len(times_ms), answered)


def _group_of(device: str) -> str:
    try:
        return grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def _latency_of(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
