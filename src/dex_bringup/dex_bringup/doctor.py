# SPDX-License-Identifier: Apache-2.0
"""Looks at the machine and at a cell: what is installed, missing, reachable. Each finding says what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dex_bringup import transport
from dex_core.config import CellConfig, find_share, load_cell
from dex_core.errors import DexError

CONNECT_TIMEOUT_S = 0.5
_DISTRIBUTIONS = (
    "ros-rclpy",
    "numpy",
    "pin",
    "mujoco",
    "onnxruntime",
    "rosbags",
    "mcap",
    "opencv-python-headless",
    "torch",
)
_OPTIONAL = {"torch": "only dex learn needs it: .venv/bin/pip install torch==2.13.0"}


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``level``: ok, note (works without it) or missing."""

    topic: str
    level: str
    text: str


def examine(cell_name: str, reach: bool, ping: Sequence[str] = ()) -> Iterator[Finding]:
    """Every finding in the order of the report.

    Args:
        cell_name: cell to look at.
        reach: also try to reach the real devices of the cell by TCP.
        ping: addresses to measure the round trip to.
    """
    yield Finding("machine", "ok", f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    yield from _installed()
    yield from _compiled()
    yield from (
        _attempt(topic, check)
        for topic, check in (("messages", _messages), ("offscreen pictures", _egl), ("run folder", _run_folder))
    )
    yield from (Finding(*found) for found in transport.findings(os.environ))
    for tool, use in (("ros2", "ros2 launch, ros2 bag; dex up and dex record do without"), ("rviz2", "rviz:=true; recordings open in Foxglove")):
        yield Finding(tool, "ok" if shutil.which(tool) else "note", shutil.which(tool) or f"not installed; needed for {use}")
    yield from _operating_system()
    yield from _for_devices()
    yield from _bundles()
    try:
        cell = load_cell(cell_name)
    except DexError as error:
        yield Finding(f"cell {cell_name}", "missing", str(error))
        return
    yield Finding(f"cell {cell.name}", "ok", f"{list(cell.interfaces)}, cameras {list(cell.cameras)}, bundle {cell.policy.bundle}")
    yield _running(cell)
    if reach:
        yield from _devices(cell)
    yield from map(_ping, ping)


def _attempt(topic: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(topic, "ok", check())
    except (DexError, ImportError, OSError) as error:
        return Finding(topic, "missing", f"{error}")


def _installed() -> Iterator[Finding]:
    for name in _DISTRIBUTIONS:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            if name == "ros-rclpy" and importlib.util.find_spec("rclpy"):
                yield Finding("rclpy", "ok", f"from the ROS install {os.environ.get('ROS_DISTRO', '')}")
            else:
                yield Finding(name, "note" if name in _OPTIONAL else "missing", _OPTIONAL.get(name, "not installed; run: make setup"))


def _compiled() -> Iterator[Finding]:
    """The parts in C; without them the stack works, slower."""
    from dex_core.native import LIBRARIES

    for library in LIBRARIES:
        topic = f"compiled {library.name}"
        try:
            built = library.ensure_built()
        except DexError as error:
            yield Finding(topic, "note", f"{library.without}: {error}")
        else:
            unused = os.environ.get("DEX_KERNEL", "") == "numpy"
            yield Finding(topic, "note" if unused else "ok", f"{library.without}: DEX_KERNEL=numpy asks for that" if unused else f"{built}")


def _messages() -> str:
    import control_msgs.action  # noqa: F401
    import tf2_msgs.msg  # noqa: F401

    import dex_msgs.msg  # noqa: F401

    return "dex_msgs, control_msgs, tf2_msgs import"


def _egl() -> str:
    os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/><geom size='.1'/></worldbody></mujoco>")
    try:
        with mujoco.Renderer(model, 32, 32) as renderer:
            renderer.update_scene(mujoco.MjData(model))
            renderer.render()
    except (RuntimeError, AttributeError, mujoco.FatalError) as error:
        raise OSError(f"EGL does not work ({error}); install libegl1 libgl1-mesa-dri") from error
    return f"EGL works, MuJoCo {mujoco.__version__}"


def _operating_system() -> Iterator[Finding]:
    from dex_bringup.machine import foreign_ros, may_schedule_realtime
    from dex_bringup.setup_env import stamp, wheels
    from dex_bringup.shared_memory import stale_segments

    environment = Path(sys.prefix)
    expected = stamp.read(environment).get("distributions")
    if isinstance(expected, dict):
        broken = wheels.damaged(wheels.site_packages(environment), expected)
        whole = f"{environment}, all files of {len(expected)} wheels are there"
        yield Finding("environment", "missing" if broken else "ok", f"damaged: {', '.join(broken)}; run: make setup" if broken else whole)
    if may_schedule_realtime():
        yield Finding("real-time priority", "ok", "SCHED_FIFO is allowed")
    else:
        yield Finding(
            "real-time priority",
            "note",
            "not allowed; for less jitter: 'rtprio 80' for your user in /etc/security/limits.d, or docker --cap-add=sys_nice",
        )
    stale = [segment for segment in stale_segments() if segment.exists()]
    held_mib = sum(segment.stat().st_size for segment in stale) >> 20
    yield Finding(
        "shared memory",
        "ok" if not stale else "note",
        f"killed processes left {held_mib} MiB in /dev/shm; dex up frees it" if stale else "nothing left behind",
    )
    foreign = foreign_ros()
    if foreign:
        yield Finding("other ROS", "missing", f"{foreign} is sourced on top of the wheels of this environment; use a shell without it")


def _for_devices() -> Iterator[Finding]:
    from dex_bringup.device import machine

    for name, version, use in machine.libraries():
        absent = f"not installed; {'run: make setup' if name in machine.NEEDED else 'the vendor gives it'}"
        yield Finding(name, "ok" if version else "missing" if name in machine.NEEDED else "note", f"{version or absent} (for: {use})")
    limits = machine.limits()
    yield Finding("limits", "ok" if limits["memlock"] == "unlimited" else "note",
                  f"rtprio {limits['rtprio']}, memlock {limits['memlock']}; both in /etc/security/limits.d")
    ports = machine.serial_ports()
    if not machine.in_dialout():
        yield Finding("serial rights", "note", "this user is not in the group dialout: sudo usermod -aG dialout $USER, then log in anew")
    for port in ports:
        problem = machine.port_problem(port)
        latency = "" if port.latency_ms is None else f", latency_timer {port.latency_ms} ms"
        names = ", ".join(port.names) or "no lasting name"
        yield Finding(port.device, "note" if problem else "ok", f"{names}{latency}{'; ' + problem if problem else ''}")
    if not ports:
        yield Finding("serial ports", "note", "none; hands on a serial line need one")


def _ping(address: str) -> Finding:
    from dex_bringup.device.machine import round_trip

    try:
        found = round_trip(address)
    except DexError as error:
        return Finding(address, "missing", str(error))
    text = f"round trip {found.median_ms:.3f} ms median, {found.p95_ms:.3f} p95, {found.worst_ms:.3f} worst, {found.lost} lost"
    return Finding(address, "ok" if found.open else "note", text + ("" if found.open else "; the host answers, nothing listens at that port"))


def _run_folder() -> str:
    folder = Path(os.environ.get("DEX_RUN_DIR") or Path(os.environ.get("ROS_HOME", "~/.ros")).expanduser() / "dex")
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise OSError(f"{existing} cannot be written; set DEX_RUN_DIR")
    return f"{folder}, {shutil.disk_usage(existing).free >> 30} GiB free"


def _bundles() -> Iterator[Finding]:
    from dex_core.bundle import parse_manifest

    try:
        manifests = sorted(find_share("models").glob("*/manifest.yaml"))
    except DexError as error:
        yield Finding("models", "missing", str(error))
        return
    for path in manifests:
        yield _attempt(
            f"bundle {path.parent.name}",
            lambda path=path: (lambda m: f"{m.kind} {m.version}; check it with: dex bundle verify {m.name}")(parse_manifest(path)),
        )
    if not manifests:
        yield Finding("models", "missing", "no bundle in models/; make one with: dex learn --help")


def _running(cell: CellConfig) -> Finding:
    from dex_bringup.claim import AlreadyRunningError, claim_cell

    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    try:
        claim_cell(cell, "").release()
    except AlreadyRunningError as error:
        return Finding("running", "note", str(error))
    return Finding("running", "ok", f"no cell runs on ROS_DOMAIN_ID {domain}; its ports are free")


def _devices(cell: CellConfig) -> Iterator[Finding]:
    for name, interface in cell.interfaces.items():
        address = interface.address.real
        if not address:
            yield Finding(name, "note", "no real address in the cell file; simulated only")
            continue
        if interface.address.transport == "modbus_rtu" or address.startswith("/"):
            yield Finding(
                name, "ok" if Path(address).exists() else "missing", f"{address} {'is there' if Path(address).exists() else 'is not there'}"
            )
            continue
        host, _, port = address.partition(":")
        if port and not port.isdigit():
            yield Finding(name, "missing", f"address {address!r} is no HOST, HOST:PORT or serial port")
            continue
        try:
            socket.create_connection((host, int(port or 502)), CONNECT_TIMEOUT_S).close()
            yield Finding(name, "ok", f"{address} answers")
        except OSError as error:
            yield Finding(name, "missing", f"{address} does not answer: {error}")
