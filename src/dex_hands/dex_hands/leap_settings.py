# SPDX-License-Identifier: Apache-2.0
"""How the servos of a LEAP hand are set up at every start: RAM, lost whenever one is restarted."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from dex_core.errors import DeviceError
from dex_hands.leap_bus import ServoBus
from dex_hands.leap_registers import CURRENT_BASED_POSITION, GOAL_CURRENT, OPERATING_MODE, POSITION_DIP, PROFILE, TORQUE_ENABLE, Register

GAIN_P, GAIN_I, GAIN_D = 600, 0, 200
SIDEWAYS, SIDEWAYS_PART = ("0", "4", "8"), 0.75
"""Gains as in LEAP's own start sequence; the joints that spread the fingers get three quarters of them."""

Settings = Mapping[Register, Mapping[int, bytes]]
"""Register -> id -> its bytes."""


def settings_of(joints: Sequence[str], current_ma: int) -> Settings:
    """What each servo gets. ``joints``: names without side, in the order of the ids; ``current_ma``: goal current."""
    parts = [SIDEWAYS_PART if joint in SIDEWAYS else 1.0 for joint in joints]
    gains = [struct.pack("<HHH", round(GAIN_D * part), round(GAIN_I * part), round(GAIN_P * part)) for part in parts]
    ids = range(len(joints))
    return {
        POSITION_DIP: dict(enumerate(gains)),
        PROFILE: dict.fromkeys(ids, bytes(PROFILE.size)),
        GOAL_CURRENT: dict.fromkeys(ids, struct.pack("<h", current_ma)),
    }


def set_mode(bus: ServoBus) -> None:
    """Puts servos that are in another mode into mode 5, for which they lose their torque: it is kept in the EEPROM. Raises DeviceError."""
    for identifier, reply in bus.read(OPERATING_MODE).items():
        if reply.data[0] != CURRENT_BASED_POSITION:
            bus.write_one(identifier, TORQUE_ENABLE, 0)
            bus.write_one(identifier, OPERATING_MODE, CURRENT_BASED_POSITION)


def check_taken(bus: ServoBus, settings: Settings, who: str) -> None:
    """Reads settings back, since no servo acknowledges a write to many. Raises DeviceError (``settings_refused``) with joint and register."""
    for register, wanted in settings.items():
        replies = bus.read(register)
        for identifier, value in wanted.items():
            found = replies[identifier].data
            if found != value:
                raise DeviceError(
                    f"{who}: the servo of {bus.joints[identifier]} has {found.hex(' ')} at {register.address} after {value.hex(' ')} was written",
                    code="settings_refused",
                )
