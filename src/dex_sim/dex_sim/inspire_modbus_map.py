# SPDX-License-Identifier: Apache-2.0
"""Register map of an Inspire RH56 hand (FTP manual PRJ-02-TS-U-001 V1.0.0): byte addresses, 16-bit words on the wire."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

FINGERS = ("pinky", "ring", "middle", "index", "thumb_bend", "thumb_rotation")
FIRST, LAST = 1000, 5126
"""Byte addresses that can be read at all; gaps between registers read zero."""

PAIRED_BYTES = range(1606, 1624)
"""ERROR, STATUS, TEMP: six bytes each, two per word, the first in the high byte. Everything else is little-endian words."""


class RegisterError(DexError):
    """An access the hand refuses; ``illegal_value`` tells a bad value from a bad address."""

    code = "register"

    def __init__(self, message: str, *, illegal_value: bool = False) -> None:
        super().__init__(message)
        self.illegal_value = illegal_value


@dataclass(frozen=True)
class Register:
    """One named register: ``count`` values of ``width`` bytes from byte ``address``.

    Attributes:
        low, high: what may be written; None where it is read-only.
        keep: value that means "leave this finger alone", or None.
    """

    name: str
    address: int
    count: int = 1
    width: int = 1
    low: int | None = None
    high: int | None = None
    keep: int | None = None

    @property
    def end(self) -> int:
        """First byte address after it."""
        return self.address + self.count * self.width


REGISTERS = {
    r.name: r
    for r in (
        Register("HAND_ID", 1000, low=1, high=254),
        Register("REDU_RATIO", 1002, low=0, high=4),
        Register("CLEAR_ERROR", 1004, low=0, high=1),
        Register("SAVE", 1005, low=0, high=1),
        Register("RESET_PARA", 1006, low=0, high=1),
        Register("GESTURE_FORCE_CLB", 1009, low=0, high=1),
        Register("DEFAULT_SPEED_SET", 1032, 6, 2, 0, 1000),
        Register("DEFAULT_FORCE_SET", 1044, 6, 2, 0, 3000),
        Register("POS_SET", 1474, 6, 2, 0, 2000, keep=-1),
        Register("ANGLE_SET", 1486, 6, 2, 0, 1000, keep=-1),
        Register("FORCE_SET", 1498, 6, 2, 0, 3000),
        Register("SPEED_SET", 1522, 6, 2, 0, 1000),
        Register("POS_ACT", 1534, 6, 2),
        Register("ANGLE_ACT", 1546, 6, 2),
        Register("FORCE_ACT", 1582, 6, 2),
        Register("CURRENT", 1594, 6, 2),
        Register("ERROR", 1606, 6, 1),
        Register("STATUS", 1612, 6, 1),
        Register("TEMP", 1618, 6, 1),
        Register("IP_PART1", 1700, low=0, high=255),
        Register("IP_PART2", 1701, low=0, high=255),
        Register("IP_PART3", 1702, low=0, high=255),
        Register("IP_PART4", 1703, low=0, high=255),
    )
}
WRITABLE = tuple(r for r in REGISTERS.values() if r.low is not None)


_DTYPES = {1: np.dtype("u1"), 2: np.dtype("<i2")}


class RegisterMemory:
    """The hand's memory. Word ``k`` of a request from byte ``a`` is at byte ``a + 2 k``: counted from the requested start."""

    def __init__(self) -> None:
        self._bytes = bytearray(LAST)

    def words(self, address: int, count: int) -> list[int]:
        """``count`` words from byte ``address``. Raises RegisterError outside the map."""
        if address < FIRST or address + 2 * count > LAST:
            raise RegisterError(f"read of {count} words from {address} leaves {FIRST} to {LAST}")
        raw = self._bytes
        return [
            (raw[a] << 8 | raw[a + 1]) if a in PAIRED_BYTES else (raw[a] | raw[a + 1] << 8)
            for a in range(address, address + 2 * count, 2)
        ]

    def check_write(self, address: int, words: list[int]) -> list[tuple[Register, int, int]]:
        """Splits a write into (register, index, signed value). Raises RegisterError before anything is changed."""
        changes: list[tuple[Register, int, int]] = []
        for k, word in enumerate(words):
            place = address + 2 * k
            register = next((r for r in WRITABLE if r.address <= place < r.end), None)
            if register is None or (place - register.address) % register.width:
                raise RegisterError(f"byte {place} cannot be written")
            value = word - 0x10000 if word >= 0x8000 else word
            if value != register.keep and not register.low <= value <= register.high:  # type: ignore[operator]
                raise RegisterError(f"{register.name} = {value}; allowed {register.low} to {register.high}", illegal_value=True)
            changes.append((register, (place - register.address) // register.width, value))
        return changes

    def set(self, name: str, values: NDArray[np.integer] | list[int] | tuple[int, ...]) -> None:
        """Stores all values of one register."""
        register = REGISTERS[name]
        self._bytes[register.address : register.end] = np.asarray(values).astype(_DTYPES[register.width]).tobytes()

    def set_one(self, name: str, index: int, value: int) -> None:
        """Stores one value of one register."""
        register = REGISTERS[name]
        start = register.address + index * register.width
        self._bytes[start : start + register.width] = int(value).to_bytes(register.width, "little", signed=value < 0)

    def set_words(self, address: int, values: NDArray[np.integer]) -> None:
        """Stores words from any byte address on, e.g. tactile cells."""
        raw = np.asarray(values).astype("<i2").tobytes()
        self._bytes[address : address + len(raw)] = raw

    def get(self, name: str) -> NDArray[np.int64]:
        """(count,) values of one register."""
        register = REGISTERS[name]
        return np.frombuffer(self._bytes[register.address : register.end], dtype=_DTYPES[register.width]).astype(np.int64)
