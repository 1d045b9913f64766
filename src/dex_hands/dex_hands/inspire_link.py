# SPDX-License-Identifier: Apache-2.0
"""How a hand is reached: Modbus TCP, Modbus RTU or Inspire's own frame; every call with a deadline, every failure a DeviceError."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from dex_core.config import Interface
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands.inspire_native import NativeLink

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what goes wrong is raised here, with more to say

SERIAL_ATTEMPTS = 2
"""On RS-485 one frame in many thousands is lost; on TCP none is, so there waiting longer is better than asking again."""


class Link(Protocol):
    """What every way to a hand offers. Addresses are the hand's byte addresses; values are signed 16-bit words. Thread-safe."""

    address: str
    transport: str

    @property
    def connected(self) -> bool:
        """Whether the link is open; a cable may be out all the same."""
        ...

    def open(self) -> None:
        """Opens the link. Raises ConnectionLostError."""
        ...

    def close(self) -> None:
        """Closes the link; any number of times."""
        ...

    def read(self, address: int, count: int) -> list[int]:
        """``count`` words. Raises ConnectionLostError or DeviceError."""
        ...

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes words. Raises ConnectionLostError or DeviceError."""
        ...

    def write_one(self, address: int, value: int) -> None:
        """Writes a single register. Raises ConnectionLostError or DeviceError."""
        ...


def make_link(interface: Interface, address: str, timeout_s: float, who: str, *, unit_id: int | None = None) -> Link:
    """By the interface's transport ``inspire_rs485`` Inspire's own frame, else Modbus: TCP at ``HOST:PORT``, RTU at a serial port.

    Args:
        interface: which hand.
        address: where.
        timeout_s: longest any call may take.
        who: name for error texts.
        unit_id: the hand's number on the bus, where it is not the interface's.
    """
    number = interface.address.unit_id if unit_id is None else unit_id
    kind = NativeLink if interface.address.transport == NativeLink.transport else ModbusLink
    return kind(address, number, interface.address.baud, timeout_s, who)


class ModbusLink:
    """One Modbus connection. Addresses are the hand's byte addresses; values are signed 16-bit words. Thread-safe.

    Args:
        address: ``HOST:PORT`` (Modbus TCP) or the path of a serial port (Modbus RTU).
        unit_id: Modbus unit; on RS-485 the hand's HAND_ID.
        baud: serial speed.
        timeout_s: longest any call may take.
        who: name for error texts, e.g. ``left_hand``.
    """

    def __init__(self, address: str, unit_id: int, baud: int, timeout_s: float, who: str) -> None:
        if not 0.01 <= timeout_s <= 60.0:
            raise ConfigError(f"{who}: timeout_s is {timeout_s}; allowed 0.01 to 60 s")
        self.address, self.timeout_s = address, timeout_s
        self._who, self._unit_id = who, unit_id
        self._lock = threading.RLock()
        self._attempts = SERIAL_ATTEMPTS if address.startswith("/") else 1
        # pymodbus waits up to twice its timeout for a reply that comes in pieces
        self._client = _make_client(address, baud, timeout_s / (2 * self._attempts), who)
        self.transport = "modbus_rtu" if isinstance(self._client, ModbusSerialClient) else "modbus_tcp"

    @property
    def connected(self) -> bool:
        """Whether the link is open; a cable may be out all the same."""
        return bool(self._client.connected)

    def open(self) -> None:
        """Opens the link. Raises ConnectionLostError."""
        with self._lock:
            if not self._client.connect():
                raise ConnectionLostError(f"{self._who}: nothing answers at {self.address}; is it powered and is the address right?")

    def close(self) -> None:
        """Closes the link; any number of times."""
        with self._lock:
            self._client.close()

    def read(self, address: int, count: int) -> list[int]:
        """``count`` signed words from byte ``address``. Raises ConnectionLostError or DeviceError."""
        reply = self._request(
            f"read of {count} words from {address}",
            lambda: self._client.read_holding_registers(address, count=count, device_id=self._unit_id),
        )
        if len(reply.registers) != count:
            raise DeviceError(f"{self._who} answered {len(reply.registers)} words to a read of {count} from {address}")
        return [word - 0x10000 if word >= 0x8000 else word for word in reply.registers]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes signed words from byte ``address``. Raises ConnectionLostError or DeviceError."""
        words = [int(value) & 0xFFFF for value in values]
        self._request(
            f"write of {list(values)} to {address}",
            lambda: self._client.write_registers(address, words, device_id=self._unit_id),
        )

    def write_one(self, address: int, value: int) -> None:
        """Writes a single register (function 6). Raises ConnectionLostError or DeviceError."""
        self._request(
            f"write of {value} to {address}",
            lambda: self._client.write_register(address, value & 0xFFFF, device_id=self._unit_id),
        )

    def _request(self, what: str, send: Callable[[], ModbusPDU]) -> ModbusPDU:
        with self._lock:
            if not self.connected:
                raise ConnectionLostError(f"{self._who}: the link to {self.address} is closed; recover first")
            reply, cause = None, None
            for _ in range(self._attempts):
                try:
                    reply = send()
                    break
                except (ModbusException, OSError, ValueError) as error:
                    cause = error
                    if not self.connected:
                        break
            if reply is None:
                self._client.close()  # a late reply must not be taken for the next one's
                raise ConnectionLostError(f"{self._who} at {self.address}: no answer to {what} within {self.timeout_s:.3g} s") from cause
        if reply.isError():
            raise DeviceError(f"{self._who} refused {what}: Modbus exception {reply.exception_code}", device_code=reply.exception_code)
        return reply


def _make_client(address: str, baud: int, timeout_s: float, who: str) -> ModbusTcpClient | ModbusSerialClient:
    if address.startswith("/"):
        return ModbusSerialClient(address, baudrate=baud, timeout=timeout_s, retries=0)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ConfigError(f"{who}: address {address!r} is neither HOST:PORT nor the path of a serial port")
    return ModbusTcpClient(host, port=int(port), timeout=timeout_s, retries=0)
