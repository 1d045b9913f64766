# SPDX-License-Identifier: Apache-2.0
"""Dynamixel Protocol 2.0 as a servo sees it: instruction packets out of a stream of bytes, status packets into one.

Source: ROBOTIS e-manual, Protocol 2.0; the layout of a fast reply from the vendor's SDK (dynamixel-sdk 4.1.0), which is what reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from dex_core.errors import DexError

HEADER = b"\xff\xff\xfd\x00"
STUFFED, UNSTUFFED = b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"
BROADCAST = 0xFE
MAX_ID = 252
ALERT = 0x80
"""Bit of the error byte: look at the hardware error register."""

FIXED_BYTES = 7
"""Header, id and length; the length field counts what follows."""
LENGTHS = range(3, 1024 - FIXED_BYTES + 1)
GAP_NS = 50_000_000
"""A packet whose next byte is this late has been given up by its sender."""


class Instruction(IntEnum):
    """What a packet asks for; STATUS is an answer."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    CLEAR = 0x10
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93
    FAST_BULK_READ = 0x9A


class Problem(IntEnum):
    """Low bits of the error byte."""

    NONE = 0
    RESULT = 1
    INSTRUCTION = 2
    CRC = 3
    RANGE = 4
    LENGTH = 5
    LIMIT = 6
    ACCESS = 7


class RefusedError(DexError):
    """A servo does not do what it was asked for; ``problem`` goes into its answer."""

    code = "refused"

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True)
class Request:
    """One instruction packet. ``intact``: its CRC is right; the rest of a damaged one is not to be trusted."""

    id: int
    instruction: int
    parameters: bytes
    intact: bool = True


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes, crc: int = 0) -> int:
    """CRC-16 of the protocol: polynomial 0x8005, not reflected, goes on from ``crc``."""
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC[crc >> 8 ^ byte]
    return crc


def pack(identifier: int, instruction: int, parameters: bytes) -> bytes:
    """A whole packet, stuffed, with its CRC."""
    body = (bytes([instruction]) + parameters).replace(UNSTUFFED, STUFFED)
    packet = HEADER + bytes([identifier]) + (len(body) + 2).to_bytes(2, "little") + body
    return packet + crc16(packet).to_bytes(2, "little")


def status(identifier: int, error: int, data: bytes = b"") -> bytes:
    """What a servo answers."""
    return pack(identifier, Instruction.STATUS, bytes([error]) + data)


def fast_status(answers: Sequence[tuple[int, int, bytes]], promised: int) -> bytes:
    """One packet of several servos: error, id, data and the CRC so far of each (id, error, data); nothing in it is stuffed.

    Args:
        answers: of the servos that joined in, in the order asked for; one that is silent ends the packet there.
        promised: bytes that all servos together would have added, which the first of them announces.
    """
    packet = part = HEADER + bytes([BROADCAST]) + (promised + 1).to_bytes(2, "little") + bytes([Instruction.STATUS])
    crc, checksum = crc16(part), b""
    for identifier, error, data in answers:
        part = bytes([error, identifier]) + data
        crc = crc16(part, crc16(checksum, crc))
        checksum = crc.to_bytes(2, "little")
        packet += part + checksum
    return packet


class RequestReader:
    """Finds packets in a stream. Attribute ``dropped``: bytes that belonged to none."""

    def __init__(self) -> None:
        self.dropped = 0
        self._buffer = b""
        self._heard_ns = 0

    def feed(self, data: bytes, now_ns: int) -> list[Request]:
        """Packets that ``data`` [heard at ``now_ns``, monotonic] completes."""
        if self._buffer and now_ns - self._heard_ns > GAP_NS:
            self._drop(len(self._buffer))
        self._heard_ns = now_ns
        self._buffer += data
        found = []
        while (request := self._next()) is not None:
            found.append(request)
        return found

    def _next(self) -> Request | None:
        while True:
            start = self._buffer.find(HEADER)
            if start < 0:
                self._drop(max(0, len(self._buffer) - len(HEADER) + 1))
                return None
            self._drop(start)
            if len(self._buffer) < FIXED_BYTES:
                return None
            length = int.from_bytes(self._buffer[5:7], "little")
            if length not in LENGTHS:
                self._drop(1)
                continue
            end = FIXED_BYTES + length
            if len(self._buffer) < end:
                return None
            packet = self._buffer[:end]
            intact = crc16(packet[:-2]) == int.from_bytes(packet[-2:], "little")
            body = packet[FIXED_BYTES:-2].replace(STUFFED, UNSTUFFED)
            if intact:
                self._buffer = self._buffer[end:]
            else:
                self._drop(len(HEADER))  # the next packet may begin within a torn one
            return Request(packet[4], body[0], body[1:], intact)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._buffer = self._buffer[count:]
