# SPDX-License-Identifier: Apache-2.0
"""The way to one xArm controller: its address, who answers there, and a connected SDK that leaves the process as it was."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Callable, Iterator
from typing import Any

from dex_core.errors import ConfigError, ConnectionLostError, DeviceError

TIMEOUT_S = 0.5
"""Longest wait for one reply. One block of 190 ms of a servo call has been reported in the wild; this is above it."""
CONNECT_TIMEOUT_S = 2.0
PORT = 502
_VERSION_REQUEST = bytes((0, 1, 0, 2, 0, 1, 1))


def split_address(address: str) -> tuple[str, int]:
    """``ip`` or ``ip:control_port`` -> (host, port). Raises ConfigError."""
    host, _, port = address.partition(":")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        socket.inet_aton(host)
        return host, int(port) if port else PORT
    except (OSError, ValueError) as error:
        raise ConfigError(f"address of an xArm is {address!r}; allowed: an IPv4 address, or ip:port") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The SDK prints and sets a process-wide socket timeout; neither may leak into the caller's process."""
    timeout = socket.getdefaulttimeout()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(timeout)


def probe_version(host: str, port: int) -> str:
    """Version text of the controller. The SDK would try for three minutes when something accepts but does not answer."""
    where = f"xArm controller at {host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as sock:
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.sendall(_VERSION_REQUEST)
            answer = sock.recv(256)
    except OSError as error:
        raise ConnectionLostError(f"{where} does not answer: {error}; is it on, and is this its address?") from error
    if len(answer) < 9 or answer[2:4] != _VERSION_REQUEST[2:4] or answer[6] != 1:
        raise DeviceError(f"{where}: what answers there does not speak the xArm protocol: {answer[:16]!r}", code="wrong_device")
    return answer[8:].split(b"\0")[0].decode("ascii", "replace")


def identify(version: str, host: str) -> tuple[int, str]:
    """(number of axes, serial number) out of the version text. Raises DeviceError ``wrong_device`` when it holds neither."""
    fields = version.split(",")
    if len(fields) < 4 or not fields[0].strip().isdigit():
        raise DeviceError(f"xArm at {host}: version {version!r} does not name axes and serial number", code="wrong_device")
    return int(fields[0]), fields[2].strip()


def open_sdk(host: str, port: int) -> Any:
    """A connected XArmAPI without its report and timer threads."""
    with quiet():
        from xarm.core.config.x_config import XCONF
        from xarm.core.utils.log import logger
        from xarm.wrapper import XArmAPI

        logger.setLevel(logger.CRITICAL)  # every failure comes back as a code, which is translated here
        XCONF.SocketConf.TCP_CONTROL_PORT = port
        api = XArmAPI(host, is_radian=True, do_not_open=True, enable_report=False, timed_comm=False, check_is_pause=False, forbid_uds=True)
        _guarded(api.connect, f"xArm controller at {host}:{port}")
        api.set_timeout([TIMEOUT_S, TIMEOUT_S])
    return api


def _guarded(connect: Callable[[], None], where: str) -> None:
    try:
        connect()
    except Exception as error:  # the SDK raises plain Exception, here only
        raise ConnectionLostError(f"{where}: the SDK could not connect: {error}") from error
