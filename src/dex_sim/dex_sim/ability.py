# SPDX-License-Identifier: Apache-2.0
"""Serves simulated Ability Hands on serial lines (pseudo-terminals at fixed paths), at the pace of the baud rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dex_core.config import CellConfig
from dex_core.errors import ConfigError, DexError
from dex_sim import ability_wire as wire
from dex_sim.ability_hand import AbilityHand
from dex_sim.devices import Served
from dex_sim.plant import Plant
from dex_sim.serial_port import SerialPort
from dex_sim.xarm_controller_loop import SocketLoop

STEP_S = 0.01
BAUD = 460800
FAULTS = ("none", "silent", "truncated", "garbage", "checksum", "zeros")


class AbilityLine:
    """One hand on a line of its own.

    Args:
        hand: what answers.
        path: where clients open the line.
        loop: shared with the other hands of the cell; frames and motors are served on its thread.
        baud: pace of the answers; 0: at once.
        stuffing: both ways, as with the hand's settings 46 and 47; without, a piece of data that arrives at once is a frame.

    Attributes:
        fault: what answers suffer: one of FAULTS; ``zeros`` are the stray bytes of RS-485 adapters, which a client must bear.
        requests: frames heard so far, good or not.
    """

    def __init__(self, hand: AbilityHand, path: str, loop: SocketLoop, *, baud: int = BAUD, stuffing: bool = True) -> None:
        if not path.startswith("/"):
            raise ConfigError(f"{hand.name}: address {path!r} is not the path of a serial line")
        self.hand = hand
        self.requests = 0
        self._fault = "none"
        self._loop, self._stuffing = loop, stuffing
        self._framer = wire.Framer()
        self._stepping = False
        self.port = SerialPort(loop, path, self._on_data, baud=baud)

    @property
    def fault(self) -> str:
        """What answers suffer."""
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        if fault not in FAULTS:
            raise ConfigError(f"fault {fault!r}; allowed: {FAULTS}")
        self._fault = fault

    def fault_hooks(self) -> Mapping[str, Callable[[float], None]]:
        """The product's fault words as this hand can suffer them; ``wrong`` is a thumb rotator that shut down for heat."""
        def suffer(fault: str, *, plugged: bool = True) -> Callable[[float], None]:
            def act(_amount: float) -> None:
                self.fault = fault
                if plugged:
                    self.hand.set_hot("thumb_rotator", False)
                    self.port.plug()
                else:
                    self.port.hang_up()

            return act

        return {
            "ok": suffer("none"), "off": suffer("silent", plugged=False), "stuck": suffer("silent"), "garbage": suffer("garbage"),
            "wrong": lambda _amount: self.hand.set_hot("thumb_rotator"),
        }

    def close(self) -> None:
        """Takes the line away; any number of times."""
        self.port.close()

    def _on_data(self, data: bytes) -> None:
        for body in self._framer.feed(data) if self._stuffing else [data]:
            self.requests += 1
            answer = self.hand.answer(body)
            if answer is not None:
                self.port.send(self._damaged(wire.stuff(answer) if self._stuffing else answer))
        if self.hand.in_api_mode and not self._stepping:
            self._stepping = True
            self._loop.every(STEP_S, self._step)

    def _step(self) -> bool:
        self._stepping = self.hand.step()
        return self._stepping

    def _damaged(self, frame: bytes) -> bytes:
        if self._fault == "silent":
            return b""
        if self._fault == "truncated":
            return frame[: len(frame) // 2]
        if self._fault == "garbage":
            return bytes(len(frame))
        if self._fault == "checksum":
            return frame[:1] + bytes([frame[1] ^ 0x01]) + frame[2:]
        return b"\0" + frame + b"\0" if self._fault == "zeros" else frame


def serve(cell: CellConfig, names: Sequence[str], plant_of: Callable[[str], Plant]) -> Served:
    """One line for each hand, all on one thread. Raises DeviceError when a path cannot be served."""
    loop = SocketLoop("ability")
    lines: dict[str, AbilityLine] = {}

    def close() -> None:
        for line in lines.values():
            line.close()
        loop.stop()

    try:
        for name in names:
            interface = cell.interface(name)
            hand = AbilityHand(interface, plant_of(name))
            lines[name] = AbilityLine(hand, cell.address_of(name), loop, baud=interface.address.baud)
    except DexError:
        close()
        raise
    return Served(lines, tuple(line.hand.reset for line in lines.values()), close)
