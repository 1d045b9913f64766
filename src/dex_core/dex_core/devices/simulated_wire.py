# SPDX-License-Identifier: Apache-2.0
"""Frames of the `simulated` transport: joints of one simulated device over TCP, where its own wire has no simulator yet. Simulation only.

Every frame has the same size: magic, version, kind, code, number of joints, sequence, checksum of the joint names, error word, count of
malformed frames, time, who, then position [rad], velocity [rad/s] and effort [N m] of up to 32 joints, then a CRC-32 of all before.
A client asks, the server answers each request once, with its sequence. Each frame names hand model and side.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from dex_core.errors import ConfigError, DexError

MAGIC, VERSION = b"DXJ\x01", 1
MAX_JOINTS, MAX_NAME_BYTES = 32, 48
_BODY = struct.Struct(f"<4s4B4Iq{MAX_NAME_BYTES}s{3 * MAX_JOINTS}d")
_CRC = struct.Struct("<I")
FRAME_BYTES = _BODY.size + _CRC.size
_NOTHING = (0.0,) * MAX_JOINTS


class Kind(IntEnum):
    """What a frame is; below 16 the client asks, from 16 on the server answers."""

    HELLO = 1
    ENABLE = 2
    DISABLE = 3
    READ = 4
    COMMAND = 5
    HOLD = 6
    CLEAR = 7
    STATE = 16
    REFUSED = 17


class Refusal(IntEnum):
    """Why a request was refused."""

    NONE = 0
    WRONG_DEVICE = 1
    WRONG_JOINTS = 2
    BUSY = 3
    NOT_ENABLED = 4
    DEVICE_ERROR = 5
    OUT_OF_LIMITS = 6
    UNKNOWN = 7


class DeviceFault(IntEnum):
    """Bits of the error word."""

    OVERLOAD = 1
    OVER_TEMPERATURE = 2
    MOTOR = 4


class WireError(DexError):
    """Bytes that are no frame of this protocol."""

    code = "malformed"


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        who: hand model and side, e.g. ``left_ability``.
        joints: checksum of the joint names in order (:func:`names_checksum`).
        error: bits of DeviceFault, in answers.
        dropped: malformed frames the server has dropped, in answers.
        stamp_ns: wall-clock time of the measurement [ns], in answers.
        position_rad, velocity_rad_s, effort_nm: one number per joint, or none at all.
    """

    kind: Kind
    sequence: int
    who: str
    joints: int
    code: Refusal = Refusal.NONE
    error: int = 0
    dropped: int = 0
    stamp_ns: int = 0
    position_rad: tuple[float, ...] = ()
    velocity_rad_s: tuple[float, ...] = ()
    effort_nm: tuple[float, ...] = ()

    def pack(self) -> bytes:
        """The frame's bytes. Raises WireError for what does not fit or is not finite."""
        count = len(self.position_rad)
        _check_numbers(self)
        numbers = [(*part, *_NOTHING)[:MAX_JOINTS] for part in (self.position_rad, self.velocity_rad_s, self.effort_nm)]
        who = self.who.encode("ascii", "replace")
        if len(who) > MAX_NAME_BYTES:
            raise WireError(f"name {self.who!r} has {len(who)} bytes; at most {MAX_NAME_BYTES} fit")
        try:
            body = _BODY.pack(MAGIC, VERSION, self.kind, self.code, count, self.sequence, self.joints, self.error, self.dropped, self.stamp_ns,
                              who, *numbers[0], *numbers[1], *numbers[2])
        except struct.error as error:
            raise WireError(f"a number of frame {self.kind.name} does not fit: {error}") from error
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> Frame:
        """The frame in exactly ``FRAME_BYTES`` bytes. Raises WireError."""
        if len(data) != FRAME_BYTES:
            raise WireError(f"{len(data)} bytes are no frame; it has {FRAME_BYTES}")
        body = data[: _BODY.size]
        magic, version, kind, code, count, sequence, joints, error, dropped, stamp_ns, who, *numbers = _BODY.unpack(body)
        if magic != MAGIC or version != VERSION:
            raise WireError(f"magic {magic!r} version {version}; expected {MAGIC!r} version {VERSION}")
        if _CRC.unpack(data[_BODY.size :])[0] != zlib.crc32(body):
            raise WireError("the checksum is wrong")
        if count > MAX_JOINTS:
            raise WireError(f"{count} joints; allowed 0 to {MAX_JOINTS}")
        parts = [tuple(numbers[i * MAX_JOINTS : i * MAX_JOINTS + count]) for i in range(3)]
        try:
            frame = cls(Kind(kind), sequence, who.rstrip(b"\0").decode("ascii"), joints, Refusal(code), error, dropped, stamp_ns, *parts)
        except ValueError as problem:
            raise WireError(f"frame says nothing known: {problem}") from problem
        _check_numbers(frame)
        return frame


def _check_numbers(frame: Frame) -> None:
    parts = (frame.position_rad, frame.velocity_rad_s, frame.effort_nm)
    if len(frame.position_rad) > MAX_JOINTS or any(len(part) not in (0, len(frame.position_rad)) for part in parts):
        raise WireError(f"{[len(part) for part in parts]} numbers; at most {MAX_JOINTS} joints, alike for all")
    if not all(math.isfinite(number) for part in parts for number in part):
        raise WireError("a number is not finite")


class FrameReader:
    """Bytes as they come -> whole frames. What is none is skipped up to the next magic, and counted.

    Attributes:
        dropped: malformed frames and stretches of garbage so far.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._buffer = bytearray()
        self._lost = False

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by ``data``; less than one frame is kept."""
        self._buffer += data
        frames = []
        while self._align() and len(self._buffer) >= FRAME_BYTES:
            try:
                frames.append(Frame.unpack(bytes(self._buffer[:FRAME_BYTES])))
            except WireError:
                self.dropped, self._lost = self.dropped + 1, True
                del self._buffer[:1]
                continue
            self._lost = False
            del self._buffer[:FRAME_BYTES]
        return frames

    def _align(self) -> bool:
        """Drops what stands before the next magic; False when there is none."""
        start = self._buffer.find(MAGIC)
        skipped = start if start >= 0 else max(0, len(self._buffer) - len(MAGIC) + 1)
        if skipped:
            self.dropped, self._lost = self.dropped + (not self._lost), True
            del self._buffer[:skipped]
        return start >= 0


def names_checksum(names: Sequence[str]) -> int:
    """One number for joint names in their order."""
    return zlib.crc32("\n".join(names).encode())


def fault_names(word: int) -> list[str]:
    """Names of the bits of an error word, ``unknown`` for bits that have none."""
    known = [fault.name.lower() for fault in DeviceFault if word & fault]
    return known + ["unknown"] * bool(word & ~sum(DeviceFault))


def split_address(address: str, who: str) -> tuple[str, int]:
    """``127.0.0.21:6001`` -> (host, port). Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65535:
        raise ConfigError(f"{who}: address {address!r} is not HOST:PORT")
    return host, int(port)
