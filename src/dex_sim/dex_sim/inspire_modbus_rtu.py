# SPDX-License-Identifier: Apache-2.0
"""Modbus RTU on a pseudo-terminal: pymodbus frames and registers behind a serial line that needs no hardware."""
from __future__ import annotations

import asyncio
import os
import tty

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.simulator import SimDevice
from pymodbus.simulator.simcore import SimCore

from dex_sim.inspire_modbus_hand import InspireHand

BITS_PER_BYTE = 10
MAX_BUFFER = 512


class RtuPort:
    """One end of a serial line with one hand on it; ``address`` is the path of the other end.

    Replies take as long as request and reply take on a wire of ``baud``. Requests for another unit id get no answer.
    """

    def __init__(self, hand: InspireHand, device: SimDevice, baud: int) -> None:
        self.hand, self.fault, self.requests = hand, "none", 0
        self._baud = baud
        self._core = SimCore(device)
        self._framer = FramerRTU(DecodePDU(True))
        self._master, self._slave = os.openpty()  # the slave end stays open here, so that clients may come and go
        for end in (self._master, self._slave):
            tty.setraw(end)
        self.address = os.ttyname(self._slave)
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Starts to answer."""
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._on_readable)

    async def close(self) -> None:
        """Takes the line away: clients see it hang up."""
        asyncio.get_running_loop().remove_reader(self._master)
        for task in self._tasks:
            task.cancel()
        os.close(self._master)
        os.close(self._slave)

    def _on_readable(self) -> None:
        try:
            self._buffer += os.read(self._master, MAX_BUFFER)
        except (BlockingIOError, OSError):
            return
        self.requests += 1
        if len(self._buffer) > MAX_BUFFER:
            self._buffer = b""
        try:
            used, pdu = self._framer.handleFrame(self._buffer, 0, 0)
        except ModbusException:  # a function code this server does not know
            self._buffer = b""
            return
        received = self._buffer[:used]
        self._buffer = self._buffer[used:]
        if pdu is not None and pdu.dev_id in (self.hand.hand_id, 0):
            task = asyncio.ensure_future(self._answer(pdu, len(received)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: object, received: int) -> None:
        try:
            reply = await request.datastore_update(self._core, request.dev_id)  # type: ignore[attr-defined]
        except (ModbusException, AttributeError):
            reply = ExceptionResponse(request.function_code, 1)  # type: ignore[attr-defined]
        if request.dev_id == 0:  # type: ignore[attr-defined]
            return  # a broadcast is obeyed and not answered
        reply.dev_id = request.dev_id  # type: ignore[attr-defined]
        frame = self._damaged(self._framer.buildFrame(reply))
        await asyncio.sleep((received + len(frame)) * BITS_PER_BYTE / self._baud)
        if frame:
            os.write(self._master, frame)

    def _damaged(self, frame: bytes) -> bytes:
        if self.fault == "silent":
            return b""
        if self.fault == "truncated":
            return frame[: max(1, len(frame) // 2)]
        return frame[:-1] + bytes([frame[-1] ^ 0xFF]) if self.fault == "garbage" else frame
