# SPDX-License-Identifier: Apache-2.0
"""The Ability Hand's end of its serial frames: what a request says, and how the hand's replies are packed."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

POSITION, VELOCITY, CURRENT, DUTY, READ_ONLY = 0x10, 0x20, 0x30, 0x40, 0xA0
MODES = (POSITION, VELOCITY, CURRENT, DUTY)
GRIP, UPSAMPLE_ON, UPSAMPLE_OFF, EXIT_API, WRITE_REGISTER, READ_REGISTER = 0x1D, 0xC2, 0xC3, 0x7C, 0xDE, 0xDA
VARIANTS = 3
REGISTER_OK, REGISTER_FAIL = 0x4E11FEA4, 0xFA17FFFF

DEG_PER_COUNT, DEG_S_PER_COUNT, COUNTS_PER_A, FULL_DUTY, COUNTS_PER_ROTOR_RAD_S = 150 / 32767, 3000 / 32767, 620.606079, 3546, 4.0
GEAR = np.array([649.0] * 5 + [162.45])
SHORTEST = 3
"""Address, header and checksum."""


class Request(NamedTuple):
    """A message with a good checksum; ``values``: as many of its six as came whole."""

    address: int
    header: int
    payload: bytes

    @property
    def values(self) -> list[int]:
        """Signed 16-bit integers of the payload."""
        whole = min(6, len(self.payload) // 2)
        return list(struct.unpack_from(f"<{whole}h", self.payload))

    @property
    def mode(self) -> int:
        """High half of the header."""
        return self.header & 0xF0

    @property
    def variant(self) -> int:
        """Low half of the header."""
        return self.header & 0x0F


def parse(body: bytes) -> Request | None:
    """A request, or None where the hand would take it for noise: too short, or its bytes do not sum to zero."""
    if len(body) < SHORTEST or sum(body) % 256:
        return None
    return Request(body[0], body[1], body[2:-1])


def sealed(body: bytes) -> bytes:
    """With the checksum at its end."""
    return body + bytes([(256 - sum(body) % 256) % 256])


def stuff(body: bytes) -> bytes:
    """Byte by byte, as PPP says: frame characters around, escapes inside."""
    out = bytearray([0x7E])
    for byte in body:
        out += bytes([0x7D, byte ^ 0x20]) if byte in (0x7D, 0x7E) else bytes([byte])
    return bytes([*out, 0x7E])


class Framer:
    """The hand's receiver with unstuffing on."""

    LONGEST = 256

    def __init__(self) -> None:
        self._body = bytearray()
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """Bodies that are whole now."""
        bodies = []
        for byte in data:
            if byte == 0x7E:
                if len(self._body) >= SHORTEST:
                    bodies.append(bytes(self._body))
                self._body.clear()
                self._escaped = False
            elif byte == 0x7D:
                self._escaped = True
            elif len(self._body) < self.LONGEST:
                self._body.append(byte ^ 0x20 if self._escaped else byte)
                self._escaped = False
        return bodies


def reply(
    header: int, position_deg: Vector, current_a: Vector, rotor_rad_s: Vector, touch: NDArray[np.integer], limited: int
) -> bytes:
    """The hand's state in the variant of ``header``; (6,) each, ``touch`` (30,) counts of 12 bits."""
    position, current = _int16(position_deg / DEG_PER_COUNT), _int16(current_a * COUNTS_PER_A)
    speed = _int16(rotor_rad_s * COUNTS_PER_ROTOR_RAD_S)
    variant = header & 0x0F
    second = speed if variant == 1 else current
    pairs = np.stack([position, second], axis=1).astype("<i2").tobytes()
    rest = speed.astype("<i2").tobytes() if variant == 2 else pack_12_bits(touch)
    return sealed(bytes([header]) + pairs + rest + bytes([limited]))


def pack_12_bits(values: NDArray[np.integer]) -> bytes:
    """Values of 12 bits one after the other, the least significant nibble first."""
    number = 0
    for place, value in enumerate(values.tolist()):
        number |= (int(value) & 0xFFF) << (12 * place)
    return number.to_bytes(len(values) * 12 // 8, "little")


def _int16(values: Vector) -> NDArray[np.int16]:
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)
