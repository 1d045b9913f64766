# SPDX-License-Identifier: Apache-2.0
"""What an Inspire hand says of its fingers: forces, currents, errors, states and temperatures, in words."""

from __future__ import annotations

from dataclasses import dataclass

from dex_core.errors import ShapeError

HEALTH_BLOCK = (1582, 21)
"""Byte address and words of one read: FORCE_ACT(6), CURRENT(6), then ERROR, STATUS, TEMP of six bytes each."""

ERROR_BITS = {1: "stall", 2: "over-temperature", 4: "over-current", 8: "motor abnormal", 16: "communication"}
ERROR_CODES = {1: "overload", 2: "over_temperature", 4: "overload", 8: "motor_fault", 16: "device_error"}
STATES = {
    0: "opening", 1: "closing", 2: "at position", 3: "force reached", 5: "stopped by current protection", 6: "stopped by stall",
    7: "actuator fault", 255: "error",
}


@dataclass(frozen=True)
class HandStatus:
    """One reading of the health registers, six values each, hardware order.

    Attributes:
        force_g: [gram-force]. current_ma: [mA]. error: bits. state: STATUS. temperature_c: [deg C].
    """

    names: tuple[str, ...]
    force_g: tuple[int, ...]
    current_ma: tuple[int, ...]
    error: tuple[int, ...]
    state: tuple[int, ...]
    temperature_c: tuple[int, ...]

    @classmethod
    def from_words(cls, words: list[int], names: tuple[str, ...]) -> HandStatus:
        """From the words of ``HEALTH_BLOCK``; byte registers have their first byte in the high half of a word."""
        if len(words) != HEALTH_BLOCK[1]:
            raise ShapeError(f"health block has {len(words)} words, expected {HEALTH_BLOCK[1]}")
        packed = b"".join((word & 0xFFFF).to_bytes(2, "big") for word in words[12:])
        return cls(names, tuple(words[:6]), tuple(words[6:12]), tuple(packed[:6]), tuple(packed[6:12]), tuple(packed[12:18]))

    @property
    def errors(self) -> bool:
        """Whether any finger reports an error."""
        return any(self.error)

    @property
    def device_code(self) -> int:
        """Error bits of all fingers together."""
        bits = 0
        for error in self.error:
            bits |= error
        return bits

    @property
    def code(self) -> str:
        """Reason code of the gravest error; empty without one."""
        return next((ERROR_CODES[bit] for bit in (2, 8, 4, 1, 16) if self.device_code & bit), "device_error" if self.errors else "")

    @property
    def text(self) -> str:
        """Errors in words, finger by finger."""
        parts = []
        for name, error, state in zip(self.names, self.error, self.state, strict=True):
            if error:
                words = [word for bit, word in ERROR_BITS.items() if error & bit] or ["unknown"]
                parts.append(f"{name} {' and '.join(words)} (ERROR {error:#04x}, {STATES.get(state, f'STATUS {state}')})")
        return "; ".join(parts) or "no error"

    def values(self) -> dict[str, str]:
        """For /diagnostics."""
        values = {
            "temperature_c": str(max(self.temperature_c)),
            "current_a": f"{sum(self.current_ma) / 1000.0:.3f}",
            "force_max_n": f"{max(self.force_g) * 9.80665e-3:.2f}",
            "error_code": f"{self.device_code:#04x}",
            "finger_states": ", ".join(STATES.get(s, str(s)) for s in self.state),
        }
        for name, temperature_c, current_ma, error in zip(self.names, self.temperature_c, self.current_ma, self.error, strict=True):
            values |= {f"{name}.temperature_c": str(temperature_c), f"{name}.current_a": f"{current_ma / 1e3:.3f}"}
            if error:
                values[f"{name}.error_code"] = f"{error:#04x}"
        return values
