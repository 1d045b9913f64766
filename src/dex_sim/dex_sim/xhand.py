# SPDX-License-Identifier: Apache-2.0
"""Serves simulated XHand1 hands on serial lines: half-duplex, at the pace of their baud rate, all from one thread."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DexError
from dex_sim import xhand_wire as wire
from dex_sim.devices import PlantOf, Served
from dex_sim.serial_port import BITS_PER_BYTE, SerialPort
from dex_sim.xarm_controller_loop import SocketLoop
from dex_sim.xhand_hand import POSITION_SENSOR, XHand
from dex_sim.xhand_wire import HAND_BASE, Request, RequestReader, pack_answer

BAUD = 3_000_000
STEP_S = 0.02
TURNAROUND_NS = 100_000
"""A host that speaks so long before the answer's last byte was paced, not wrong: the line's own clock ticks in halves of a millisecond."""
FAULTS = ("none", "silent", "truncated", "garbage", "other_hand")
FIRMWARE = struct.pack("<HBB", 7, 1, 1)
"""1.1.7, in the order in which the vendor's library takes it apart."""


class XHandPort:
    """One hand on one line.

    Args:
        hand: what answers.
        path: where clients open the line.
        loop: shared with other devices.
        baud: speed of the line.
        clock: monotonic.

    Attributes:
        line: the serial line; ``line.hang_up()`` pulls the cable, ``line.plug()`` puts it back.
        fault: what answers suffer, one of FAULTS.
        requests: frames for this hand. collisions: pieces of data lost because they came before its answer had ended.
    """

    def __init__(self, hand: XHand, path: str, loop: SocketLoop, *, baud: int = BAUD, clock: Clock | None = None) -> None:
        self.hand, self.fault = hand, "none"
        self.requests = self.collisions = 0
        self._reader = RequestReader()
        self._clock, self._baud, self._loop = clock or SteadyClock(), baud, loop
        self._busy_until_ns = 0
        self._stepping = self._closed = False
        self.line = SerialPort(loop, path, self._on_data, baud=baud, clock=self._clock)

    @property
    def dropped(self) -> int:
        """Stretches of bytes that were no frame."""
        return self._reader.dropped

    def set_fault(self, fault: str) -> None:
        """What answers suffer from now on. Raises ConfigError."""
        if fault not in FAULTS:
            raise ConfigError(f"fault {fault!r}; allowed: {FAULTS}")
        self.fault = fault

    def fault_hooks(self) -> Mapping[str, Callable[[float], None]]:
        """The fault words it can suffer -> what does it."""
        joint = self.hand.joints[0]

        def well(_amount: float) -> None:
            self.fault = "none"
            self.hand.inject_error(joint, 0)
            self.line.plug()

        return {
            "ok": well, "off": lambda _amount: self.line.hang_up(), "stuck": lambda _amount: self.set_fault("silent"),
            "garbage": lambda _amount: self.set_fault("garbage"),
            "wrong": lambda amount: self.hand.inject_error(joint, round(amount) if amount >= 1.0 else POSITION_SENSOR),
        }

    def close(self) -> None:
        """Takes the line away; the motors stay where they were last told to go."""
        self._closed = True
        self.line.close()

    def _on_data(self, data: bytes) -> None:
        now_ns = self._clock.now_ns()
        if now_ns < self._busy_until_ns:  # both talk at once: neither is understood
            self.collisions += 1
            self._reader.clear()
            return
        for request in self._reader.feed(data):
            if now_ns < self._busy_until_ns:  # it came right behind another
                self.collisions += 1
                continue
            answer = self._answer(request)
            if answer is not None:
                self.requests += 1
                bytes_on_line = request.size + len(answer)
                self._busy_until_ns = now_ns + round(bytes_on_line * BITS_PER_BYTE * NS / self._baud) - TURNAROUND_NS
                self._send(answer)

    def _answer(self, request: Request) -> bytes | None:
        """What the hand, or one of its boards, says to a request; None: not its own, or nothing it knows."""
        own = HAND_BASE + self.hand.hand_id
        if request.destination in (own, wire.BROADCAST):
            payload = self._hand_says(request)
            return None if payload is None else pack_answer(own, request.command, payload)
        joint, tip = request.destination in range(wire.JOINTS), request.destination in wire.TIP_COMPONENTS
        if (joint or tip) and request.command == wire.VERSION:
            return pack_answer(request.destination, wire.VERSION, FIRMWARE)
        if tip and request.command == wire.RESET_SENSOR:
            self.hand.press(request.destination - wire.TIP_COMPONENTS.start, (0.0, 0.0, 0.0))
            return pack_answer(request.destination, wire.RESET_SENSOR, b"")
        return None

    def _hand_says(self, request: Request) -> bytes | None:
        if request.command == wire.REALTIME:
            state = self.hand.take_order(request.payload)
            if state is not None and not self._stepping:
                self._stepping = True
                self._loop.every(STEP_S, self._step)
            return state
        if request.command == wire.READ_REGISTERS and len(request.payload) == 4:
            address, count = struct.unpack("<HH", request.payload)
            registers = self.hand.registers(address, count)
            return None if registers is None else request.payload[:2] + registers
        return FIRMWARE if request.command == wire.VERSION else None

    def _send(self, answer: bytes) -> None:
        if self.fault == "silent":
            return
        damaged = {
            "truncated": answer[: len(answer) // 2], "garbage": answer[:-1] + bytes([answer[-1] ^ 0xFF]),
            "other_hand": pack_answer(answer[2] ^ 1, answer[4], answer[7:-2]),
        }
        self.line.send(damaged.get(self.fault, answer))

    def _step(self) -> bool:
        self._stepping = not self._closed and self.hand.step()
        return self._stepping


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """Starts the hands of these interfaces at their addresses. Raises DeviceError when a line cannot be made."""
    loop = SocketLoop("xhand-serial")
    ports: dict[str, XHandPort] = {}

    def close() -> None:
        for port in ports.values():
            port.close()
        loop.stop()

    try:
        for name in names:
            interface = cell.interface(name)
            ports[name] = XHandPort(XHand(interface, plant_of(name)), cell.address_of(name), loop, baud=interface.address.baud)
    except DexError:
        close()
        raise
    return Served(dict(ports), tuple(port.hand.reset for port in ports.values()), close)
