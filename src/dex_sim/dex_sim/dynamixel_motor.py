# SPDX-License-Identifier: Apache-2.0
"""The motor in a servo: follows a profile, gives way at its torque limit, draws current, gets warm. Units: counts, seconds, N m.

A plant takes positions only. A limited torque is made of them by keeping the target that near to the measured position that the plant's
own servo pushes no harder; a motor without current is one whose limit is the friction of its gear and whose target is dragged along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

COUNTS_PER_TURN = 4096
COUNTS_PER_RAD = COUNTS_PER_TURN / math.tau
FRICTION_NM = 0.1
"""What it takes to turn the gear of a motor without current; chosen here, the manual gives none."""

RECOVERY_S = 0.2
"""Time in which the distance to the target may grow e-fold once the torque is below its limit."""
LEAST_REACH = 0.5
AMBIENT_C, STALL_RISE_C, THERMAL_S = 30.0, 60.0, 120.0
"""Chosen here: at full load the motor would become STALL_RISE_C warmer than the room, with this time constant."""

OVERLOAD_LOAD, OVERLOAD_S = 0.8, 2.0
"""Chosen here: the manual says that a persistent load beyond the largest output is an overload, not how much and how long."""


@dataclass(frozen=True)
class MotorKind:
    """What a model can do at 5 V (ROBOTIS e-manual): ``stall_nm`` at ``stall_ma``, ``no_load_rad_s`` without load.

    These models measure current where it enters the servo. A driver that applies a part ``d`` of the supply to a motor draws ``d`` of the
    motor's own current there, and ``d`` is torque plus speed, each over its largest: ``current = stall_ma * load * (load + speed)``.
    """

    model: int
    stall_nm: float
    stall_ma: float
    no_load_rad_s: float

    def current_ma(self, load: float, speed: float) -> float:
        """Current [mA] at ``load`` and ``speed``, signed parts of the largest; it has the sign of the load, and a driven motor takes none."""
        return self.stall_ma * load * max(0.0, abs(load) + math.copysign(speed, load * speed))

    def load_at(self, current_ma: float, speed: float) -> float:
        """Largest load that ``current_ma`` can give at ``speed`` >= 0 in its direction, both as parts of the largest."""
        return (math.sqrt(speed * speed + 4.0 * current_ma / self.stall_ma) - speed) / 2.0


XC330_M288 = MotorKind(1240, 0.93, 1800.0, 81 * math.tau / 60)
XL330_M288 = MotorKind(1200, 0.52, 1470.0, 103 * math.tau / 60)


@dataclass(frozen=True)
class Drive:
    """What a motor is to do: run to ``goal`` [counts] at ``speed`` [counts/s] with ``acceleration`` [counts/s^2].

    Attributes:
        duty: largest part of the supply that the motor gets. current_ma: largest current it may draw.
        limp: it has no current; ``goal`` counts for nothing.
        lead: furthest that the profile runs ahead of the motor [counts].
    """

    goal: float
    speed: float
    acceleration: float
    duty: float = 1.0
    current_ma: float = math.inf
    limp: bool = False
    lead: float = math.inf


class Motor:
    """One motor and its gear.

    Attributes:
        position, velocity, effort_nm: measured [counts, counts/s, N m], the signs those of the counts.
        setpoint: where the profile has come to [counts].
        temperature_c: of the motor.
        overloaded: the load was too high for too long.
    """

    def __init__(self, kind: MotorKind) -> None:
        self.kind = kind
        self.position = self.velocity = self.effort_nm = 0.0
        self.setpoint = 0.0
        self.temperature_c = AMBIENT_C
        self.overloaded = False
        self._speed = 0.0
        self._reach = math.inf
        self._overload_s = 0.0

    @property
    def load(self) -> float:
        """Torque over the largest, signed."""
        return self.effort_nm / self.kind.stall_nm

    @property
    def speed_part(self) -> float:
        """Speed over the largest, signed."""
        return self.velocity / COUNTS_PER_RAD / self.kind.no_load_rad_s

    @property
    def current_ma(self) -> float:
        """What it draws, signed as its torque."""
        return self.kind.current_ma(self.load, self.speed_part)

    def rest(self) -> None:
        """Stays where it is measured to be."""
        self.setpoint, self._speed, self._reach = self.position, 0.0, math.inf

    def cool(self) -> None:
        """As after a long pause."""
        self.temperature_c, self.overloaded, self._overload_s = AMBIENT_C, False, 0.0

    def step(self, dt_s: float, drive: Drive) -> float:
        """Advances by ``dt_s`` > 0; returns the target for the plant [counts]."""
        self._warm(dt_s)
        if not drive.limp:
            self._follow(dt_s, drive)
        target = self.position + self._within_reach(dt_s, FRICTION_NM if drive.limp else self._torque_nm(drive))
        if drive.limp:
            self.setpoint, self._speed = target, 0.0
        return target

    def _follow(self, dt_s: float, drive: Drive) -> None:
        ahead = drive.goal - self.setpoint
        if not ahead:
            self._speed = 0.0
            return
        speed = min(drive.speed, math.sqrt(2.0 * drive.acceleration * abs(ahead)) if drive.acceleration < math.inf else math.inf)
        step = drive.acceleration * dt_s
        wanted = math.copysign(speed, ahead)
        self._speed = wanted if step == math.inf else self._speed + min(max(wanted - self._speed, -step), step)
        if abs(ahead) <= abs(self._speed) * dt_s:
            self.setpoint, self._speed = drive.goal, 0.0
        else:
            self.setpoint += self._speed * dt_s
        self.setpoint = min(max(self.setpoint, self.position - drive.lead), self.position + drive.lead)

    def _torque_nm(self, drive: Drive) -> float:
        """What current and duty leave of the stall torque at this speed."""
        return self.kind.stall_nm * min(drive.duty, self.kind.load_at(drive.current_ma, abs(self.speed_part)))

    def _within_reach(self, dt_s: float, limit_nm: float) -> float:
        """How far the target may be from where the motor is, so that it pushes with its limit at most [counts]."""
        gap = self.setpoint - self.position
        if not gap:
            return 0.0
        push = self.effort_nm * math.copysign(1.0, gap)
        growth = math.exp(dt_s / RECOVERY_S)
        if push > limit_nm:
            self._reach = max(LEAST_REACH, min(self._reach, abs(gap)) * limit_nm / push)
        elif self._reach < math.inf:
            self._reach *= min(growth, limit_nm / push) if push > 0.0 else growth
            if self._reach >= abs(gap):
                self._reach = math.inf
        return min(max(gap, -self._reach), self._reach)

    def _warm(self, dt_s: float) -> None:
        load = abs(self.load)
        self.temperature_c += (AMBIENT_C + STALL_RISE_C * load * load - self.temperature_c) * min(1.0, dt_s / THERMAL_S)
        self._overload_s = self._overload_s + dt_s if load >= OVERLOAD_LOAD else 0.0
        self.overloaded = self.overloaded or self._overload_s >= OVERLOAD_S
