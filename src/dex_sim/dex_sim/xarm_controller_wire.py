# SPDX-License-Identifier: Apache-2.0
"""Bytes of the xArm controller: private frames of port 502 and the pushed reports. No state, no sockets."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

PORT_CONTROL = 502
PORT_REPORT_NORMAL, PORT_REPORT_RICH, PORT_REPORT_REAL = 30001, 30002, 30003
REPORT_BYTES = {PORT_REPORT_NORMAL: 145, PORT_REPORT_RICH: 587, PORT_REPORT_REAL: 135}
REPORT_RATE_HZ = {PORT_REPORT_NORMAL: 5.0, PORT_REPORT_RICH: 5.0, PORT_REPORT_REAL: 100.0}

STATE_INVALID, STATE_ERROR, STATE_WARNING, STATE_NOT_READY = 0x08, 0x40, 0x20, 0x10
FEEDBACK_FUNCTION = 0xFF
HEARTBEAT_FUNCTION = 0
MAX_BODY = 1024
"""Longest request body a client may announce; more is not this protocol."""

_HEADER = struct.Struct(">HHHB")
_REPLY = struct.Struct(">HHHBB")
_FLOATS = {n: struct.Struct(f"<{n}f") for n in (1, 6, 7, 10, 14, 20, 21)}
_COMMON = struct.Struct(">IBH")


class WireError(Exception):
    """The peer does not speak this protocol; the connection is closed."""


class Request(NamedTuple):
    """One request frame: transaction and protocol ids are echoed in the reply."""

    transaction: int
    protocol: int
    function: int
    params: bytes


class FrameReader:
    """Cuts a byte stream into requests; bytes may arrive in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Requests that are complete now. Raises WireError on a length no client sends."""
        self._buffer += data
        requests = []
        while len(self._buffer) >= 7:
            transaction, protocol, length, function = _HEADER.unpack_from(self._buffer)
            if not 1 <= length <= MAX_BODY or protocol > 3:
                raise WireError(f"request announces {length} bytes of protocol {protocol}; allowed 1 to {MAX_BODY} of protocol 0 to 3")
            end = 6 + length
            if len(self._buffer) < end:
                break
            requests.append(Request(transaction, protocol, function, bytes(self._buffer[7:end])))
            del self._buffer[:end]
        return requests


def reply(request: Request, state: int, data: bytes = b"") -> bytes:
    """Reply frame with the state byte."""
    return _REPLY.pack(request.transaction, request.protocol, 2 + len(data), request.function, state) + data


def modbus_refusal(request: Request) -> bytes:
    """Standard Modbus TCP answer 'illegal function': that half of port 502 is not simulated."""
    code = (request.params[0] if request.params else 0) | 0x80
    return struct.pack(">HHHBBB", request.transaction, 0, 3, request.function, code, 1)


def feedback(transaction: int, kind: int, function: int, task: int, result: int, time_us: int) -> bytes:
    """Unsolicited frame about a motion task: ``kind`` 1 started, 2 ended; ``result`` 0 done, 2 discarded."""
    data = struct.pack(">BBHBQ", kind, function, task & 0xFFFF, result, time_us)
    return _REPLY.pack(transaction, 3, 2 + len(data), FEEDBACK_FUNCTION, 0) + data


def floats(values: Sequence[float]) -> bytes:
    """Little-endian float32s."""
    packer = _FLOATS.get(len(values)) or struct.Struct(f"<{len(values)}f")
    return packer.pack(*values)


def read_floats(params: bytes, count: int) -> tuple[float, ...] | None:
    """The first ``count`` float32s, or None when there are fewer."""
    return _FLOATS[count].unpack_from(params) if len(params) >= 4 * count else None


class ReportFrames:
    """The three report frames as prebuilt buffers; only what changes is written per report."""

    def __init__(self, version: str, joint_ranges_rad: Sequence[tuple[float, float]]) -> None:
        self._frames = {port: bytearray(size) for port, size in REPORT_BYTES.items()}
        for port, frame in self._frames.items():
            if port != PORT_REPORT_REAL:
                frame[131:133] = bytes((3, 3))  # collision and teaching sensitivity
                frame[133:145] = struct.pack("<3f", 0.0, 0.0, -1.0)
        _fill_rich(self._frames[PORT_REPORT_RICH], version, joint_ranges_rad)

    def build(self, port: int, status: ReportStatus) -> bytes:
        """The frame of ``port`` for this status."""
        frame = self._frames[port]
        _COMMON.pack_into(frame, 0, len(frame), status.state | status.mode << 4, status.queued)
        _FLOATS[20].pack_into(frame, 7, *status.position_rad, *status.pose_mm_rad, *status.effort_nm)
        if port != PORT_REPORT_REAL:
            frame[87:91] = bytes((status.brake_bits, status.enable_bits, status.error, status.warning))
        if port == PORT_REPORT_RICH:
            frame[229:243] = bytes(v for code in status.servo_codes for v in (1 if code else 0, code))
            struct.pack_into("<7b", frame, 245, *status.temperature_c)
            _FLOATS[7].pack_into(frame, 256, *status.velocity_rad_s)
            struct.pack_into(">I", frame, 284, status.counter & 0xFFFFFFFF)
        return bytes(frame)


class ReportStatus(NamedTuple):
    """What a report says; seven joints each."""

    state: int
    mode: int
    queued: int
    position_rad: Sequence[float]
    velocity_rad_s: Sequence[float]
    effort_nm: Sequence[float]
    pose_mm_rad: Sequence[float]
    brake_bits: int
    enable_bits: int
    error: int
    warning: int
    servo_codes: Sequence[int]
    temperature_c: Sequence[int]
    counter: int


def _fill_rich(frame: bytearray, version: str, joint_ranges_rad: Sequence[tuple[float, float]]) -> None:
    """The fields of the rich report that do not change (layout: uint big-endian, float little-endian)."""
    frame[145:147] = bytes((7, 7))  # arm type, axes
    frame[151:181] = version.encode("ascii")[:29].ljust(30, b"\0")
    struct.pack_into("<5f", frame, 181, 1000.0, 1.0, 50000.0, 0.1, 1000.0)  # TCP jerk, acceleration and speed ranges, mm
    struct.pack_into("<5f", frame, 201, 20.0, 0.01, 20.0, 1e-4, 3.1415927)  # the same of a joint, rad
    struct.pack_into("<2f", frame, 221, 2.3, 2.7)
    struct.pack_into(">7H", frame, 341, *[4800] * 7)  # 48.00 V
    struct.pack_into(">6h", frame, 496, 9999, -9999, 9999, -9999, 9999, -9999)
    struct.pack_into("<2f", frame, 508, 1000.0, 3.1415927)
    struct.pack_into("<14f", frame, 516, *(v for pair in joint_ranges_rad for v in pair))
