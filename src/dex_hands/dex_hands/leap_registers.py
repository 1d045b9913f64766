# SPDX-License-Identifier: Apache-2.0
"""Registers of the LEAP hand's servos (ROBOTIS e-manual, XC330-M288-T and XL330-M288-T) and what their errors mean."""

from __future__ import annotations

import math
from typing import NamedTuple


class Register(NamedTuple):
    """Bytes of a control table: ``size`` from ``address``. Blocks here hold no undefined address: reading one may be refused."""

    address: int
    size: int


IDENTITY = Register(0, 14)
"""Model (2), model information (4), firmware, id, baud, return delay, drive mode, operating mode, secondary id, protocol."""
LIMITS = Register(31, 9)
"""Temperature [deg C], largest and least voltage [0.1 V], PWM, current [mA]."""
OPERATING_MODE, SECONDARY_ID = Register(11, 1), Register(12, 1)
TORQUE_ENABLE, HARDWARE_ERROR = Register(64, 1), Register(70, 1)
POSITION_DIP = Register(80, 6)
"""Gains of the position controller: D, I, P."""
BUS_WATCHDOG, GOAL_CURRENT = Register(98, 1), Register(102, 2)
PROFILE = Register(108, 8)
"""Acceleration and velocity of the profile; zero: none, a new goal is gone for at once."""
GOAL_POSITION = Register(116, 4)
MOTION = Register(126, 10)
"""Current (2) [mA], velocity (4), position (4) [counts], all signed."""
MOTION_AND_SUPPLY = Register(126, 21)
"""The same, then velocity and position of the trajectory, voltage (2) [0.1 V], temperature (1) [deg C]."""

REVERSED = 0x01
"""Bit of the drive mode: the servo counts the other way."""
CURRENT_BASED_POSITION = 5
WATCHDOG_UNIT_S = 0.02
WATCHDOG_TRIPPED = 0xFF
VELOCITY_RAD_S = 0.229 * math.tau / 60
COUNTS_PER_TURN = 4096

MODELS = {1240: "XC330-M288", 1200: "XL330-M288"}
GOAL_CURRENT_MA = {1240: 550, 1200: 350}
"""LEAP's advice for the full hand (XC330) and the Lite (XL330)."""

GROUPS = {"right": 201, "left": 202}
"""Secondary id of all servos of a hand, by side: a convention of this project, since both hands have the ids 0 to 15. See ``assign_side``."""
NO_GROUP = 253
"""From here on there is no secondary id; 255 as shipped."""

ERROR_WORDS = {0x04: "over-temperature", 0x08: "encoder fault", 0x10: "electrical shock", 0x20: "overload", 0x01: "input voltage"}
ERROR_CODES = {0x04: "over_temperature", 0x08: "motor_fault", 0x10: "motor_fault", 0x20: "overload", 0x01: "input_voltage"}
"""Bits of register 70, the gravest first."""


def error_words(bits: int) -> str:
    """What a hardware error register says, in words with its number."""
    words = [word for bit, word in ERROR_WORDS.items() if bits & bit] or ["unknown error"]
    return f"{' and '.join(words)} (hardware error {bits:#04x})"


def error_code(bits: int) -> str:
    """Reason code of the gravest error."""
    return next((code for bit, code in ERROR_CODES.items() if bits & bit), "device_error")
