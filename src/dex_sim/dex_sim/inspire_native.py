# SPDX-License-Identifier: Apache-2.0
"""Serves simulated Inspire hands by the vendor's own RS-485 frame on serial lines (pseudo-terminals at fixed paths)."""
from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DexError
from dex_sim.devices import Served
from dex_sim.inspire_modbus_hand import InspireHand
from dex_sim.inspire_modbus_map import PAIRED_BYTES, WRITABLE, RegisterError
from dex_sim.plant import Plant
from dex_sim.serial_port import SerialPort
from dex_sim.xarm_controller_loop import SocketLoop

HEAD, REPLY_HEAD = b"\xeb\x90", b"\x90\xeb"
READ, WRITE = 0x11, 0x12
OK, REFUSED = 0x01, 0x00
"""REFUSED is chosen here: no public source says how the hand answers a write that it does not take."""
SAVE, SAVE_S = 1005, 1.0
STEP_S = 0.01
AROUND = 5
"""Bytes of a frame that its length does not count: two of head, id, the length itself and the checksum."""
FAULTS = ("none", "silent", "truncated", "garbage")


class NativePort:
    """One or more hands on one line; each answers to its own HAND_ID.

    Args:
        hands: what answers.
        path: where clients open the line.
        loop: shared with others; frames and motors are served on its thread.
        baud: pace of the answers; 0: at once.

    Attributes:
        fault: what answers suffer: ``none``, ``silent``, ``truncated`` or ``garbage``.
        requests: whole frames heard so far. damaged: those with a wrong checksum.
    """

    def __init__(self, hands: Sequence[InspireHand], path: str, loop: SocketLoop, *, baud: int = 115200) -> None:
        if not path.startswith("/"):
            raise ConfigError(f"{', '.join(hand.name for hand in hands)}: address {path!r} is not the path of a serial line")
        self.hands = tuple(hands)
        self.requests = self.damaged = 0
        self._fault = "none"
        self._loop = loop
        self._buffer = b""
        self._stepping = False
        self.port = SerialPort(loop, path, self._on_data, baud=baud)
        for hand in self.hands:
            hand.port = self

    @property
    def fault(self) -> str:
        """What answers suffer."""
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        if fault not in FAULTS:
            raise ConfigError(f"fault {fault!r}; allowed: {FAULTS}")
        self._fault = fault

    def close(self) -> None:
        """Takes the line away; any number of times."""
        self.port.close()

    def _on_data(self, data: bytes) -> None:
        self._buffer += data
        while (start := self._buffer.find(HEAD)) >= 0:
            frame = self._buffer[start:]
            if len(frame) < 4 or len(frame) < frame[3] + AROUND:
                self._buffer = frame
                return
            size = frame[3] + AROUND
            body, self._buffer = frame[2 : size - 1], frame[size:]
            self.requests += 1
            if sum(body) & 0xFF != frame[size - 1] or len(body) < 6:
                self.damaged += 1
                continue
            self._answer(body)
        self._buffer = self._buffer[-1:] if self._buffer.endswith(HEAD[:1]) else b""

    def _answer(self, body: bytes) -> None:
        number, _length, command, address = struct.unpack_from("<BBBH", body)
        hand = next((hand for hand in self.hands if hand.hand_id == number), None)
        if hand is None or command not in (READ, WRITE):
            return
        if command == READ:
            try:
                self._send(number, command, address, read_bytes(hand, address, body[5]))
            except RegisterError:
                return  # outside the map: the hand says nothing
            return
        done = OK
        try:
            write_bytes(hand, address, body[5:])
        except RegisterError:
            done = REFUSED
        self._send(number, command, address, bytes([done]))
        if address == SAVE and done == OK:
            self._send_later(number, bytes([0]))
        self._wake()

    def _send(self, number: int, command: int, address: int, data: bytes) -> None:
        body = struct.pack("<BBBH", number, len(data) + 3, command, address) + data
        frame = REPLY_HEAD + body + bytes([sum(body) & 0xFF])
        if self._fault == "silent":
            return
        if self._fault == "truncated":
            frame = frame[: len(frame) // 2]
        self.port.send(bytes(len(frame)) if self._fault == "garbage" else frame)

    def _send_later(self, number: int, data: bytes) -> None:
        """The second word of a SAVE, a second after the first: whether it is in the flash."""
        def send() -> bool:
            self._send(number, WRITE, SAVE, data)
            return False

        self._loop.every(SAVE_S, send)

    def _wake(self) -> None:
        if not self._stepping:
            self._stepping = True
            self._loop.every(STEP_S, self._step)

    def _step(self) -> bool:
        self._stepping = any([hand.step() for hand in self.hands])
        return self._stepping


def read_bytes(hand: InspireHand, address: int, count: int) -> bytes:
    """``count`` bytes of the hand's memory as they lie there. Raises RegisterError."""
    out = b""
    for k, word in enumerate(hand.read_words(address, (count + 1) // 2)):
        out += word.to_bytes(2, "big" if address + 2 * k in PAIRED_BYTES else "little")
    return out[:count]


def write_bytes(hand: InspireHand, address: int, data: bytes) -> None:
    """Writes bytes to registers of one or two bytes. Raises RegisterError."""
    register = next((r for r in WRITABLE if r.address <= address < r.end), None)
    if register is None or len(data) % register.width:
        raise RegisterError(f"{len(data)} bytes cannot be written to {address}")
    if register.width == 2:
        hand.write_words(address, [value & 0xFFFF for value in struct.unpack(f"<{len(data) // 2}h", data)])
        return
    for k, value in enumerate(data):
        hand.write_words(address + k, [value])


def serve(cell: CellConfig, names: Sequence[str], plant_of: Callable[[str], Plant]) -> Served:
    """One line for each hand, all on one thread. Raises DeviceError when a path cannot be served."""
    loop = SocketLoop("inspire-rs485")
    hands = {name: InspireHand(cell.interface(name), plant_of(name)) for name in names}
    ports: list[NativePort] = []

    def close() -> None:
        for port in ports:
            port.close()
        loop.stop()

    try:
        for name, hand in hands.items():
            ports.append(NativePort([hand], cell.address_of(name), loop, baud=cell.interface(name).address.baud))
    except DexError:
        close()
        raise
    return Served(hands, tuple(hand.reset for hand in hands.values()), close)
