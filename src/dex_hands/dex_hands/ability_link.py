# SPDX-License-Identifier: Apache-2.0
"""The serial line to one Ability Hand: one question, one answer, every call with a deadline, every failure a DeviceError."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TypeVar

import serial

from dex_core.errors import ConnectionLostError
from dex_hands.ability_wire import FrameError, Unstuffer, stuffed
from dex_hands.serial_line import SerialLine

T = TypeVar("T")

READ_SIZE = 4096
TRY_S = 0.08
"""A question is asked again after this long, or at once when its answer is damaged; the answer itself takes 2 ms."""


class AbilityLink(SerialLine):
    """One port with one hand. Thread-safe.

    Args:
        path: of the serial port.
        baud: as the hand is set; 460800 from the factory.
        timeout_s: longest any exchange may take.
        who: name for error texts, e.g. ``left_hand``.
        stuffing: frames are byte-stuffed both ways (settings We46 and We47 of the hand). Without, the hand ends a frame where the line
            rests, which a question sent in one piece does; its answer is taken by its length.

    Attributes:
        damaged: answers with a wrong checksum, length or header so far. unanswered: questions that were asked again.
    """

    def __init__(self, path: str, baud: int, timeout_s: float, who: str, *, stuffing: bool = True) -> None:
        super().__init__(path, baud, timeout_s, who)
        self.damaged = self.unanswered = 0
        self._stuffing = stuffing
        self._unstuffer = Unstuffer()

    def tell(self, body: bytes) -> None:
        """Sends a body whose answer nobody waits for. Raises ConnectionLostError."""
        with self._lock:
            self._guarded(lambda port: port.write(self._framed(body)))

    def ask(
        self, body: bytes, answer_bytes: int, decode: Callable[[bytes], T], *, timeout_s: float | None = None, close_on_silence: bool = True
    ) -> T:
        """Sends a body until ``decode`` takes the answer, of ``answer_bytes``; at most as long as ``timeout_s`` and the link's own allow.

        Raises:
            ConnectionLostError: the line is gone, or no good answer came in time; the port is closed then, unless told not to.
        """
        with self._lock:
            timeout_s = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                answer = self._guarded(lambda port: self._try(port, body, answer_bytes, decode, deadline))
                if answer is not None:
                    return answer
            if close_on_silence:
                self.close()  # a late answer must not be taken for the next one's
            raise ConnectionLostError(f"{self._who} at {self.address}: no answer within {timeout_s:.3g} s; is it powered, set to UART and "
                                      f"{'stuffing on' if self._stuffing else 'stuffing off'}, at {self._baud} baud?")

    def _framed(self, body: bytes) -> bytes:
        return stuffed(body) if self._stuffing else body

    def _guarded(self, work: Callable[[serial.Serial], T]) -> T:
        if self._port is None:
            raise ConnectionLostError(f"{self._who}: {self.address} is closed; recover first")
        try:
            return work(self._port)
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial's, when another thread closed the port
            self.close()
            raise ConnectionLostError(f"{self._who}: {self.address} is gone: {error}") from error

    def _try(self, port: serial.Serial, body: bytes, answer_bytes: int, decode: Callable[[bytes], T], deadline: float) -> T | None:
        """One question; None when its answer is damaged or does not come in time."""
        if port.in_waiting:
            port.reset_input_buffer()
        self._unstuffer.clear()
        os.write(port.fileno(), self._framed(body))  # a few bytes, which the driver of the port takes at once
        until = min(deadline, time.monotonic() + TRY_S)
        plain = b""
        while (left_s := until - time.monotonic()) > 0.0:
            data = _receive(port, left_s)
            if self._stuffing:
                bodies = self._unstuffer.feed(data)
            else:
                plain += data
                bodies = [plain] if len(plain) >= answer_bytes else []
            for found in bodies:
                try:
                    return decode(found)
                except FrameError:
                    self.damaged += 1
                    return None
        self.unanswered += 1
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
