# SPDX-License-Identifier: Apache-2.0
"""Control table of an XC330-M288 or XL330-M288 servo: what is where, what may be written, and how indirect addresses lead elsewhere.

Source: ROBOTIS e-manual, XC330-M288-T. Addresses between items are taken as not defined: reading one is an access error.
"""

from __future__ import annotations

from dataclasses import dataclass

from dex_sim.dynamixel_wire import MAX_ID, Problem, RefusedError

RAM = 64
"""Below lies the EEPROM: kept without power, locked while torque is on."""
END = 228
INDIRECT_ADDRESS, INDIRECT_DATA, INDIRECT_COUNT = 168, 208, 20
TURNS = 1_048_575


@dataclass(frozen=True)
class Item:
    """One value of ``size`` bytes at ``address``, little-endian; ``low`` and ``high`` are None where it is read-only."""

    name: str
    address: int
    size: int
    initial: int = 0
    low: int | None = None
    high: int | None = None
    signed: bool = False


def _signed(name: str, address: int, size: int, low: int | None = None, high: int | None = None, initial: int = 0) -> Item:
    return Item(name, address, size, initial, low, high, signed=True)


GAIN = 16383

ITEMS = {
    item.name: item
    for item in (
        Item("model_number", 0, 2),
        Item("model_information", 2, 4),
        Item("firmware_version", 6, 1, 52),
        Item("id", 7, 1, 1, 0, MAX_ID),
        Item("baud_rate", 8, 1, 1, 0, 6),
        Item("return_delay_time", 9, 1, 250, 0, 254),
        Item("drive_mode", 10, 1, 0, 0, 13),
        Item("operating_mode", 11, 1, 3, 0, 16),
        Item("secondary_id", 12, 1, 255, 0, 255),
        Item("protocol_type", 13, 1, 2, 2, 22),
        _signed("homing_offset", 20, 4, -1_044_479, 1_044_479),
        Item("moving_threshold", 24, 4, 10, 0, 1023),
        Item("temperature_limit", 31, 1, 70, 0, 100),
        Item("max_voltage_limit", 32, 2, 70, 31, 70),
        Item("min_voltage_limit", 34, 2, 35, 31, 70),
        Item("pwm_limit", 36, 2, 885, 0, 885),
        Item("current_limit", 38, 2, 2352, 0, 2352),
        Item("velocity_limit", 44, 4, 350, 0, 2047),
        Item("max_position_limit", 48, 4, 4095, 0, 4095),
        Item("min_position_limit", 52, 4, 0, 0, 4095),
        Item("startup_configuration", 60, 1, 0, 0, 3),
        Item("pwm_slope", 62, 1, 140, 1, 255),
        Item("shutdown", 63, 1, 52, 0, 63),
        Item("torque_enable", 64, 1, 0, 0, 1),
        Item("led", 65, 1, 0, 0, 1),
        Item("status_return_level", 68, 1, 2, 0, 2),
        Item("registered_instruction", 69, 1),
        Item("hardware_error_status", 70, 1),
        Item("velocity_i_gain", 76, 2, 1600, 0, GAIN),
        Item("velocity_p_gain", 78, 2, 50, 0, GAIN),
        Item("position_d_gain", 80, 2, 500, 0, GAIN),
        Item("position_i_gain", 82, 2, 0, 0, GAIN),
        Item("position_p_gain", 84, 2, 1100, 0, GAIN),
        Item("feedforward_2nd_gain", 88, 2, 0, 0, GAIN),
        Item("feedforward_1st_gain", 90, 2, 0, 0, GAIN),
        Item("bus_watchdog", 98, 1, 0, 0, 127),
        _signed("goal_pwm", 100, 2, -885, 885, 885),
        _signed("goal_current", 102, 2, -2352, 2352, 2352),
        _signed("goal_velocity", 104, 4, -2047, 2047),
        Item("profile_acceleration", 108, 4, 0, 0, 32767),
        Item("profile_velocity", 112, 4, 0, 0, 32767),
        _signed("goal_position", 116, 4, -TURNS, TURNS),
        Item("realtime_tick", 120, 2),
        Item("moving", 122, 1),
        Item("moving_status", 123, 1),
        _signed("present_pwm", 124, 2),
        _signed("present_current", 126, 2),
        _signed("present_velocity", 128, 4),
        _signed("present_position", 132, 4),
        _signed("velocity_trajectory", 136, 4),
        _signed("position_trajectory", 140, 4),
        Item("present_input_voltage", 144, 2, 50),
        Item("present_temperature", 146, 1, 30),
        Item("backup_ready", 147, 1),
        *(Item(f"indirect_address_{i + 1}", INDIRECT_ADDRESS + 2 * i, 2, INDIRECT_DATA + i, RAM, END - 1) for i in range(INDIRECT_COUNT)),
        *(Item(f"indirect_data_{i + 1}", INDIRECT_DATA + i, 1, 0, 0, 255) for i in range(INDIRECT_COUNT)),
    )
}
_AT = {item.address + i: item for item in ITEMS.values() for i in range(item.size)}
_BEGINS = {(item.address, item.size): item for item in ITEMS.values() if item.low is not None and item.address < INDIRECT_DATA}
"""What a write of one whole item means, which nearly all of them are."""

GOALS = ("goal_pwm", "goal_current", "goal_velocity", "goal_position")
PROFILE = ("profile_acceleration", "profile_velocity")
POSITION_GAINS = ("position_d_gain", "position_i_gain", "position_p_gain", "feedforward_2nd_gain", "feedforward_1st_gain")


class ControlTable:
    """The memory of one servo. It checks addresses, sizes, access and ranges; what a value means is the servo's affair."""

    def __init__(self) -> None:
        self._bytes = bytearray(END)
        self._values: dict[str, int] = {}
        self.restore(range(END))

    def restore(self, addresses: range) -> None:
        """Initial values of all items that begin within ``addresses``."""
        for item in ITEMS.values():
            if item.address in addresses:
                self.set(item.name, item.initial)

    def get(self, name: str) -> int:
        """One value."""
        return self._values[name]

    def set(self, name: str, value: int) -> None:
        """Stores one value, whatever may be written."""
        if self._values.get(name) != value:
            item = ITEMS[name]
            self._values[name] = value = int(value)
            self._bytes[item.address : item.address + item.size] = value.to_bytes(item.size, "little", signed=item.signed)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of a read. Raises RefusedError (ACCESS) where nothing is defined."""
        places = range(address, address + size)
        lost = next((place for place in places if place not in _AT), None)
        if lost is not None or not size:
            raise RefusedError(Problem.ACCESS, f"address {lost if size else address} holds nothing")
        if address + size <= INDIRECT_DATA:
            return bytes(self._bytes[address : address + size])
        return bytes(self._bytes[self._leads_to(place)] for place in places)

    def check_write(self, address: int, data: bytes) -> list[tuple[Item, int]]:
        """Splits a write into items and values. Raises RefusedError (ACCESS, LENGTH, RANGE) before anything is changed."""
        whole = _BEGINS.get((address, len(data)))
        if whole is not None:
            return [(whole, self._value_of(whole, data))]
        placed = {self._leads_to(address + i): byte for i, byte in enumerate(data)}
        changes: dict[str, tuple[Item, int]] = {}
        for place in placed:
            item = _AT.get(place)
            if item is None or item.low is None:
                raise RefusedError(Problem.ACCESS, f"address {place} cannot be written")
            own = range(item.address, item.address + item.size)
            if any(part not in placed for part in own):
                raise RefusedError(Problem.LENGTH, f"{item.name} has {item.size} bytes; some are missing")
            changes[item.name] = (item, self._value_of(item, bytes(placed[part] for part in own)))
        if not changes:
            raise RefusedError(Problem.LENGTH, "a write without data")
        return list(changes.values())

    @staticmethod
    def _value_of(item: Item, data: bytes) -> int:
        value = int.from_bytes(data, "little", signed=item.signed)
        if item.low is None or item.high is None or not item.low <= value <= item.high:
            raise RefusedError(Problem.RANGE, f"{item.name} = {value}; allowed {item.low} to {item.high}")
        return value

    def _leads_to(self, place: int) -> int:
        """Where an address really is: indirect data lie where their indirect address says."""
        if not INDIRECT_DATA <= place < INDIRECT_DATA + INDIRECT_COUNT:
            return place
        at = INDIRECT_ADDRESS + 2 * (place - INDIRECT_DATA)
        return int.from_bytes(self._bytes[at : at + 2], "little")
