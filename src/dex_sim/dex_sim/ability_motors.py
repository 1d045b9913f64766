# SPDX-License-Identifier: Apache-2.0
"""The six motors of a simulated Ability Hand: they carry a plant's joints by position, speed, current or duty, and halt on collisions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clock import NS, Clock
from dex_core.config import Interface
from dex_core.errors import ConfigError
from dex_core.types import index_map
from dex_sim.ability_wire import CURRENT, DUTY, GEAR, POSITION, VELOCITY
from dex_sim.plant import Plant

Vector = NDArray[np.float64]

MOTORS = ("index", "middle", "ring", "pinky", "thumb_flexor", "thumb_rotator")
TORQUE_NM_A = 1.49e-3
"""Of the rotor (interface document, 3.4.5); the gear is taken to lose nothing, as its efficiency is not published."""
FREE_RAD_S_A = 8.0
"""Speed of a free joint per ampere asked for in current mode: a model, friction of the gears is not published."""
STALL_LAG_RAD, STALL_RAD_S, STALL_AFTER_S = 0.35, 0.3, 0.05
"""A joint that stands still this far behind its motor for this long has collided; stands for the 3 V of the document, which a plant does not tell."""
BACKDRIVABLE = np.array([False] * 5 + [True])
REFRESH_NS = 1_000_000
LONGEST_STEP_S = 0.1


class Motors:
    """Requests come in the hand's units: degrees, degrees per second, amperes, or duty from -1 to 1; joints are those of a plant.

    Args:
        interface: which hand, with limits and the map rad -> degrees.
        plant: its joints, in any order.
        clock: monotonic.
    """

    def __init__(self, interface: Interface, plant: Plant, clock: Clock) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != len(MOTORS):
            raise ConfigError(f"{interface.side} {interface.robot.name}: an Ability hand has {len(MOTORS)} joints with a hardware map")
        self._plant, self._clock = plant, clock
        self._from_plant = index_map(plant.names, interface.names, f"plant of {interface.name}")
        self._to_plant = index_map(interface.names, plant.names, f"plant of {interface.name}")
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._speed = np.array([limit.velocity_rad_s for limit in interface.limits])
        maps = [hardware[joint] for joint in interface.robot.actuated]
        self._offset_deg = np.array([m.at_lower for m in maps])
        self._deg_per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / (self._upper - self._lower)
        self._hot = np.zeros(6, dtype=bool)
        self.power_on()

    def power_on(self) -> None:
        """Every joint held where it is; collisions forgotten, motors cool."""
        self._sampled_ns = -NS
        self._stepped_ns = self._clock.now_ns()
        self._hot[:] = False
        self._stalled = np.zeros(6)
        self._stalled_s = np.zeros(6)
        self.hold()

    def hold(self) -> None:
        """Stops where it is."""
        self._sampled_ns = -NS
        self._sample()
        self._setpoint = np.clip(self._position, self._lower, self._upper)
        self._mode, self._request = POSITION, self._setpoint.copy()
        self._plant.hold()

    def request(self, mode: int, first: int, values: ArrayLike) -> None:
        """New requests of the motors from ``first`` on, in the units of ``mode``; the others keep theirs, or stop when the mode changes."""
        if mode != self._mode:
            self._mode = mode
            self._request = self._setpoint.copy() if mode == POSITION else np.zeros(6)
        values = np.asarray(values, dtype=np.float64)
        which = slice(first, first + len(values))
        scale = self._deg_per_rad[which]
        if mode == POSITION:
            self._request[which] = np.clip(
                self._lower[which] + (values - self._offset_deg[which]) / scale, self._lower[which], self._upper[which])
        else:
            self._request[which] = values / scale if mode == VELOCITY else values * np.sign(scale)

    def step(self) -> None:
        """Advances to now."""
        now_ns = self._clock.now_ns()
        dt_s = min((now_ns - self._stepped_ns) / NS, LONGEST_STEP_S)
        self._stepped_ns = now_ns
        if dt_s <= 0.0:
            return
        self._sample()
        wanted = self._wanted_rad_s(dt_s)
        self._stalled[self._stalled * wanted < 0.0] = 0.0  # asked to go back: the collision is over
        rate = np.where(self._hot | (self._stalled * wanted > 0.0), 0.0, np.clip(wanted, -self._speed, self._speed))
        self._setpoint = np.clip(self._setpoint + rate * dt_s, self._lower, self._upper)
        self._watch_collisions(dt_s)
        self._plant.command(self._setpoint[self._to_plant])

    def set_hot(self, motor: str, hot: bool) -> None:
        """Shuts one motor down for heat, or lets it cool."""
        self._hot[MOTORS.index(motor)] = hot

    @property
    def limited(self) -> int:
        """Bit per motor that does not follow its request."""
        return sum(1 << i for i in np.flatnonzero(self._hot | (self._stalled != 0.0)))

    def measured(self) -> tuple[Vector, Vector, Vector]:
        """(6,) each: joint angles [deg], currents [A], rotor speeds [rad/s]; positive flexes, of the thumb rotator negative."""
        self._sample()
        position_deg = self._offset_deg + (self._position - self._lower) * self._deg_per_rad
        sign = np.sign(self._deg_per_rad)
        return position_deg, sign * self._current_a(), sign * self._velocity * GEAR

    def load_nm(self) -> Vector:
        """(6,) torque at the joints [N m]."""
        self._sample()
        return np.abs(self._effort)

    def _wanted_rad_s(self, dt_s: float) -> Vector:
        if self._mode == POSITION:
            return (self._request - self._setpoint) / dt_s
        if self._mode == CURRENT:
            return FREE_RAD_S_A * (self._request - self._current_a())
        return self._request * self._speed if self._mode == DUTY else self._request

    def _current_a(self) -> Vector:
        return self._effort / (TORQUE_NM_A * GEAR)

    def _watch_collisions(self, dt_s: float) -> None:
        lag = self._setpoint - self._position
        stuck = (np.abs(lag) > STALL_LAG_RAD) & (np.abs(self._velocity) < STALL_RAD_S) & ~BACKDRIVABLE
        self._stalled_s = np.where(stuck, self._stalled_s + dt_s, 0.0)
        self._stalled = np.where(self._stalled_s > STALL_AFTER_S, np.sign(lag), self._stalled)

    def _sample(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._sampled_ns < REFRESH_NS:
            return
        self._sampled_ns = now_ns
        state = self._plant.read()
        self._position = state.position_rad[self._from_plant]
        self._velocity = state.velocity_rad_s[self._from_plant]
        self._effort = state.effort_nm[self._from_plant]
