# SPDX-License-Identifier: Apache-2.0
"""Numbers of the xArm controller in words."""

from __future__ import annotations

RETURN_WORDS = {
    -9: "the arm is stopped", -8: "target out of the joint range", -7: "joint limit", -6: "Cartesian limit",
    -3: "the SDK refused the parameters", -2: "not ready", -1: "not connected",
    1: "an error is active", 2: "a warning is active", 3: "no reply in time", 4: "reply of the wrong length",
    5: "reply to another request", 6: "reply of another protocol", 7: "reply to another function", 8: "sending failed",
    9: "not ready to move", 10: "the controller calls the request invalid", 11: "other failure", 12: "wrong parameter",
    100: "wait timed out",
}

ERROR_WORDS = {
    1: "emergency stop button of the control box is pressed", 2: "emergency stop input is triggered",
    3: "emergency stop of the three-state switch", 10: "servo error", 18: "force-torque sensor communication",
    19: "end effector communication", 21: "kinematic error", 22: "self-collision ahead", 23: "joint angle beyond its limit",
    24: "speed beyond the limit", 25: "planning error", 26: "real-time system error of the controller",
    27: "command reply error", 28: "end module communication", 29: "other error", 30: "feedback speed beyond the limit",
    31: "collision: abnormal joint current", 32: "three-point drawing", 33: "controller inputs and outputs",
    34: "recording timed out", 35: "beyond the safety boundary", 36: "too many delayed commands",
    37: "abnormal motion in manual mode", 38: "abnormal joint angle", 39: "communication with the power board",
    40: "no inverse kinematics solution", 50: "force-torque sensor", 51: "force-torque sensor mode", 52: "force-torque sensor zero",
    53: "force-torque sensor overload", 60: "linear speed beyond the limit of servo mode",
    110: "base board communication", 111: "control box RS-485 communication",
    **{10 + i: f"servo error of joint {i}" for i in range(1, 8)},
}

WARNING_WORDS = {
    11: "command queue is full", 12: "wrong parameter", 13: "unknown command", 14: "no solution", 15: "Modbus queue is full",
}

SERVO_WORDS = {
    10: "current detection", 11: "over-current", 12: "over-speed", 14: "position command too large", 15: "overheated",
    16: "encoder initialisation", 17: "single-turn encoder", 18: "multi-turn encoder", 19: "battery low", 20: "driver hardware",
    21: "driver initialisation", 22: "encoder configuration", 23: "large position deviation", 26: "positive overrun",
    27: "negative overrun", 28: "joint command error", 33: "drive overloaded", 34: "motor overloaded", 35: "motor type",
    36: "driver type", 39: "over-voltage", 40: "under-voltage", 49: "EEPROM",
}

STATE_WORDS = {1: "moving", 2: "ready", 3: "paused", 4: "stopped", 5: "not ready", 6: "decelerating"}


def error_in_words(code: int, servo_codes: tuple[tuple[int, int], ...] = ()) -> str:
    """One sentence for an error code; servo errors name the joint's own code."""
    words = f"xArm error {code}: {ERROR_WORDS.get(code, 'not in the table of codes')}"
    details = [f"joint {i + 1} code {c} ({SERVO_WORDS.get(c, 'unknown')})" for i, (_status, c) in enumerate(servo_codes) if c]
    return f"{words}; {', '.join(details)}" if details else words


def return_in_words(code: int) -> str:
    """One sentence for a return code of the SDK."""
    return f"xArm return code {code}: {RETURN_WORDS.get(code, 'not in the table of codes')}"
