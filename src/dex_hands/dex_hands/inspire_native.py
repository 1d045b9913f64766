# SPDX-License-Identifier: Apache-2.0
"""Inspire's own RS-485 frame (EB 90 to the hand, 90 EB from it) to one hand, with the calls of ModbusLink."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import NamedTuple

import serial

from dex_core.errors import ConnectionLostError, DeviceError
from dex_hands.serial_line import SerialLine

ASK, ANSWER = b"\xeb\x90", b"\x90\xeb"
READ, WRITE = 0x11, 0x12
DONE = 1
LONGEST = 252
"""Data bytes of one frame: its length is one byte and counts three more."""
PAIRED = range(1606, 1624)
"""ERROR, STATUS, TEMP are bytes: here as in Modbus two to a word, the first in its high half. Everything else is little-endian words."""
BYTES = range(1000, 1032)
"""Registers of a single byte, which are written as such."""
ATTEMPTS = 2
READ_SIZE = 4096


class Answer(NamedTuple):
    """A frame from a hand: whose, to which command, at which byte address, and what it holds."""

    hand_id: int
    command: int
    address: int
    data: bytes


def frame(hand_id: int, command: int, address: int, data: bytes) -> bytes:
    """A frame to a hand; ``data`` of a read is the number of bytes wanted."""
    body = bytes([hand_id, len(data) + 3, command, address & 0xFF, address >> 8]) + data
    return ASK + body + bytes([sum(body) & 0xFF])


class AnswerReader:
    """Finds the frames of hands in a stream that comes in pieces; ``damaged`` counts those with a wrong checksum."""

    def __init__(self) -> None:
        self.damaged = 0
        self._open = b""

    def clear(self) -> None:
        """Forgets a frame that has begun."""
        self._open = b""

    def feed(self, data: bytes) -> list[Answer]:
        """Frames that are whole now."""
        self._open += data
        found = []
        while (start := self._open.find(ANSWER)) >= 0:
            self._open = self._open[start:]
            if len(self._open) < 4:
                break
            size = self._open[3] + 5
            if len(self._open) < size and self._open[3] >= 3:
                break
            body = self._open[2 : size - 1]
            if self._open[3] < 3 or sum(body) & 0xFF != self._open[size - 1]:
                self.damaged += 1
                self._open = self._open[2:]
                continue
            found.append(Answer(body[0], body[2], body[3] | body[4] << 8, body[5:]))
            self._open = self._open[size:]
        else:
            self._open = self._open[-1:]
        return found


class NativeLink(SerialLine):
    """One hand on an RS-485 line. Addresses are the hand's byte addresses; values are signed words, as Modbus would carry them. Thread-safe.

    Args:
        address: path of the serial port.
        hand_id: HAND_ID, which is its address on the line.
        baud: serial speed; 115200 from the factory.
        timeout_s: longest any call may take.
        who: name for error texts, e.g. ``left_hand``.
    """

    transport = "inspire_rs485"

    def __init__(self, address: str, hand_id: int, baud: int, timeout_s: float, who: str) -> None:
        super().__init__(address, baud, timeout_s, who)
        self._hand_id = hand_id
        self._reader = AnswerReader()

    def read(self, address: int, count: int) -> list[int]:
        """``count`` signed words from byte ``address``. Raises ConnectionLostError or DeviceError."""
        if not 1 <= 2 * count <= LONGEST:
            raise DeviceError(f"{self._who}: read of {count} words from {address}; one frame holds 1 to {LONGEST // 2}")
        data = self._exchange(f"read of {count} words from {address}", READ, address, bytes([2 * count])).data
        if len(data) != 2 * count:
            raise DeviceError(f"{self._who} answered {len(data)} bytes to a read of {2 * count} from {address}")
        return [
            int.from_bytes(data[k : k + 2], "big" if address + k in PAIRED else "little", signed=True) for k in range(0, len(data), 2)
        ]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes signed words from byte ``address``. Raises ConnectionLostError or DeviceError."""
        self._write(address, list(values), b"".join((int(value) & 0xFFFF).to_bytes(2, "little") for value in values))

    def write_one(self, address: int, value: int) -> None:
        """Writes a single register, of a byte or a word. Raises ConnectionLostError or DeviceError."""
        self._write(address, [value], (value & 0xFFFF).to_bytes(2, "little")[: 1 if address in BYTES else 2])

    def _write(self, address: int, values: list[int], data: bytes) -> None:
        what = f"write of {values} to {address}"
        answer = self._exchange(what, WRITE, address, data)
        if answer.data != bytes([DONE]):
            raise DeviceError(f"{self._who} refused {what}: it answered {answer.data.hex(' ')}", device_code=answer.data[0] if answer.data else None)

    def _exchange(self, what: str, command: int, address: int, data: bytes) -> Answer:
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    answer = self._try(command, address, data)
                except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial's, when another thread closed the port
                    self.close()
                    raise ConnectionLostError(f"{self._who}: {self.address} is gone: {error}") from error
                if answer is not None:
                    return answer
            self.close()  # a late answer must not be taken for the next one's
            raise ConnectionLostError(f"{self._who} at {self.address}: no answer to {what} within {self.timeout_s:.3g} s")

    def _try(self, command: int, address: int, data: bytes) -> Answer | None:
        port = self._port
        if port is None:
            raise ConnectionLostError(f"{self._who}: the link to {self.address} is closed; recover first")
        if port.in_waiting:
            port.reset_input_buffer()
        self._reader.clear()
        port.write(frame(self._hand_id, command, address, data))
        deadline = time.monotonic() + self.timeout_s / (2 * ATTEMPTS)
        while (left_s := deadline - time.monotonic()) > 0.0:
            for answer in self._reader.feed(_receive(port, left_s)):
                if answer[:3] == (self._hand_id, command, address):  # not the late word of a SAVE, nor another hand's
                    return answer
        return None


def _receive(port: serial.Serial, timeout_s: float) -> bytes:
    """What has come, waiting for the first byte; empty after ``timeout_s``. Raises OSError when the line is gone."""
    ready, _, _ = select.select([port.fileno()], [], [], timeout_s)
    if not ready:
        return b""
    data = os.read(port.fileno(), READ_SIZE)
    if not data:
        raise OSError("the adapter was pulled out")
    return data
