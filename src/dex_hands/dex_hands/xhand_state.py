# SPDX-License-Identifier: Apache-2.0
"""What an XHand1 is told and what it says, whichever way it travels: gains, joints, touch, and its error codes in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dex_core.errors import ConfigError
from dex_core.types import Array

JOINTS, TIPS, CELLS = 12, 5, 120
TIP_NAMES = ("thumb", "index", "middle", "ring", "little")
POWERLESS, POSITION = 0, 3
"""Motor modes. 5, "powerful", is not used here: nobody public says how it differs."""
NEWTON_PER_COUNT = 0.1
LARGEST_TORQUE_MA = 400
"""The largest torque limit that public drivers set [mA]."""

WARNINGS = frozenset({110, 200, 201, 202})
"""Codes with which the joints go on: the current limit acts (normal while grasping), and a fingertip does not read."""

_WORDS = {
    1: "firmware size out of range", 2: "erasing the flash failed", 3: "writing the flash failed", 5: "index error", 6: "bus busy",
    7: "data format error", 8: "check error", 10: "SHAR calculation error", 11: "stack check error", 12: "SHA check error",
    101: "flash parameters not initialised", 103: "joint board over-temperature", 104: "operating mode not understood",
    105: "control parameters out of range", 106: "flash parameters missing", 107: "communication with the joint board failed",
    108: "command not understood by the joint board", 109: "position sensor's voltage out of range",
    110: "current above its limit for more than 500 ms", 111: "motor current too small while ageing", 112: "no force control in this hardware",
    200: "fingertip does not read its resultant force", 201: "fingertip does not read its distributed force",
    202: "fingertip does not read its temperature", 203: "fingertip calibration failed", 205: "command not understood by the fingertip",
    206: "fingertip parameters missing", 207: "communication with the fingertip failed",
}
_REASONS = {103: "over_temperature", 109: "motor_fault"}


def error_words(code: int) -> str:
    """An error code of a board in words."""
    return _WORDS.get(code, "unknown error")


@dataclass(frozen=True)
class Gains:
    """How one motor follows: PID gains in the vendor's units, and the current that is its torque limit [mA]."""

    kp: int = 100
    ki: int = 0
    kd: int = 0
    torque_limit_ma: int = 300

    def __post_init__(self) -> None:
        for name in ("kp", "ki", "kd"):
            if not 0 <= getattr(self, name) <= 0x7FFF:
                raise ConfigError(f"XHand {name} is {getattr(self, name)}; allowed 0 to {0x7FFF}")
        if not 1 <= self.torque_limit_ma <= LARGEST_TORQUE_MA:
            raise ConfigError(f"XHand torque limit is {self.torque_limit_ma} mA; allowed 1 to {LARGEST_TORQUE_MA}")


@dataclass(frozen=True)
class Identity:
    """Who answers: ``side`` (left, right or empty where it does not know), serial number, id on its bus, versions in words."""

    side: str
    serial_number: str
    hand_id: int
    version: str = ""


@dataclass(frozen=True)
class Order:
    """One frame's worth of commands: targets (12,) [rad], mode and gains per joint, hardware order."""

    target_rad: tuple[float, ...]
    mode: int
    gains: tuple[Gains, ...]


@dataclass(frozen=True)
class Reading:
    """One full state, hardware order.

    Attributes:
        position_rad: (12,). current_ma, temperature_c: (12,).
        errors: (12, 3) codes of each joint's communication, joint and fingertip board.
        force_n: (5, 3) resultant at thumb, index, middle, ring and little tip: x, y and, away from the skin, z [N].
        cells_n: (5, 120, 3) the same at every cell.
        stamp_ns: wall-clock time of the measurement [ns].
    """

    position_rad: Array
    current_ma: Array
    temperature_c: Array
    errors: np.ndarray
    force_n: Array
    cells_n: Array
    stamp_ns: int

    @property
    def faults(self) -> list[tuple[int, int]]:
        """(joint, code) of every error that joints do not go on with."""
        return [(joint, code) for joint, code in self._codes() if code not in WARNINGS]

    @property
    def warnings(self) -> list[tuple[int, int]]:
        """(joint, code) of every other one."""
        return [(joint, code) for joint, code in self._codes() if code in WARNINGS]

    def _codes(self) -> list[tuple[int, int]]:
        return [(int(joint), int(self.errors[joint, board])) for joint, board in np.argwhere(self.errors)]


class HandLink(Protocol):
    """A way to one hand; every call returns or raises within its deadline."""

    transport: str
    repeated: int

    @property
    def connected(self) -> bool:
        """Whether it is open."""
        ...

    def open(self) -> Identity:
        """Opens it and asks who answers; no motor notices."""
        ...

    def send(self, order: Order) -> Reading:
        """One command and the state it is answered with."""
        ...

    def close(self) -> None:
        """Closes it; any number of times."""
        ...


def describe(codes: Sequence[tuple[int, int]], names: Sequence[str]) -> str:
    """``left_hand_mid_joint1: joint board over-temperature (103)``, joint by joint."""
    return "; ".join(f"{names[joint]}: {error_words(code)} ({code})" for joint, code in codes)


def reason_of(codes: Sequence[tuple[int, int]]) -> str:
    """Reason code of the gravest."""
    found = {_REASONS.get(code, "device_error") for _, code in codes}
    return next((reason for reason in ("over_temperature", "motor_fault") if reason in found), "device_error")
