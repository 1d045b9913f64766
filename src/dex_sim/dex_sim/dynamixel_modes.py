# SPDX-License-Identifier: Apache-2.0
"""Operating modes of a Dynamixel servo: what its goal registers make of the motor."""

from __future__ import annotations

import math

from dex_sim.dynamixel_motor import COUNTS_PER_RAD, COUNTS_PER_TURN, Drive, Motor
from dex_sim.dynamixel_table import ControlTable

CURRENT, VELOCITY, POSITION, EXTENDED_POSITION, CURRENT_BASED_POSITION, PWM = 0, 1, 3, 4, 5, 16
MODES = (CURRENT, VELOCITY, POSITION, EXTENDED_POSITION, CURRENT_BASED_POSITION, PWM)
TRIPPED = 0xFF
"""Register 98 once the bus watchdog has stopped the motor."""

VELOCITY_COUNTS_S = 0.229 / 60 * COUNTS_PER_TURN
"""One unit of velocity registers in counts/s."""
ACCELERATION_COUNTS_S2 = 214.577 / 3600 * COUNTS_PER_TURN
PWM_FULL = 885
FAR = 1e9
LEAD_COUNTS = COUNTS_PER_TURN / 32
"""Furthest ahead of a motor that its setpoint runs where there is no goal position, so that it turns back at once."""

LIMP = Drive(0.0, 0.0, math.inf, limp=True)


def drive_of(table: ControlTable, motor: Motor, turns: int) -> Drive:
    """What a motor with torque is to do. ``turns``: whole turns that the registers leave out.

    A plant takes positions only: current and PWM control become a velocity whose torque is limited.
    """
    get = table.get
    mode, goal_current = get("operating_mode"), get("goal_current")
    if mode == CURRENT and not goal_current:
        return LIMP
    duty = abs(get("goal_pwm")) / PWM_FULL
    current_ma = abs(goal_current if mode in (CURRENT, CURRENT_BASED_POSITION) else get("current_limit"))
    if get("bus_watchdog") == TRIPPED:
        return Drive(motor.setpoint, 0.0, math.inf, duty, current_ma)
    full = motor.kind.no_load_rad_s * COUNTS_PER_RAD * duty
    acceleration = get("profile_acceleration") * ACCELERATION_COUNTS_S2 or math.inf
    if mode == VELOCITY:
        goal = get("goal_velocity")
        return Drive(math.copysign(FAR, goal), abs(goal) * VELOCITY_COUNTS_S, acceleration, duty, current_ma, lead=LEAD_COUNTS)
    if mode in (CURRENT, PWM):
        goal = goal_current if mode == CURRENT else get("goal_pwm")
        return Drive(math.copysign(FAR, goal), full, math.inf, duty, current_ma, lead=LEAD_COUNTS)
    profile = get("profile_velocity") * VELOCITY_COUNTS_S or math.inf
    goal = get("goal_position") - get("homing_offset") + turns * COUNTS_PER_TURN
    return Drive(goal, min(profile, full), acceleration if profile < math.inf else math.inf, duty, current_ma)
