# SPDX-License-Identifier: Apache-2.0
"""The serial port of dynamixel-sdk with deadlines that hold: it waits in the kernel instead of spinning, by a clock that never steps."""

from __future__ import annotations

import select
import time

import serial
from dynamixel_sdk import PortHandler

BROADCAST_PING_MS = 150.0
"""How long answers to a broadcast ping are awaited. Servos answer one after the other, 3 ms per id: this covers the ids up to 44."""


class DeadlinePort(PortHandler):
    """A port for the SDK's packet handler, which is not changed.

    The SDK's own port polls with a core at full load, reckons by the wall clock, waits for ever when bytes that are no packet keep coming,
    and lets a second process open the line.

    Args:
        path: of the serial port.
        reply_s: longest wait for a reply, beyond the time its bytes take on the wire.
    """

    def __init__(self, path: str, reply_s: float) -> None:
        super().__init__(path)
        self._reply_ms = reply_s * 1e3

    def setupPort(self, cflag_baud: int) -> bool:  # noqa: N802 the SDK's name
        """Opens the line for this process alone. Raises OSError."""
        if self.is_open:
            self.closePort()
        limit_s = self._reply_ms / 1e3
        self.ser = serial.Serial(self.port_name, self.baudrate, timeout=0, write_timeout=limit_s, exclusive=True)
        self.is_open = True
        self.ser.reset_input_buffer()
        self.tx_time_per_byte = 1e3 / self.baudrate * 10.0
        return True

    def getCurrentTime(self) -> float:  # noqa: N802
        """Monotonic time [ms]."""
        return time.monotonic_ns() / 1e6

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
        """Starts the wait for a reply of so many bytes."""
        super().setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + self._reply_ms)

    def setPacketTimeoutMillis(self, msec: float) -> None:  # noqa: N802
        """Starts the wait of a broadcast ping, for which the SDK would give each of 252 servos 3 ms."""
        super().setPacketTimeoutMillis(min(msec, BROADCAST_PING_MS))

    def readPort(self, length: int) -> bytes:  # noqa: N802
        """Up to ``length`` bytes as soon as there are some; none once the wait is over."""
        left_ms = self.packet_timeout - self.getTimeSinceStart()
        if left_ms <= 0.0 or length <= 0:
            return b""
        ready, _, _ = select.select([self.ser], [], [], left_ms / 1e3)
        return self.ser.read(length) if ready else b""
