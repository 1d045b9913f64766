# SPDX-License-Identifier: Apache-2.0
"""One simulated Dynamixel servo: what its registers make its motor do, and how it protects itself."""

from __future__ import annotations

import math
from collections.abc import Callable

from dex_core.clock import NS, Clock, SteadyClock
from dex_sim.dynamixel_modes import LIMP, MODES, POSITION, PWM_FULL, TRIPPED, VELOCITY_COUNTS_S, drive_of
from dex_sim.dynamixel_motor import COUNTS_PER_TURN, XC330_M288, Drive, Motor, MotorKind
from dex_sim.dynamixel_table import END, GOALS, INDIRECT_ADDRESS, ITEMS, POSITION_GAINS, PROFILE, RAM, ControlTable, Item
from dex_sim.dynamixel_wire import ALERT, Problem, RefusedError

INPUT_VOLTAGE, OVERHEATING, ENCODER, ELECTRICAL_SHOCK, OVERLOAD = 0x01, 0x04, 0x08, 0x10, 0x20
"""Bits of the hardware error register and of the shutdown mask."""

WATCHDOG_S = 0.02
REBOOT_S = 0.2
"""How long a rebooting servo is deaf; chosen here."""
IN_POSITION_COUNTS = 20
FOLLOWING_ERROR_COUNTS = COUNTS_PER_TURN / 16


FIRST_MEASURE = ITEMS["realtime_tick"].address


def _clipped(value: float, most: int) -> int:
    return max(-most, min(most, round(value)))


class Servo:
    """Registers in front, one motor behind. Not thread-safe: it belongs to one line.

    Args:
        identifier: its id. kind: which motor; gives the model number. secondary_id: group it belongs to, 255 none.
        baud_code: register 8. mode: operating mode it was left in.
        return_delay: register 9, in 2 microseconds.
        clock: monotonic.

    Attributes:
        table: its registers. motor: what it turns.
    """

    def __init__(
        self, identifier: int, *, kind: MotorKind = XC330_M288, secondary_id: int = 255, baud_code: int = 1, mode: int = POSITION,
        return_delay: int = 250, clock: Clock | None = None,
    ) -> None:
        self.table, self.motor = ControlTable(), Motor(kind)
        self._dead = False
        self._clock = clock or SteadyClock()
        self._faults = 0
        self._deaf_until_ns = 0
        self._heard_ns = self._clock.now_ns()
        self._registered: tuple[int, bytes] | None = None
        self._turns = 0
        self._order: Drive | None = None
        motor = self.motor
        self._measures: dict[str, Callable[[], int]] = {
            "realtime_tick": lambda: self._clock.now_ns() // 1_000_000 % 32768,
            "moving": lambda: int(self._moving()),
            "moving_status": self._moving_status,
            "present_pwm": lambda: _clipped(PWM_FULL * (motor.load + motor.speed_part), PWM_FULL),
            "present_current": lambda: _clipped(motor.current_ma, 32767),
            "present_velocity": lambda: round(motor.velocity / VELOCITY_COUNTS_S),
            "present_position": lambda: self.present_position,
            "position_trajectory": lambda: round(motor.setpoint) - self._turns * COUNTS_PER_TURN + self.table.get("homing_offset"),
            "present_temperature": lambda: max(0, _clipped(motor.temperature_c, 255)),
        }
        for name, value in (("model_number", kind.model), ("id", identifier), ("secondary_id", secondary_id), ("baud_rate", baud_code),
                            ("operating_mode", mode), ("return_delay_time", return_delay)):
            self.table.set(name, value)
        self._power_on()

    # --- what the line asks --------------------------------------------------------------------------------------------
    @property
    def identifier(self) -> int:
        """Its id now."""
        return self.table.get("id")

    @property
    def dead(self) -> bool:
        """It neither answers nor obeys and has no torque, as with a broken cable."""
        return self._dead

    @dead.setter
    def dead(self, dead: bool) -> None:
        self._dead, self._order = dead, None

    @property
    def listens(self) -> bool:
        """Whether it hears packets now."""
        return not self.dead and self._clock.now_ns() >= self._deaf_until_ns

    @property
    def alert(self) -> int:
        """ALERT while the hardware error register holds something."""
        return ALERT if self.table.get("hardware_error_status") else 0

    @property
    def torque(self) -> bool:
        """Whether the motor has current."""
        return bool(self.table.get("torque_enable")) and not self.dead

    def heard(self) -> None:
        """Any packet was on the bus: feeds the watchdog."""
        self._heard_ns = self._clock.now_ns()

    def read(self, address: int, size: int) -> bytes:
        """Bytes of a read, measurements fresh. Raises RefusedError."""
        if address + size > FIRST_MEASURE:
            self._publish(*((address, size) if address + size <= INDIRECT_ADDRESS else (FIRST_MEASURE, END)))
        return self.table.read(address, size)

    def write(self, address: int, data: bytes, *, by_group: bool = False) -> None:
        """A write; all or nothing. Raises RefusedError. ``by_group``: it came to the secondary id, which reaches RAM only."""
        changes = self.table.check_write(address, data)
        for item, value in changes:
            self._check(item, value, by_group)
        for item, value in changes:
            self._store(item.name, value)

    def register(self, address: int, data: bytes) -> None:
        """Keeps a write for ``action``. Raises RefusedError when it could not be done now."""
        for item, value in self.table.check_write(address, data):
            self._check(item, value, by_group=False)
        self._registered = (address, data)
        self.table.set("registered_instruction", 1)

    def action(self) -> None:
        """Does the write that was kept. Raises RefusedError (INSTRUCTION) without one."""
        if self._registered is None:
            raise RefusedError(Problem.INSTRUCTION, "action without a registered write")
        (address, data), self._registered = self._registered, None
        self.table.set("registered_instruction", 0)
        self.write(address, data)

    def reboot(self) -> None:
        """Power off and on: RAM and errors are lost, torque is off; deaf meanwhile."""
        self._deaf_until_ns = self._clock.now_ns() + round(REBOOT_S * NS)
        self._power_on()

    def factory_reset(self, option: int) -> None:
        """EEPROM as it left the factory: 0xFF all, 0x01 not the id, 0x02 neither id nor baud rate. Raises RefusedError (RESULT)."""
        kept = {0xFF: (), 0x01: ("id",), 0x02: ("id", "baud_rate")}.get(option)
        if kept is None:
            raise RefusedError(Problem.RESULT, f"factory reset option {option:#04x}; allowed 0xff, 0x01, 0x02")
        values = [(name, self.table.get(name)) for name in kept]
        self.table.restore(range(RAM))
        for name, value in values:
            self.table.set(name, value)
        self.reboot()

    def clear_turns(self) -> None:
        """Present position becomes one within a turn. Raises RefusedError (RESULT) while it moves."""
        if self._moving():
            raise RefusedError(Problem.RESULT, "turns can be cleared only at rest")
        self._turns = math.floor(self.motor.position / COUNTS_PER_TURN)
        self.motor.rest()
        self.table.set("goal_position", self.present_position)
        self._order = None

    # --- what the simulation does --------------------------------------------------------------------------------------
    @property
    def present_position(self) -> int:
        """What register 132 says [counts]."""
        return round(self.motor.position) - self._turns * COUNTS_PER_TURN + self.table.get("homing_offset")

    def step(self, dt_s: float) -> float:
        """Advances the motor and its protection; returns the target for the plant [counts]. Measurements were put into ``motor`` before."""
        self._protect()
        self._watch()
        return self.motor.step(dt_s, self._drive())

    def relocated(self) -> None:
        """The joint was put elsewhere: no error, cool, and what it holds is where it is now."""
        self._faults = 0
        self.motor.cool()
        self.motor.rest()
        self.table.set("hardware_error_status", 0)
        self.table.set("goal_position", self.present_position)
        self._order = None

    def inject(self, bits: int) -> None:
        """Sets hardware errors, as its own protection would; a reboot clears them."""
        self._faults |= bits
        self._protect()

    def _power_on(self) -> None:
        self.table.restore(range(RAM, END))
        self._faults, self._registered = 0, None
        self.motor.overloaded = False
        self.motor.rest()
        self._reset_control()

    def _reset_control(self) -> None:
        """What a change of mode resets too; the goal is where the motor is."""
        for name in (*POSITION_GAINS, *PROFILE):
            self.table.set(name, ITEMS[name].initial)
        self.table.set("goal_pwm", self.table.get("pwm_limit"))
        self.table.set("goal_current", self.table.get("current_limit"))
        self.table.set("goal_velocity", 0)
        self.table.set("goal_position", self.present_position)
        self._order = None

    def _check(self, item: Item, value: int, by_group: bool) -> None:
        name, get = item.name, self.table.get
        if item.address < RAM and (by_group or get("torque_enable")):
            raise RefusedError(Problem.ACCESS, f"{name} lies in the EEPROM, which is locked")
        if name in GOALS and get("bus_watchdog") == TRIPPED:
            raise RefusedError(Problem.RANGE, f"{name}: goals are read-only since the bus watchdog stopped the motor")
        if name == "bus_watchdog" and value and get("bus_watchdog") == TRIPPED:
            raise RefusedError(Problem.RANGE, "only 0 clears a bus watchdog that has stopped the motor")
        if name == "operating_mode" and value not in MODES:
            raise RefusedError(Problem.RANGE, f"operating mode {value}; allowed {MODES}")
        if name == "torque_enable" and value and self._shut_down():
            raise RefusedError(Problem.RESULT, "after a shutdown only a reboot gives torque again")
        if not self._within_limits(name, value):
            raise RefusedError(Problem.LIMIT, f"{name} = {value} exceeds its limit")

    def _within_limits(self, name: str, value: int) -> bool:
        get = self.table.get
        if name == "goal_position" and get("operating_mode") == POSITION:
            return get("min_position_limit") <= value <= get("max_position_limit")
        limit = {"goal_pwm": "pwm_limit", "goal_current": "current_limit", "goal_velocity": "velocity_limit"}.get(name)
        return limit is None or abs(value) <= get(limit)

    def _store(self, name: str, value: int) -> None:
        self.table.set(name, value)
        self._order = None
        if name == "operating_mode":
            self._reset_control()
        elif name == "torque_enable":
            self.motor.rest()
        elif name == "bus_watchdog":
            self.heard()

    def _shut_down(self) -> bool:
        return bool(self.table.get("hardware_error_status") & self.table.get("shutdown"))

    def _protect(self) -> None:
        get = self.table.get
        errors = self._faults | (OVERLOAD if self.motor.overloaded else 0)
        if self.motor.temperature_c >= get("temperature_limit"):
            errors |= OVERHEATING
        if errors & ~get("hardware_error_status"):
            self.table.set("hardware_error_status", errors | get("hardware_error_status"))
        if self._shut_down() and get("torque_enable"):
            self.table.set("torque_enable", 0)
            self._order = None

    def _watch(self) -> None:
        watchdog = self.table.get("bus_watchdog")
        if not self.torque or watchdog in (0, TRIPPED):
            return
        if self._clock.now_ns() - self._heard_ns > watchdog * WATCHDOG_S * NS:
            self.table.set("bus_watchdog", TRIPPED)
            self.motor.rest()
            self._order = None

    def _drive(self) -> Drive:
        """What the registers make of the motor; kept until one of them changes."""
        if self._order is None:
            self._order = drive_of(self.table, self.motor, self._turns) if self.torque else LIMP
        return self._order

    def _moving(self) -> bool:
        return abs(self.motor.velocity) > self.table.get("moving_threshold") * VELOCITY_COUNTS_S

    def _publish(self, address: int, size: int) -> None:
        """Measurements that lie within these bytes into their registers."""
        for name, measure in self._measures.items():
            if address <= ITEMS[name].address < address + size:
                self.table.set(name, measure())

    def _moving_status(self) -> int:
        """In position, profile ongoing, following error, and which profile."""
        get, motor = self.table.get, self.motor
        in_position = abs(get("goal_position") - self.present_position) <= IN_POSITION_COUNTS
        ongoing = self.torque and motor.setpoint != self._drive().goal
        lost = abs(motor.setpoint - motor.position) > FOLLOWING_ERROR_COUNTS
        profile = 0 if not get("profile_velocity") else 3 if get("profile_acceleration") else 1
        return in_position | ongoing << 1 | lost << 3 | profile << 4
