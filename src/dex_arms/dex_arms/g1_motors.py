# SPDX-License-Identifier: Apache-2.0
"""What is known of a G1's motors: which ``arm_sdk`` moves, with which gains, and their errors in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import NDArray

MODE_MACHINE = 5
"""Hardware revision that ``config/arms/g1.yaml`` describes: 29 joints, rev 1.0."""

REVISIONS = {4: "23 joints rev 1.0", 5: "29 joints rev 1.0", 6: "29 joints rev 1.0, waist locked", 9: "both arms only"}
"""mode_machine -> hardware, after Unitree's G1 description; 10 to 16 are newer ones."""

MODE_PITCH_ROLL = 0
"""mode_pr in which waist and ankles are counted as pitch and roll; 1 counts their motors A and B."""

LEGS = ("_hip_", "_knee_", "_ankle_")
WAIST = "waist_"
WEAK_WRISTS = ("_wrist_pitch_", "_wrist_yaw_")


class Gains(NamedTuple):
    """Stiffness [N m/rad] and damping [N m s/rad] of one motor."""

    kp: float
    kd: float


def is_leg(joint: str) -> bool:
    """Whether the robot's own balance controller has this joint."""
    return any(part in joint for part in LEGS)


def gains_of(joint: str) -> Gains:
    """Gains of one joint of arms or waist.

    60 and 1.5 are those of Unitree's own arm_sdk example; wrist pitch and yaw have 5 N m instead of 25, and xr_teleoperate's 40 and 1.5.
    """
    return Gains(40.0, 1.5) if any(part in joint for part in WEAK_WRISTS) else Gains(60.0, 1.5)


MOTOR_ERRORS = {
    0x1: "over-current", 0x2: "transient over-voltage", 0x4: "lasting over-voltage", 0x8: "transient under-voltage", 0x10: "chip too hot",
    0x20: "MOSFET too hot or too cold", 0x40: "MOSFET temperature implausible", 0x80: "shell too hot or too cold",
    0x100: "shell temperature implausible", 0x200: "winding too hot", 0x400: "rotor encoder 1", 0x800: "rotor encoder 2",
    0x1000: "output encoder", 0x2000: "calibration or boot data", 0x4000: "unexpected reset", 0x8000: "locked by the main controller",
    0x10000: "chip check", 0x20000: "calibration mode", 0x40000: "communication check", 0x80000: "driver version too old",
    0x40000000: "motor: host timed out", 0x80000000: "host: motor timed out",
}
"""Bits of ``motorstate``; Unitree's G1 developer pages, "common mistakes and definitions"."""


def error_words(motorstate: int) -> str:
    """``0x210: chip too hot, winding too hot``."""
    words = [words for bit, words in MOTOR_ERRORS.items() if motorstate & bit]
    unknown = motorstate & ~sum(MOTOR_ERRORS)
    return f"{motorstate:#x}: {', '.join(words + [f'unknown bits {unknown:#x}'] * bool(unknown))}"


def revision_words(mode_machine: int) -> str:
    """``6 (29 joints rev 1.0, waist locked)``."""
    return f"{mode_machine} ({REVISIONS.get(mode_machine, 'a revision not known here')})"


def motor_values(joints: Sequence[str], motors: NDArray) -> dict[str, str]:
    """What (n,) motors of MOTOR_STATE tell of their health; temperatures are the hotter of casing and winding."""
    hottest = motors["temperature"].max(axis=1)
    values = {
        "temperature_c": str(int(hottest.max())), "voltage_v": f"{float(motors['vol'].max()):.1f}",
        "error_code": str(int(motors["motorstate"].max())),
    }
    for joint, celsius, word in zip(joints, hottest, motors["motorstate"], strict=True):
        values[f"{joint}.temperature_c"] = str(int(celsius))
        if word:
            values[f"{joint}.error_code"] = error_words(int(word))
    return values
