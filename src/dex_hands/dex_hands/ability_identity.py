# SPDX-License-Identifier: Apache-2.0
"""Which Ability Hand it must be: its address on the line, which tells left from right, and its serial number where the cell gives one."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.config import Interface
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_hands import ability_wire as wire
from dex_hands.ability_link import AbilityLink
from dex_hands.ability_wire import Mode, Reply, Variant

ADDRESSES = {"right": 0x50, "left": 0x51}
"""Address on the line by side: the right hand keeps the factory's, the left one is given the next by ``Wp001:1:0x51`` over Bluetooth."""
CONFIGS_DEFAULT_ID = 1
"""``unit_id`` of a cell that does not give one; no hand is set to it here."""
OWN, OTHER = Variant.CURRENT_VELOCITY, Variant.VELOCITY_TOUCH
"""Answers name no address: what is asked of the other hand is not what was asked of this one, whose answer may only be late."""


@dataclass(frozen=True)
class Identity:
    """What a hand must answer to.

    Attributes:
        bus_id: its address on the line.
        serial_number: 16 hexadecimal digits (registers 61 and 62); empty: not asked for.
    """

    side: str
    bus_id: int
    serial_number: str = ""

    @classmethod
    def of(cls, interface: Interface, who: str) -> Identity:
        """From a cell. Raises ConfigError when it leaves open which of two hands is meant."""
        given, number = interface.address.unit_id, interface.address.serial_number.lower()
        bus_id = ADDRESSES[interface.side] if given == CONFIGS_DEFAULT_ID else given
        if bus_id == 0:
            raise ConfigError(f"{who}: unit_id is 0; an Ability hand has any address but this")
        if number and (len(number) != 16 or not set(number) <= set("0123456789abcdef")):
            raise ConfigError(f"{who}: serial_number is {number!r}; an Ability hand has 16 hexadecimal digits (registers 61 and 62)")
        if not number and bus_id != ADDRESSES[interface.side] and bus_id in ADDRESSES.values():
            raise ConfigError(f"{who}: unit_id {bus_id} is the other hand's; give the serial_number too, or sides could be swapped unseen")
        return cls(interface.side, bus_id, number)

    def check(self, link: AbilityLink, who: str) -> Reply:
        """Asks for the hand's state; the hand does not move.

        Raises:
            ConnectionLostError: nothing answers.
            DeviceError: ``wrong_device``, the hand of the other side or one with another serial number answers.
        """
        try:
            reply = _ask_state(link, self.bus_id, OWN)
        except ConnectionLostError as silence:
            self._explain(link, who, silence)
            raise
        if self.serial_number:
            found = "".join(f"{link.ask(wire.register_body(self.bus_id, r), wire.REGISTER_REPLY_BYTES, wire.decode_register):08x}"
                            for r in wire.UNIQUE_ID)
            if found != self.serial_number:
                raise DeviceError(
                    f"{who} at {link.address}: the hand there has serial number {found}; {self.serial_number} is asked for", code="wrong_device")
        return reply

    def _explain(self, link: AbilityLink, who: str, silence: ConnectionLostError) -> None:
        """A silent line may be the other hand's: raises DeviceError when it is."""
        if not link.connected or self.serial_number:
            return
        for side, bus_id in ADDRESSES.items():
            if bus_id == self.bus_id or side == self.side:
                continue
            try:
                _ask_state(link, bus_id, OTHER)
            except ConnectionLostError:
                continue
            raise DeviceError(
                f"{who} at {link.address}: the hand there has address {bus_id:#04x}, which is the {side} hand's; the {self.side} hand has "
                f"{self.bus_id:#04x}. Swap the ports, or give a new hand its address once over Bluetooth", code="wrong_device", device_code=bus_id,
            ) from silence


def _ask_state(link: AbilityLink, bus_id: int, variant: Variant) -> Reply:
    """A mere question, which leaves the hand to whom it obeys now."""
    question = wire.short_body(bus_id, Mode.READ_ONLY | variant)
    return link.ask(question, wire.REPLY_BYTES[variant], lambda found: wire.decode(found, header=question[1]), close_on_silence=False)
