# SPDX-License-Identifier: Apache-2.0
"""What the servos of a LEAP hand say of themselves: motion in counts, and temperature, current, voltage and errors in words."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dex_core.types import Array
from dex_hands.leap_bus import Reply
from dex_hands.leap_registers import VELOCITY_RAD_S, error_code, error_words

_MOTION = struct.Struct("<hii")
_SUPPLY = struct.Struct("<HB")

Replies = Mapping[int, Reply]


@dataclass(frozen=True)
class Motion:
    """One reading of register 126, in the order of the joints, (n,) each.

    Attributes:
        position: [counts]. velocity_rad_s: resolution 0.024 rad/s. current_ma: drawn from the supply, signed as the torque.
        alert: any servo has a hardware error.
    """

    position: Array
    velocity_rad_s: Array
    current_ma: Array
    alert: bool

    @classmethod
    def from_replies(cls, replies: Replies, ids: tuple[int, ...]) -> Motion:
        """From replies whose first ten bytes are register 126; further ones are left alone."""
        rows = np.array([_MOTION.unpack_from(replies[identifier].data) for identifier in ids], dtype=float)
        return cls(rows[:, 2], rows[:, 1] * VELOCITY_RAD_S, rows[:, 0], any(reply.alert for reply in replies.values()))


@dataclass(frozen=True)
class HandStatus:
    """One reading of what changes slowly, in the order of ``names``.

    Attributes:
        names: joints. temperature_c: [deg C]. voltage_v: [V]. current_ma: [mA]. error: hardware error bits.
        torque: whether the motor has current. watchdog: register 98.
    """

    names: tuple[str, ...]
    temperature_c: tuple[int, ...]
    voltage_v: tuple[float, ...]
    current_ma: tuple[int, ...]
    error: tuple[int, ...]
    torque: tuple[bool, ...]
    watchdog: tuple[int, ...]

    @classmethod
    def from_replies(
        cls, names: tuple[str, ...], supply: Replies, errors: Replies, torque: Replies, watchdog: Replies,
    ) -> HandStatus:
        """From replies of registers 126 to 146, 70, 64 and 98, by id; ``names`` in the order of the ids."""
        ids = tuple(range(len(names)))
        electric = [_SUPPLY.unpack(supply[identifier].data[-_SUPPLY.size :]) for identifier in ids]
        current = Motion.from_replies(supply, ids).current_ma.astype(int).tolist()
        return cls(
            names, tuple(celsius for _, celsius in electric), tuple(decivolts / 10.0 for decivolts, _ in electric), tuple(current),
            tuple(errors[identifier].data[0] for identifier in ids), tuple(bool(torque[identifier].data[0]) for identifier in ids),
            tuple(watchdog[identifier].data[0] for identifier in ids),
        )

    @property
    def error_bits(self) -> int:
        """Hardware errors of all servos together."""
        bits = 0
        for error in self.error:
            bits |= error
        return bits

    @property
    def code(self) -> str:
        """Reason code of the gravest error; empty without one."""
        return error_code(self.error_bits) if self.error_bits else ""

    @property
    def text(self) -> str:
        """Errors in words, joint by joint."""
        parts = [f"{name} {error_words(error)}" for name, error in zip(self.names, self.error, strict=True) if error]
        return "; ".join(parts) or "no error"

    @property
    def limp(self) -> tuple[str, ...]:
        """Joints whose motor has no current."""
        return tuple(name for name, torque in zip(self.names, self.torque, strict=True) if not torque)

    def values(self) -> dict[str, str]:
        """For /diagnostics: the hand as a whole, then joint by joint."""
        values = {
            "temperature_c": str(max(self.temperature_c)),
            "current_a": f"{sum(abs(current) for current in self.current_ma) / 1e3:.3f}",
            "voltage_v": f"{min(self.voltage_v):.1f}",
            "error_code": f"{self.error_bits:#04x}",
        }
        for name, temperature_c, current_ma, error in zip(self.names, self.temperature_c, self.current_ma, self.error, strict=True):
            values[f"{name}.temperature_c"] = str(temperature_c)
            values[f"{name}.current_a"] = f"{current_ma / 1e3:.3f}"
            if error:
                values[f"{name}.error_code"] = f"{error:#04x}"
        return values
