# SPDX-License-Identifier: Apache-2.0
"""Serves simulated Inspire hands over Modbus TCP and Modbus RTU (pseudo-terminals), all from one thread."""
from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from dex_core.clock import Priority, set_realtime_priority
from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DeadlineError, DeviceError, DexError
from dex_sim.devices import PlantOf, Served
from dex_sim.inspire_modbus_hand import InspireHand
from dex_sim.inspire_modbus_map import FIRST, LAST, RegisterError
from dex_sim.inspire_modbus_rtu import RtuPort

STEP_HZ = 100.0
START_TIMEOUT_S = 5.0
FAULTS = ("none", "silent", "truncated", "garbage")


def split_address(address: str) -> tuple[str, int]:
    """``127.0.0.21:6000`` -> (host, port). Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"address {address!r} is not HOST:PORT")
    return host, int(port)


def modbus_device(hand: InspireHand, on_write: Callable[[], None] = lambda: None) -> SimDevice:
    """A pymodbus device, any unit id, whose registers are the hand's memory; ``on_write`` is called after each write."""

    async def action(
        function: int, first: int, address: int, count: int, registers: list[int], values: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        try:
            if values is not None:
                hand.write_words(address, [int(v) for v in values])
                on_write()
            elif function == 6:
                return None  # pymodbus reads back what it wrote, to echo it
            else:
                registers[address - first : address - first + count] = hand.read_words(address, count)
        except RegisterError as error:
            return ExcCodes.ILLEGAL_VALUE if error.illegal_value else ExcCodes.ILLEGAL_ADDRESS
        return None

    return SimDevice(0, [SimData(FIRST, count=LAST - FIRST, values=0, datatype=DataType.REGISTERS)], action=action)


class _Handler(ServerRequestHandler):
    """One client. Answers within the event loop's turn: the registers never wait, so no task and no thread hop is needed."""

    def handle_later(self) -> None:
        """Called by pymodbus for each decoded request."""
        answer = self.handle_request()
        try:
            answer.send(None)
        except StopIteration:
            return
        raise RuntimeError("a register access waited; it must answer at once")


class _Server(ModbusTcpServer):
    """pymodbus's TCP server with that handler."""

    def callback_new_connection(self) -> ServerRequestHandler:
        """Called by pymodbus for each client."""
        return _Handler(self, self.trace_packet, self.trace_pdu, self.trace_connect)


class _TcpPort:
    """One listening address of one hand, with a fault on its replies."""

    def __init__(self, hand: InspireHand, device: SimDevice, address: str) -> None:
        self.hand, self.address, self.fault = hand, address, "none"
        self._device = device
        self.requests = 0
        self._server: ModbusTcpServer | None = None

    async def open(self) -> None:
        """Starts to listen."""
        server = _Server(self._device, address=split_address(self.address), trace_packet=self._trace)
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise DeviceError(f"{self.hand.name}: cannot listen on {self.address}; is another simulator running?", code="address_in_use") from error
        self._server = server

    async def close(self) -> None:
        """Stops to listen and drops every client."""
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    def _trace(self, sending: bool, data: bytes) -> bytes:
        if not sending:
            self.requests += 1
            return data
        if self.fault == "silent":
            return b""
        if self.fault == "truncated":
            return data[: max(1, len(data) // 2)]
        return bytes(len(data)) if self.fault == "garbage" else data


class InspireBus:
    """Serves hands: add each with ``serve_tcp`` or ``serve_rtu``; ``close`` ends everything.

    Two hands cost one thread. Motors are stepped in the same thread, at 100 Hz while any has work.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ports: dict[str, _TcpPort | RtuPort] = {}
        self._hands: list[InspireHand] = []
        self._stepping = False
        self._thread = threading.Thread(target=self._run, name="inspire-modbus", daemon=True)
        self._thread.start()

    def serve_tcp(self, hand: InspireHand, address: str) -> str:
        """Listens on ``host:port``; returns the address. Raises DeviceError when it cannot be bound."""
        self._open(_TcpPort(hand, modbus_device(hand, self._wake), address))
        return address

    def serve_rtu(self, hand: InspireHand, *, baud: int = 115200) -> str:
        """Answers on a new pseudo-terminal as bus device HAND_ID; returns the path a client opens."""
        port = RtuPort(hand, modbus_device(hand, self._wake), baud)
        self._open(port)
        return port.address

    def stop(self, address: str) -> None:
        """Ends one port, as an unplugged cable; clients are dropped. The hand's motors go on. May be served again."""
        port = self._port(address)
        self._call(port.close())
        del self._ports[address]

    def set_fault(self, address: str, fault: str) -> None:
        """What replies of one port suffer: ``none``, ``silent``, ``truncated`` or ``garbage``."""
        if fault not in FAULTS:
            raise ConfigError(f"fault {fault!r}; allowed: {FAULTS}")
        self._port(address).fault = fault

    def requests(self, address: str) -> int:
        """Pieces of data one port received so far."""
        return self._port(address).requests

    def close(self) -> None:
        """Ends all ports and the thread; any number of times."""
        if not self._thread.is_alive():
            return
        for address in list(self._ports):
            self.stop(address)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=START_TIMEOUT_S)

    def __enter__(self) -> InspireBus:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self, port: _TcpPort | RtuPort) -> None:
        if port.address in self._ports:
            raise ConfigError(f"{port.address} is served already")
        self._call(port.open())
        self._ports[port.address] = port.hand.port = port
        if port.hand not in self._hands:
            self._hands.append(port.hand)

    def _port(self, address: str) -> _TcpPort | RtuPort:
        if address not in self._ports:
            raise ConfigError(f"{address!r} is not served; served: {list(self._ports)}")
        return self._ports[address]

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(timeout=START_TIMEOUT_S)
        except concurrent.futures.TimeoutError as error:
            raise DeadlineError("inspire-modbus thread", START_TIMEOUT_S) from error

    def _run(self) -> None:
        set_realtime_priority(Priority.SIMULATED_DEVICE)
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _wake(self) -> None:
        if not self._stepping:
            self._stepping = True
            self._loop.call_soon(self._step, self._loop.time())

    def _step(self, due_s: float) -> None:
        self._stepping = any([hand.step() for hand in self._hands])
        if self._stepping:
            due_s = max(due_s + 1.0 / STEP_HZ, self._loop.time())
            self._loop.call_at(due_s, self._step, due_s)


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """One Modbus TCP hand for each interface, all on one thread. Raises DeviceError when an address cannot be listened at."""
    bus = InspireBus()
    hands = {name: InspireHand(cell.interface(name), plant_of(name)) for name in names}
    try:
        for name, hand in hands.items():
            bus.serve_tcp(hand, cell.address_of(name))
    except DexError:
        bus.close()
        raise
    return Served(hands, tuple(hand.reset for hand in hands.values()), bus.close)
