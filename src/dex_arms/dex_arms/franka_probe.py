# SPDX-License-Identifier: Apache-2.0
"""Asks a Franka who it is before its library is let near it: protocol version, robot, and the limits of its joints. With a deadline.

``pylibfranka`` tells none of this. Frames as in libfranka-common d96c221 (Apache-2.0).
"""

from __future__ import annotations

import math
import socket
import struct
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np

from dex_core.errors import ConnectionLostError, DeviceError
from dex_core.types import Array

PORT, VERSION = 1337, 10
TIMEOUT_S = 3.0
MAX_MODEL_BYTES = 4_000_000
_HEADER = struct.Struct("<III")
_CONNECT, _GET_MODEL = 0, 11


@dataclass(frozen=True)
class RobotIdentity:
    """What a robot says of itself, limits (7,) in rad and rad/s.

    Attributes:
        name: of the robot in its own description, e.g. ``fr3``.
        offset, deceleration: of the velocity limit that depends on the position (rad/s, rad/s^2).
    """

    name: str
    version: int
    lower: Array
    upper: Array
    velocity: Array
    offset: Array
    deceleration: Array


def probe(host: str, timeout_s: float = TIMEOUT_S) -> RobotIdentity:
    """Connects, asks, and closes again. The robot does not move.

    Raises:
        ConnectionLostError: nobody answers within the deadline.
        DeviceError: FCI is off, busy, of another version, or it is no Franka (``wrong_device``).
    """
    deadline = time.monotonic() + timeout_s
    where = f"Franka at {host}:{PORT}"
    try:
        with socket.create_connection((host, PORT), timeout_s) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("", 0))
            tcp.sendall(_HEADER.pack(_CONNECT, 0, 16) + struct.pack("<HH", VERSION, udp.getsockname()[1]))
            answer = _reply(tcp, 0, deadline, where)
            _check_version(answer, where)
            tcp.sendall(_HEADER.pack(_GET_MODEL, 1, 12))
            model = _reply(tcp, 1, deadline, where)
    except ConnectionRefusedError as error:
        raise DeviceError(f"{where} refuses: is FCI enabled in Desk, and is no other client connected?", code="connection_refused") from error
    except OSError as error:
        raise ConnectionLostError(f"{where} does not answer: {error}; is this its address?") from error
    if not model or model[0] != 0:
        raise DeviceError(f"{where} does not give its model (status {model[:1].hex() or 'none'})")
    return parse_model(model[1:].decode("utf-8", "replace"), where)


def parse_model(text: str, where: str) -> RobotIdentity:
    """Name and limits out of a robot's own URDF. Raises DeviceError (``wrong_device``) when that is not a Franka arm's."""
    try:
        root = ElementTree.fromstring(text)
        rows = [_limits_of(joint) for number in range(1, 8) for joint in root.iter("joint") if joint.get("name", "").endswith(f"joint{number}")]
        table = np.array(rows)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DeviceError(f"{where}: its model cannot be read: {error}", code="wrong_device") from error
    if table.shape != (7, 5) or not np.isfinite(table).all():
        raise DeviceError(f"{where}: robot {root.get('name')!r} has {len(rows)} of joint1 to joint7, an arm has 7", code="wrong_device")
    return RobotIdentity(root.get("name", ""), VERSION, *table.T)


def _limits_of(joint: ElementTree.Element) -> tuple[float, ...]:
    limit, by_place = joint.find("limit"), joint.find("position_based_velocity_limits")
    if limit is None:
        raise ValueError(f"joint {joint.get('name')!r} has no limit")
    place = (0.0, math.inf) if by_place is None else tuple(float(by_place.attrib[key]) for key in ("velocity_offset", "deceleration_limit"))
    # an arm without such limits: as if braking from any speed took no way
    return (*(float(limit.attrib[key]) for key in ("lower", "upper", "velocity")), place[0], min(place[1], 1e6))


def _check_version(answer: bytes, where: str) -> None:
    if len(answer) < 3:
        raise DeviceError(f"{where}: what answers there does not speak the Franka control interface: {answer!r}", code="wrong_device")
    version = struct.unpack_from("<H", answer, 1)[0]
    if answer[0] != 0:  # the robot is the judge, as for the library
        raise DeviceError(
            f"{where} speaks version {version} of the control interface, this driver's library {VERSION} (robot system 5.9.0 and later)",
            code="wrong_device", device_code=version,
        )


def _reply(tcp: socket.socket, number: int, deadline: float, where: str) -> bytes:
    header = _receive(tcp, _HEADER.size, deadline)
    _command, answered, size = _HEADER.unpack(header)
    if answered != number or not _HEADER.size < size <= MAX_MODEL_BYTES:
        raise DeviceError(f"{where}: what answers there does not speak the Franka control interface: {header!r}", code="wrong_device")
    return _receive(tcp, size - _HEADER.size, deadline)


def _receive(tcp: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        tcp.settimeout(max(0.001, deadline - time.monotonic()))
        part = tcp.recv(size - len(data))
        if not part:
            raise ConnectionResetError("it closed the connection (another client may hold it)")
        data += part
    return bytes(data)
