# SPDX-License-Identifier: Apache-2.0
"""What an Inspire hand does with its registers: moves a plant at SPEED_SET, stops at FORCE_SET, latches errors."""
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import Interface
from dex_core.errors import ConfigError
from dex_core.types import index_map
from dex_sim.inspire_modbus_map import FINGERS, RegisterMemory
from dex_sim.inspire_touch import TIPS, TOUCH, tip_cells
from dex_sim.plant import Plant

HAND_IDS = {"right": 1, "left": 2}
"""Convention of this project; the vendor ships every hand with id 1."""

STALL, OVER_TEMPERATURE, OVER_CURRENT, MOTOR, COMMUNICATION = 1, 2, 4, 8, 16
OPENING, CLOSING, AT_POSITION, FORCE_REACHED, CURRENT_STOP, STALL_STOP, FAULT, ERROR_STATUS = 0, 1, 2, 3, 5, 6, 7, 255

FULL_TRAVEL_S = 0.6
"""Open to closed at SPEED_SET 1000, unloaded (manual)."""

LEVER_M = 0.08
"""Distance from a finger's joint to where FORCE_ACT is taken to act; a model, the manual gives none."""

STALL_DEVIATION_COUNTS, STALL_AFTER_S = 240.0, 1.0
HOT_C, WARM_C = 70, 60
"""Over-temperature is set at HOT_C and can be cleared below WARM_C."""

ARRIVED_COUNTS = 6.0
REFRESH_NS = 2_000_000

Vector = NDArray[np.float64]


class InspireHand:
    """One hand: registers in front, six joints of a plant behind. Thread-safe.

    Args:
        interface: which hand; its hardware map turns rad into 0..1000.
        plant: the joints, named as ``interface.names`` in any order.
        hand_id: HAND_ID; by default the convention for the side.
        clock: for tests.

    Attributes:
        port: what it is served by, whose ``fault`` damages its answers; None before it is served.
    """

    def __init__(self, interface: Interface, plant: Plant, *, hand_id: int | None = None, clock: Clock | None = None) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != len(FINGERS):
            raise ConfigError(f"{interface.side} {interface.robot.name}: an Inspire hand has {len(FINGERS)} joints with a hardware map")
        self.name = f"{interface.side}_{interface.robot.kind}"
        self.port: Any = None
        self._plant = plant
        self._idx_plant_to_hand = index_map(plant.names, interface.names, f"plant of {self.name}")
        self._idx_hand_to_plant = index_map(interface.names, plant.names, f"plant of {self.name}")
        maps = [hardware[j] for j in interface.robot.actuated]
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._span = np.array([limit.upper_rad - limit.lower_rad for limit in interface.limits])
        self._at_lower = np.array([m.at_lower for m in maps])
        self._counts_span = np.array([m.at_upper - m.at_lower for m in maps])
        self._counts_per_rad = self._counts_span / self._span
        self._gram_per_nm = -np.sign(self._counts_span) * 1000.0 / (9.81 * LEVER_M)  # positive while closing
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._memory = RegisterMemory()
        self._memory.set("HAND_ID", [HAND_IDS[interface.side] if hand_id is None else hand_id])
        for name, value in (("DEFAULT_SPEED_SET", 1000), ("DEFAULT_FORCE_SET", 1000), ("SPEED_SET", 1000), ("FORCE_SET", 1000)):
            self._memory.set(name, [value] * 6)
        self._temperature_c = np.full(6, 32.0)
        self._write_hooks: dict[str, Callable[[int], None]] = {
            "CLEAR_ERROR": self._on_clear_error, "RESET_PARA": self._on_reset_para,
        }
        self.reset()

    # -- what the bus sees ----------------------------------------------------------------------------------------------
    def read_words(self, address: int, count: int) -> list[int]:
        """Words of a read request. Raises RegisterError."""
        with self._lock:
            end = address + 2 * count
            if address < 1624 and end > 1534:
                self._refresh(health=end > 1582)
            if address in TOUCH or end - 1 in TOUCH:
                self._refresh(health=False)
                for finger, start in TIPS.items():
                    self._memory.set_words(start, tip_cells(float(self._force_g[finger])))
            return self._memory.words(address, count)

    def write_words(self, address: int, words: list[int]) -> None:
        """Words of a write request; all or nothing. Raises RegisterError."""
        with self._lock:
            for register, index, value in self._memory.check_write(address, words):
                if register.name in ("ANGLE_SET", "POS_SET"):
                    self._set_target(index, value, 1.0 if register.name == "ANGLE_SET" else -0.5)
                elif register.name in self._write_hooks:
                    self._write_hooks[register.name](value)
                elif value != register.keep:
                    self._memory.set_one(register.name, index, value)

    @property
    def hand_id(self) -> int:
        """HAND_ID now; on RS-485 also the bus address."""
        with self._lock:
            return int(self._memory.get("HAND_ID")[0])

    # -- what the simulation does ---------------------------------------------------------------------------------------
    def reset(self) -> None:
        """As after power-on where the joints are now: they are held, no error, default speed and force."""
        with self._lock:
            self._plant.hold()
            self._error = np.zeros(6, dtype=np.int64)
            self._moving = np.zeros(6, dtype=bool)
            self._force_stopped = np.zeros(6, dtype=bool)
            self._stalled_s = np.zeros(6)
            self._refreshed_ns = self._published_ns = -NS
            self._stepped_ns = self._clock.now_ns()
            self._sample()
            self._setpoint = self._counts.copy()
            self._target = self._counts.copy()
            for name in ("SPEED", "FORCE"):
                self._memory.set(f"{name}_SET", self._memory.get(f"DEFAULT_{name}_SET"))
            self._publish()

    def step(self) -> bool:
        """Advances the motors to now; True while any still has work. Call it at about 100 Hz, from the first write on."""
        with self._lock:
            now_ns = self._clock.now_ns()
            dt_s = min((now_ns - self._stepped_ns) / NS, 0.1)
            self._stepped_ns = now_ns
            if not self._moving.any():
                return False
            self._sample()
            self._stop_on_force()
            self._advance(dt_s)
            self._watch_stall(dt_s)
            self._plant.command(self._to_rad(self._setpoint)[self._idx_hand_to_plant])
            done = (self._setpoint == self._target) & (np.abs(self._counts - self._target) <= ARRIVED_COUNTS)
            self._moving &= ~done
            return True

    # -- faults to inject -----------------------------------------------------------------------------------------------
    def inject_error(self, finger: str, bits: int) -> None:
        """Sets ERROR bits of one finger and stops it, as its own protection would."""
        with self._lock:
            self._sample()
            self._fail(FINGERS.index(finger), bits)
            self._publish()

    def set_temperature(self, finger: str, celsius: float) -> None:
        """Sets one motor's temperature; too hot latches over-temperature, and CLEAR_ERROR does not help before it cooled."""
        with self._lock:
            i = FINGERS.index(finger)
            self._temperature_c[i] = celsius
            self._sample()
            if celsius >= HOT_C:
                self._fail(i, OVER_TEMPERATURE)
            self._publish()

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _to_rad(self, counts: Vector) -> Vector:
        return self._lower + (counts - self._at_lower) / self._counts_span * self._span

    def _sample(self) -> None:
        state = self._plant.read()
        order = self._idx_plant_to_hand
        self._counts = self._at_lower + (state.position_rad[order] - self._lower) * self._counts_per_rad
        self._force_g = state.effort_nm[order] * self._gram_per_nm

    def _set_target(self, index: int, value: int, per_angle: float) -> None:
        """A target in ANGLE_SET counts, or in POS_SET counts (0 open .. 2000 bent) with ``per_angle`` -0.5."""
        if value == -1 or self._error[index]:
            return
        counts = float(value) if per_angle > 0 else 1000.0 + per_angle * value
        if not self._moving.any():
            self._stepped_ns = self._clock.now_ns()
        if not self._moving[index] and not self._force_stopped[index]:
            self._sample()
            if abs(self._setpoint[index] - self._counts[index]) > STALL_DEVIATION_COUNTS:
                self._setpoint[index] = self._counts[index]  # the joint was moved by something else: start from where it is
        if counts != self._target[index] or self._force_stopped[index]:
            self._force_stopped[index] = False
            self._stalled_s[index] = 0.0
        self._target[index] = counts
        self._moving[index] = True
        self._memory.set_one("ANGLE_SET", index, round(counts))
        self._memory.set_one("POS_SET", index, round((1000.0 - counts) * 2.0))

    def _advance(self, dt_s: float) -> None:
        step = self._memory.get("SPEED_SET") * (dt_s / FULL_TRAVEL_S)
        ahead = self._target - self._setpoint
        ready = self._moving & (self._error == 0) & ~self._force_stopped
        self._setpoint = np.where(ready, self._setpoint + np.clip(ahead, -step, step), self._setpoint)

    def _stop_on_force(self) -> None:
        closing = (self._target < self._counts - ARRIVED_COUNTS) & self._moving
        reached = closing & (self._force_g >= self._memory.get("FORCE_SET")) & ~self._force_stopped
        if reached.any():
            self._force_stopped |= reached
            self._freeze(reached)

    def _watch_stall(self, dt_s: float) -> None:
        stuck = self._moving & (np.abs(self._setpoint - self._counts) > STALL_DEVIATION_COUNTS)
        self._stalled_s = np.where(stuck, self._stalled_s + dt_s, 0.0)
        for i in np.flatnonzero(self._stalled_s > STALL_AFTER_S):
            self._fail(int(i), STALL)

    def _fail(self, index: int, bits: int) -> None:
        self._error[index] |= bits
        mask = np.zeros(6, dtype=bool)
        mask[index] = True
        self._freeze(mask)
        self._plant.command(self._to_rad(self._setpoint)[self._idx_hand_to_plant])

    def _freeze(self, fingers: NDArray[np.bool_]) -> None:
        self._setpoint = np.where(fingers, self._counts, self._setpoint)
        self._target = np.where(fingers, self._counts, self._target)
        self._moving &= ~(fingers & (self._error != 0))

    def _on_clear_error(self, value: int) -> None:
        if value == 1:
            hot = (self._error & OVER_TEMPERATURE != 0) & (self._temperature_c >= WARM_C)
            self._error = np.where(hot, OVER_TEMPERATURE, 0)
            self._stalled_s[:] = 0.0
            self._published_ns = -NS

    def _on_reset_para(self, value: int) -> None:
        if value == 1:
            self._memory.set("DEFAULT_SPEED_SET", [1000] * 6)
            self._memory.set("DEFAULT_FORCE_SET", [1000] * 6)

    def _refresh(self, *, health: bool) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._refreshed_ns >= REFRESH_NS:
            self._refreshed_ns = now_ns
            self._sample()
            self._publish_angles()
        if health and now_ns - self._published_ns >= REFRESH_NS:
            self._published_ns = now_ns
            self._publish()

    def _publish_angles(self) -> None:
        counts = self._counts
        self._memory.set("ANGLE_ACT", np.minimum(np.maximum(counts + 0.5, 0.0), 1000.0))  # storing cuts the fraction off
        self._memory.set("POS_ACT", np.minimum(np.maximum((1000.0 - counts) * 2.0 + 0.5, 0.0), 2000.0))

    def _publish(self) -> None:
        memory = self._memory
        self._publish_angles()
        memory.set("FORCE_ACT", np.clip(np.rint(self._force_g), -4000, 4000))
        memory.set("CURRENT", np.clip(np.rint(20.0 + 0.25 * np.abs(self._force_g)), 0, 2000))
        memory.set("ERROR", self._error)
        memory.set("STATUS", self._status())
        memory.set("TEMP", np.clip(np.rint(self._temperature_c), 0, 100))

    def _status(self) -> NDArray[np.int64]:
        ahead = self._target - self._counts
        status = np.where(np.abs(ahead) <= ARRIVED_COUNTS, AT_POSITION, np.where(ahead > 0, OPENING, CLOSING))
        status = np.where(self._force_stopped, FORCE_REACHED, status)
        for bits, value in ((OVER_TEMPERATURE | COMMUNICATION, ERROR_STATUS), (MOTOR, FAULT), (STALL, STALL_STOP), (OVER_CURRENT, CURRENT_STOP)):
            status = np.where(self._error & bits != 0, value, status)
        return status
