# SPDX-License-Identifier: Apache-2.0
"""Frames of the PSYONIC Ability Hand's extended API: checksum, byte stuffing, commands to the hand, replies from it. No port, no state."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dex_core.errors import DexError
from dex_core.types import Array

MOTORS = ("index", "middle", "ring", "pinky", "thumb_flexor", "thumb_rotator")
TOUCHED = ("index", "middle", "ring", "pinky", "thumb")
SITES = 6
"""Touch sites of one fingertip."""

COUNTS_PER_DEG = 32767 / 150
COUNTS_PER_DEG_S = 32767 / 3000
COUNTS_PER_ROTOR_RAD_S = 4.0
COUNTS_PER_A = 620.606079
"""The conversion of current depends on the hand's hardware (Bluetooth command Rv); this is the one of PSYONIC's own package."""
FULL_DUTY = 3546
GEAR = np.array([649.0] * 5 + [162.45])
"""Rotor over joint speed."""

FRAME, ESCAPE, MASK = 0x7E, 0x7D, 0x20
NOISE = 2
"""RS-485 adapters put stray zeros around frames: a body as short as this is none."""
MAX_OPEN = 512
EXIT_API = 0x7C
READ_REGISTER = 0xDA
REGISTER_OK = 0x4E11FEA4
UNIQUE_ID = (61, 62)
"""Registers that hold the two words of the hand's serial number."""

_ESCAPED = re.compile(rb"\x7d(.)", re.DOTALL)


class FrameError(DexError):
    """Bytes that are no frame of the hand: wrong length, wrong checksum, unknown variant."""

    code = "frame"


class Mode(IntEnum):
    """High half of a format header: what the six values of a command are."""

    POSITION = 0x10
    VELOCITY = 0x20
    CURRENT = 0x30
    DUTY = 0x40
    READ_ONLY = 0xA0
    """No values: the hand answers and its motors stay whose they are."""


class Variant(IntEnum):
    """Low half of a format header: what the reply holds beside positions."""

    CURRENT_TOUCH = 0
    VELOCITY_TOUCH = 1
    CURRENT_VELOCITY = 2


REPLY_BYTES = {Variant.CURRENT_TOUCH: 72, Variant.VELOCITY_TOUCH: 72, Variant.CURRENT_VELOCITY: 39}
REGISTER_REPLY_BYTES = 9
COUNTS_PER_UNIT = {
    Mode.POSITION: COUNTS_PER_DEG, Mode.VELOCITY: COUNTS_PER_DEG_S, Mode.CURRENT: COUNTS_PER_A, Mode.DUTY: FULL_DUTY / 100.0,
}
_COMMAND, _PAIRS, _SPEEDS = struct.Struct("<BB6h"), struct.Struct("<B12h"), struct.Struct("<6h")


class Reply(NamedTuple):
    """What the hand says of itself; (6,) each in the order of MOTORS, thumb rotator negative. None: not in this variant.

    Attributes:
        header: the format header it answers.
        packed_touch: the 45 bytes that :attr:`touch` unpacks.
        limited: bit per motor: its request is not followed as it stands, because of a collision or of heat.
    """

    header: int
    position_deg: Array
    current_a: Array | None
    rotor_rad_s: Array | None
    packed_touch: bytes | None
    limited: int

    @property
    def touch(self) -> Array | None:
        """(5, 6) counts of 12 bits, rows as TOUCHED."""
        return None if self.packed_touch is None else unpack_touch(self.packed_touch)


def with_checksum(body: bytes) -> bytes:
    """Appends the byte that makes the sum of all zero."""
    return body + bytes([-sum(body) & 0xFF])


def stuffed(body: bytes) -> bytes:
    """Between frame characters, with those and escapes inside escaped."""
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def unstuffed(piece: bytes) -> bytes:
    """What lies between two frame characters, with its escapes undone."""
    return _ESCAPED.sub(lambda found: bytes([found[1][0] ^ MASK]), piece) if ESCAPE in piece else piece


class Unstuffer:
    """Finds stuffed frames in a stream that comes in pieces."""

    def __init__(self) -> None:
        self._open = b""

    def clear(self) -> None:
        """Forgets a frame that has begun."""
        self._open = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Bodies of the frames that are whole now, checksum included and not yet checked."""
        *whole, self._open = (self._open + data).split(b"\x7e")
        if len(self._open) > MAX_OPEN:
            self._open = b""
        return [unstuffed(piece) for piece in whole if len(piece) > NOISE]


def to_counts(mode: Mode, values: Sequence[float] | Array) -> Array:
    """Values in deg, deg/s, A or % of duty as the six integers that are sent."""
    return np.minimum(np.maximum(np.rint(np.asarray(values, dtype=np.float64) * COUNTS_PER_UNIT[mode]), -32767), 32767)


def command_body(address: int, mode: Mode, variant: Variant, counts: Sequence[int] | Array) -> bytes:
    """A command of six counts, with checksum."""
    return with_checksum(_COMMAND.pack(address, mode | variant, *(int(value) for value in counts)))


def short_body(address: int, header: int) -> bytes:
    """A message without values: READ_ONLY | variant, EXIT_API; with checksum."""
    return with_checksum(bytes([address, header]))


def register_body(address: int, register: int) -> bytes:
    """A request for one register, with checksum."""
    return with_checksum(struct.pack("<BBI", address, READ_REGISTER, register))


def decode(body: bytes, *, header: int | None = None) -> Reply:
    """A reply of any variant, to the given format header if one is given. Raises FrameError."""
    _check_sum(body)
    if header is not None and body[0] != header:
        raise FrameError(f"an answer to {body[0]:#04x} came, {header:#04x} was asked")
    try:
        variant = Variant(body[0] & 0x0F)
    except ValueError as error:
        raise FrameError(f"reply header {body[0]:#04x} names no variant; allowed 0 to 2 in its low half") from error
    if len(body) != REPLY_BYTES[variant]:
        raise FrameError(f"reply of variant {variant + 1} has {len(body)} bytes, expected {REPLY_BYTES[variant]}")
    values = np.array(_PAIRS.unpack_from(body)[1:], dtype=np.float64)
    position, second = values[0::2] / COUNTS_PER_DEG, values[1::2]
    if variant is Variant.CURRENT_VELOCITY:
        speed = np.array(_SPEEDS.unpack_from(body, _PAIRS.size), dtype=np.float64) / COUNTS_PER_ROTOR_RAD_S
        return Reply(body[0], position, second / COUNTS_PER_A, speed, None, body[-2] & 0x3F)
    touch = body[_PAIRS.size : -2]
    if variant is Variant.CURRENT_TOUCH:
        return Reply(body[0], position, second / COUNTS_PER_A, None, touch, body[-2] & 0x3F)
    return Reply(body[0], position, None, second / COUNTS_PER_ROTOR_RAD_S, touch, body[-2] & 0x3F)


def decode_register(body: bytes) -> int:
    """The value in the answer to ``register_body``. Raises FrameError, also when the hand has no such register."""
    _check_sum(body)
    if len(body) != REGISTER_REPLY_BYTES:
        raise FrameError(f"register reply has {len(body)} bytes, expected {REGISTER_REPLY_BYTES}")
    result, value = struct.unpack_from("<II", body)
    if result != REGISTER_OK:
        raise FrameError(f"the hand refused to read the register: {result:#010x}")
    return value


def unpack_touch(packed: bytes) -> Array:
    """45 bytes -> (5, 6): three bytes hold two values of 12 bits, the low one first."""
    three = np.frombuffer(packed, dtype=np.uint8).reshape(-1, 3).astype(np.uint16)
    pairs = np.stack([three[:, 0] | (three[:, 1] & 0x0F) << 8, three[:, 1] >> 4 | three[:, 2] << 4], axis=1)
    return pairs.reshape(len(TOUCHED), SITES).astype(np.float64)


def touch_newton(counts: Array) -> Array:
    """Rough forces [N] of touch counts by PSYONIC's placeholder constants, which no calibration stands behind: untouched is about 0.9 N.

    Source: interface document, section 3.4.6. A site that is not installed sends 0 and gives 0.
    """
    volt = np.asarray(counts, dtype=np.float64) * (3.3 / 4096)
    with np.errstate(divide="ignore"):
        return np.where(volt > 0.0, 121591.0 / (33000.0 / volt + 10000.0) + 0.878894, 0.0)


def _check_sum(body: bytes) -> None:
    if not body or sum(body) & 0xFF:
        raise FrameError(f"checksum of {len(body)} bytes is off by {sum(body) & 0xFF}")
