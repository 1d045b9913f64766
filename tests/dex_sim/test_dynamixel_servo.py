# SPDX-License-Identifier: Apache-2.0
"""What a simulated servo does with its motor, on a clock of its own and without a line."""
from __future__ import annotations

import math

import pytest

from dex_core.clock import NS
from dex_sim import dynamixel_modes as modes
from dex_sim.dynamixel_modes import TRIPPED, VELOCITY_COUNTS_S
from dex_sim.dynamixel_motor import COUNTS_PER_RAD, FRICTION_NM, XC330_M288
from dex_sim.dynamixel_servo import OVERHEATING, OVERLOAD, Servo
from dex_sim.dynamixel_table import ITEMS
from dex_sim.dynamixel_wire import Problem, RefusedError

DT_S = 0.01
STIFFNESS_NM = 0.93 / (0.1 * COUNTS_PER_RAD)
"""Of the plant behind a blocked joint: full torque at 0.1 rad, per count."""


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def now_ns(self) -> int:
        return round(self.s * NS)


class Rig:
    """A servo with torque whose joint follows at once, or is blocked and feels its torque."""

    def __init__(self, mode: int = modes.CURRENT_BASED_POSITION, *, blocked: bool = False, torque: bool = True) -> None:
        self.clock = Clock()
        self.servo = Servo(0, mode=mode, clock=self.clock)
        self.blocked = blocked
        self.target = 2000.0
        self.servo.motor.position = 2000.0
        self.servo.relocated()
        if torque:
            self.put("torque_enable", 1)

    def put(self, name: str, value: int) -> None:
        item = ITEMS[name]
        self.servo.write(item.address, value.to_bytes(item.size, "little", signed=value < 0))

    def get(self, name: str) -> int:
        item = ITEMS[name]
        return int.from_bytes(self.servo.read(item.address, item.size), "little", signed=item.signed)

    def run(self, seconds: float, *, host: bool = True) -> None:
        """Lets time pass; ``host``: somebody speaks on the line."""
        motor = self.servo.motor
        for _ in range(round(seconds / DT_S)):
            self.clock.s += DT_S
            if host:
                self.servo.heard()
            self.target = self.servo.step(DT_S)
            if self.blocked:
                motor.effort_nm = min(max(STIFFNESS_NM * (self.target - motor.position), -0.93), 0.93)
            else:
                motor.velocity, motor.position = (self.target - motor.position) / DT_S, self.target


def test_torque_alone_goes_for_the_goal_that_is_there() -> None:
    """The strictest reading of the manual: whoever enables must have set the goal."""
    rig = Rig(torque=False)
    rig.put("goal_position", 2100)
    rig.run(0.1)
    assert rig.get("present_position") == 2000
    rig.put("torque_enable", 1)
    rig.run(0.1)
    assert rig.get("present_position") == 2100 and rig.get("moving_status") & 0x01


def test_it_is_as_fast_as_its_motor() -> None:
    rig = Rig()
    rig.put("goal_position", 3500)
    rig.run(0.1)
    assert rig.servo.motor.position - 2000 == pytest.approx(0.1 * XC330_M288.no_load_rad_s * COUNTS_PER_RAD, rel=0.01)
    assert rig.get("moving") == 1 and rig.get("moving_status") & 0x02


def test_a_profile_bounds_speed_and_acceleration() -> None:
    rig = Rig(modes.POSITION)
    rig.put("profile_velocity", 20)
    rig.put("profile_acceleration", 10)
    rig.put("goal_position", 2500)
    speeds = []
    for _ in range(400):
        rig.run(DT_S)
        speeds.append(rig.servo.motor.velocity)
    assert max(speeds) == pytest.approx(20 * VELOCITY_COUNTS_S, rel=0.01)
    assert max(b - a for a, b in zip(speeds, speeds[1:], strict=False)) <= 10 * 214.577 / 3600 * 4096 * DT_S * 1.01
    assert rig.get("present_position") == 2500 and rig.get("moving_status") >> 4 == 3


def test_velocity_and_pwm_modes_turn_on() -> None:
    rig = Rig(modes.VELOCITY)
    rig.put("goal_velocity", -100)
    rig.run(1.0)
    assert rig.servo.motor.position - 2000 == pytest.approx(-100 * VELOCITY_COUNTS_S, rel=0.02)
    assert rig.get("present_velocity") == pytest.approx(-100, abs=1)
    rig = Rig(modes.PWM)
    rig.put("goal_pwm", 443)
    rig.run(0.5)
    assert rig.servo.motor.velocity / COUNTS_PER_RAD == pytest.approx(XC330_M288.no_load_rad_s * 443 / 885, rel=0.01)


@pytest.mark.parametrize(("mode", "current_ma"), [(modes.CURRENT_BASED_POSITION, 550), (modes.CURRENT_BASED_POSITION, 200), (modes.CURRENT, 300)])
def test_a_blocked_motor_pushes_with_its_goal_current(mode: int, current_ma: int) -> None:
    rig = Rig(mode, blocked=True)
    rig.put("goal_current", current_ma)
    if mode == modes.CURRENT_BASED_POSITION:
        rig.put("goal_position", 3500)
    rig.run(1.0)
    assert rig.get("present_current") == pytest.approx(current_ma, rel=0.05)
    assert rig.servo.motor.effort_nm == pytest.approx(0.93 * math.sqrt(current_ma / 1800.0), rel=0.03)
    rig.put("goal_current", -current_ma if mode == modes.CURRENT else current_ma)
    if mode == modes.CURRENT_BASED_POSITION:
        rig.put("goal_position", 500)
    rig.run(1.0)
    assert rig.get("present_current") == pytest.approx(-current_ma, rel=0.05), "it turns round"


def test_without_torque_only_the_gear_holds() -> None:
    rig = Rig(blocked=True, torque=False)
    rig.run(0.1)
    motor = rig.servo.motor
    motor.position += 60.0
    for _ in range(200):
        rig.run(DT_S)
    assert abs(motor.effort_nm) <= FRICTION_NM * 1.1
    assert motor.setpoint == pytest.approx(motor.position, abs=FRICTION_NM / STIFFNESS_NM * 1.1), "it was dragged along"


def test_a_persistent_overload_shuts_it_down() -> None:
    rig = Rig(blocked=True)
    rig.put("goal_position", 3500)
    rig.run(1.5)
    assert rig.servo.torque, "not at once"
    rig.run(1.0)
    assert rig.get("hardware_error_status") == OVERLOAD and not rig.servo.torque and rig.servo.alert
    with pytest.raises(RefusedError) as raised:
        rig.put("torque_enable", 1)
    assert raised.value.problem is Problem.RESULT
    rig.servo.reboot()
    assert not rig.servo.listens
    rig.clock.s += 0.3
    rig.run(0.1)
    rig.put("torque_enable", 1)
    assert rig.servo.torque and not rig.servo.alert


def test_the_shutdown_mask_decides_what_takes_its_torque() -> None:
    rig = Rig(torque=False)
    rig.put("shutdown", OVERLOAD)
    rig.put("torque_enable", 1)
    rig.servo.inject(OVERHEATING)
    assert rig.servo.alert and rig.servo.torque
    rig.servo.inject(OVERLOAD)
    assert not rig.servo.torque


def test_heat_shuts_it_down_until_it_has_cooled() -> None:
    rig = Rig()
    rig.servo.motor.temperature_c = 71.0
    rig.run(DT_S)
    assert rig.get("present_temperature") == 71 and rig.get("hardware_error_status") == OVERHEATING and not rig.servo.torque
    rig.servo.reboot()
    rig.run(0.3)
    assert rig.servo.alert, "still hot"
    rig.run(100.0)
    rig.servo.reboot()
    rig.run(0.3)
    assert not rig.servo.alert


def test_the_watchdog_stops_a_motor_whose_host_is_silent() -> None:
    rig = Rig(modes.POSITION)
    rig.put("profile_velocity", 50)
    rig.put("bus_watchdog", 5)
    rig.put("goal_position", 4000)
    rig.run(0.5)
    assert rig.get("bus_watchdog") == 5
    rig.run(0.2, host=False)
    assert rig.get("bus_watchdog") == TRIPPED
    stopped = rig.servo.motor.position
    rig.run(0.5)
    assert rig.servo.motor.position == stopped and 2000 < stopped < 4000
    for name, value in (("goal_position", 2100), ("goal_current", 100), ("bus_watchdog", 5)):
        with pytest.raises(RefusedError) as raised:
            rig.put(name, value)
        assert raised.value.problem is Problem.RANGE
    rig.put("bus_watchdog", 0)
    rig.put("goal_position", 2100)
    rig.run(3.0)
    assert rig.get("present_position") == 2100


def test_without_torque_nothing_is_watched() -> None:
    rig = Rig(torque=False)
    rig.put("bus_watchdog", 5)
    rig.run(1.0, host=False)
    assert rig.get("bus_watchdog") == 5


def test_homing_offset_and_turns_shift_what_it_says() -> None:
    rig = Rig(modes.EXTENDED_POSITION, torque=False)
    rig.put("homing_offset", -500)
    assert rig.get("present_position") == 1500
    rig.put("goal_position", -9000)
    rig.put("torque_enable", 1)
    rig.run(3.0)
    assert rig.servo.motor.position == -8500 and rig.get("present_position") == -9000
    assert rig.get("position_trajectory") == -9000


def test_an_action_without_a_registered_write_is_refused() -> None:
    rig = Rig()
    with pytest.raises(RefusedError) as raised:
        rig.servo.action()
    assert raised.value.problem is Problem.INSTRUCTION
    with pytest.raises(RefusedError):
        rig.servo.register(ITEMS["operating_mode"].address, b"\3")
    assert rig.get("registered_instruction") == 0
