# SPDX-License-Identifier: Apache-2.0
"""Frames on an XHand1's RS-485 line as the hand sees them: requests out of bytes, and the answers to them."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = b"\x55\xaa"
HOST, BROADCAST, HAND_BASE = 0xFE, 0xFF, 0x80
JOINTS, TIPS, CELLS = 12, 5, 120
TIP_COMPONENTS = range(17, 22)
"""Addresses of the fingertip boards thumb .. little; joint boards are 0 .. 11."""
REALTIME, RESET_SENSOR, VERSION, READ_REGISTERS = 0x02, 0x12, 0x13, 0x15
MAX_PAYLOAD = 4096

_HEADER = struct.Struct("<2sBBBH")
_CRC = struct.Struct("<H")
_MOTOR = struct.Struct("<Hhhhf6H")
_JOINT = struct.Struct("<BBf9H")
ORDER_BYTES = JOINTS * _MOTOR.size


@dataclass(frozen=True)
class Request:
    """One whole frame of the host: address it is for, command, payload, and how many bytes it was on the line."""

    destination: int
    command: int
    payload: bytes
    size: int


@dataclass(frozen=True)
class Motor:
    """What one motor is told; ``torque_ma`` is its torque limit [mA], ``position`` in the hand's own unit, rad."""

    joint: int
    kp: int
    ki: int
    kd: int
    position: float
    torque_ma: int
    mode: int


@dataclass(frozen=True)
class Joint:
    """What one joint says. ``errors``: codes of its communication, joint and fingertip board."""

    sensor: int
    position: float
    current_ma: int
    raw: int
    temperature_c: int
    errors: tuple[int, int, int]


@dataclass(frozen=True)
class Tip:
    """What one fingertip says: force counts x, y (signed bytes) and z (a byte without sign), and the cell they act on."""

    force: tuple[int, int, int]
    cell: int
    temperature_c: int


class RequestReader:
    """Bytes as they come -> whole requests; what is none is skipped, and counted in ``dropped``."""

    def __init__(self) -> None:
        self.dropped = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Requests completed by ``data``."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEADER.size + _CRC.size:
            head, source, destination, command, length = _HEADER.unpack_from(self._buffer)
            if head != HEAD or length > MAX_PAYLOAD:
                self._skip()
                continue
            size = _HEADER.size + length + _CRC.size
            if len(self._buffer) < size:
                break
            frame = bytes(self._buffer[:size])
            if _CRC.unpack(frame[-_CRC.size :])[0] != binascii.crc_hqx(frame[: -_CRC.size], 0):
                self._skip()
                continue
            del self._buffer[:size]
            if source == HOST:
                found.append(Request(destination, command, frame[_HEADER.size : -_CRC.size], size))
        return found

    def clear(self) -> None:
        """Forgets what is not complete."""
        self._buffer.clear()

    def _skip(self) -> None:
        """Drops everything before the next head."""
        self.dropped += 1
        at = self._buffer.find(HEAD, 1)
        del self._buffer[: at if at > 0 else len(self._buffer) - (self._buffer[-1:] == HEAD[:1])]


def pack_answer(source: int, command: int, payload: bytes) -> bytes:
    """One frame to the host."""
    body = _HEADER.pack(HEAD, source, HOST, command, len(payload)) + payload
    return body + _CRC.pack(binascii.crc_hqx(body, 0))


def unpack_order(payload: bytes) -> list[Motor]:
    """The twelve motors of a real-time command of ``ORDER_BYTES``."""
    return [Motor(*fields[:7]) for fields in _MOTOR.iter_unpack(payload)]


def pack_state(joints: Sequence[Joint], tips: Sequence[Tip]) -> bytes:
    """The answer to a real-time command: 2208 bytes."""
    parts = [
        _JOINT.pack(i, j.sensor, j.position, j.current_ma, j.raw, j.temperature_c, *j.errors, 0, 0, 0) for i, j in enumerate(joints)
    ]
    for tip in tips:
        force = struct.pack("<bbB", *tip.force)
        cells = bytearray(3 * CELLS)
        cells[3 * tip.cell : 3 * tip.cell + 3] = force
        parts += [force, bytes(cells), bytes([tip.temperature_c]) * 21]
    return b"".join(parts)
