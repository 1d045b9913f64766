# SPDX-License-Identifier: Apache-2.0
"""Errors of a DexH13's motors in words, by the names the vendor's SDK gives them (what they mean in full is not public)."""

from __future__ import annotations

from dataclasses import dataclass

_WORDS = {
    "OVER_VOLT": "over-voltage", "UNDER_VOLT": "under-voltage", "OVER_CURRENTU": "over-current in phase U",
    "OVER_CURRENTV": "over-current in phase V", "OVER_CURRENTW": "over-current in phase W", "OVER_TEMPERATURE": "over-temperature",
    "ADC_CALIB": "current sensor not calibrated", "FOC_ERR": "motor control failed", "OVER_IQ": "over-current", "OPD_U": "phase U open",
    "OPD_V": "phase V open", "OPD_W": "phase W open", "POS_REF_OVER": "target above the range", "POS_REF_UNDER": "target below the range",
    "ABZ_ERR": "encoder error", "ABZ_Z_ERR": "encoder index error", "DISCONNECT": "motor board does not answer",
}
_REASONS = {
    "OVER_TEMPERATURE": "over_temperature", "DISCONNECT": "device_error",
    "OVER_CURRENTU": "overload", "OVER_CURRENTV": "overload", "OVER_CURRENTW": "overload", "OVER_IQ": "overload",
}


@dataclass(frozen=True)
class Fault:
    """One motor's error, by the SDK's names."""

    finger: str
    motor: int
    error: str

    @property
    def words(self) -> str:
        """``motor 4 (middleFinger): over-temperature (OVER_TEMPERATURE)``."""
        return f"motor {self.motor} ({self.finger or 'finger not told'}): {_WORDS.get(self.error, 'unknown error')} ({self.error})"

    @property
    def reason(self) -> str:
        """Its reason code."""
        return _REASONS.get(self.error, "motor_fault")
