# SPDX-License-Identifier: Apache-2.0
"""What an XHand1 does with its orders: moves a plant within its current limits, stops a joint that has an error, feels with its tips."""

from __future__ import annotations

import struct
import threading

import numpy as np
from numpy.typing import NDArray

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import Interface
from dex_core.errors import ConfigError
from dex_core.types import index_map
from dex_sim.plant import Plant
from dex_sim.xhand_wire import CELLS, JOINTS, ORDER_BYTES, TIP_COMPONENTS, TIPS, Joint, Motor, Tip, pack_state, unpack_order

HAND_IDS = {"right": 0, "left": 1}
"""As one laboratory's hands came from the factory."""
POWERLESS, POSITION, POWERFUL = 0, 3, 5
OVER_TEMPERATURE, WRONG_MODE, WRONG_PARAMETER, POSITION_SENSOR, OVER_CURRENT = 103, 104, 105, 109, 110
BOARDS = ("communication", "joint", "tip")
TIP_JOINTS = (2, 5, 7, 9, 11)
"""Joints that carry the fingertips thumb .. little."""

FULL_CURRENT_MA = 400.0
"""Current at the joint's full effort; a model, nobody public gives the motors' constants."""
LEVER_M = 0.03
"""From a fingertip's joint to where it touches; a model as well."""
OVER_CURRENT_AFTER_S = 0.5
HOT_C, WARM_C = 80.0, 70.0
"""A joint board that reaches HOT_C cuts its motor until it is below WARM_C; where the hand's own limit lies is not public."""
ADVANCE_RAD_S = 1.0
"""How fast a joint that its current limit held back tries again."""
RANGE_SLACK_RAD = 0.05
"""A target so far outside the range ends at the stop: poses in the vendor's own example lie up to 2 degrees outside."""
ARRIVED_RAD = 1e-3
COUNTS_PER_NEWTON = 10.0
FULL_RAW = 4095.0
"""Of raw_position, whose scale is not public."""
INFO_AT, INFO_END = 0x14, 0xCF
"""Registers that can be read: type, serial number (32), hand id, name (32), parameters, and at 0xCE the silent mode."""

Vector = NDArray[np.float64]


class XHand:
    """One hand: orders and registers in front, twelve joints of a plant behind. Thread-safe.

    Args:
        interface: which hand; its hardware map turns rad into the hand's own.
        plant: the joints, named as ``interface.names`` in any order.
        hand_id: its id; by default the side's.
        clock: for tests.

    Attributes:
        serial_number: what it says of itself. joints: their names without the side, hardware order.
    """

    def __init__(self, interface: Interface, plant: Plant, *, hand_id: int | None = None, clock: Clock | None = None) -> None:
        hardware = interface.robot.hardware
        if hardware is None or len(interface.names) != JOINTS:
            have = f"{interface.name} ({interface.robot.name}) has {len(interface.names)} joints"
            raise ConfigError(f"{have}; an XHand1 has {JOINTS}, with a hardware map")
        self.name = interface.name
        self.hand_id = HAND_IDS[interface.side] if hand_id is None else hand_id
        self.serial_number = f"SIM-XHAND1-{interface.side.upper()}"
        self._kind = interface.side[0].upper().encode()
        self.joints = interface.robot.actuated
        self._plant = plant
        self._idx_plant_to_hand = index_map(plant.names, interface.names, f"plant of {self.name}")
        self._idx_hand_to_plant = index_map(interface.names, plant.names, f"plant of {self.name}")
        maps = [hardware[j] for j in interface.robot.actuated]
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._upper = np.array([limit.upper_rad for limit in interface.limits])
        self._effort = np.array([limit.effort_nm or np.inf for limit in interface.limits])
        self._at_lower = np.array([m.at_lower for m in maps])
        self._slope = np.array([m.at_upper - m.at_lower for m in maps]) / (self._upper - self._lower)
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._order = self._stale = b""
        self._temperature_c = np.full(JOINTS, 30.0)
        self._pressed = np.zeros((TIPS, 3))
        self.reset()

    # -- what the line sees -----------------------------------------------------------------------------------------------
    def registers(self, address: int, count: int) -> bytes | None:
        """``count`` bytes from ``address``; None where there is nothing to read."""
        if not INFO_AT <= address <= address + count <= INFO_END:
            return None
        memory = bytearray(INFO_END - INFO_AT)
        memory[:66] = struct.pack("<c32sB32s", self._kind, self.serial_number.encode(), self.hand_id, self.name.encode())
        return bytes(memory[address - INFO_AT : address - INFO_AT + count])

    def take_order(self, payload: bytes) -> bytes | None:
        """Obeys a real-time command and returns the state; None when it is none of this hand's."""
        if len(payload) != ORDER_BYTES:
            return None
        motors = unpack_order(payload)
        if [motor.joint for motor in motors] != list(range(JOINTS)):
            return None
        with self._lock:
            if payload != self._stale:  # an order that stood before a reset is not carried out again
                self._order, self._stale = payload, b""
                self._obey(motors)
            self.step()
            return self._state()

    def motors(self) -> list[Motor]:
        """What its motors were last told; empty before the first order."""
        with self._lock:
            return unpack_order(self._order)

    @property
    def powered(self) -> NDArray[np.bool_]:
        """(12,) which motors have power."""
        return self._powered.copy()

    # -- what the simulation does -----------------------------------------------------------------------------------------
    def reset(self) -> None:
        """As after power-on where the joints are now: held there, no error; the order that stands counts as carried out until it changes."""
        with self._lock:
            self._plant.hold()
            self._stale = self._order
            self._latched = np.zeros((JOINTS, 3), dtype=np.int64)
            self._refused = np.zeros(JOINTS, dtype=np.int64)
            self._powered = np.zeros(JOINTS, dtype=bool)
            self._limit_ma = np.full(JOINTS, FULL_CURRENT_MA)
            self._limited = np.zeros(JOINTS, dtype=bool)
            self._over_s = np.zeros(JOINTS)
            self._stepped_ns = self._clock.now_ns()
            self._sample()
            self._target = self._setpoint = self._position.copy()
            self._held = True

    def step(self) -> bool:
        """Advances the motors to now; True while any has power. Call it at about 50 Hz, from the first order on."""
        with self._lock:
            now_ns = self._clock.now_ns()
            dt_s = min((now_ns - self._stepped_ns) / NS, 0.1)
            self._stepped_ns = now_ns
            self._sample()
            if not self._held:
                self._limit_current(dt_s)
                free = ~self._powered | self._stopped
                self._setpoint = np.where(free, self._position, self._setpoint)  # nothing resists there
                self._plant.command(self._setpoint[self._idx_hand_to_plant])
            return bool(self._powered.any())

    # -- faults to inject -------------------------------------------------------------------------------------------------
    def inject_error(self, joint: str, code: int, board: str = "joint") -> None:
        """Sets the code of one board of a joint (``communication``, ``joint`` or ``tip``); 0 takes it away. A joint board's stops the motor."""
        with self._lock:
            self._latched[self.joints.index(joint), BOARDS.index(board)] = code

    def set_temperature(self, joint: str, celsius: float) -> None:
        """Sets one joint board's temperature; too hot cuts the motor until it has cooled."""
        with self._lock:
            i = self.joints.index(joint)
            self._temperature_c[i] = celsius
            hot = celsius >= HOT_C or (self._latched[i, 1] == OVER_TEMPERATURE and celsius >= WARM_C)
            if hot or self._latched[i, 1] == OVER_TEMPERATURE:
                self._latched[i, 1] = OVER_TEMPERATURE if hot else 0

    def press(self, tip: int, force_n: tuple[float, float, float]) -> None:
        """Something touches one fingertip (0 thumb .. 4 little) with this force x, y, z [N], besides what the joints feel."""
        with self._lock:
            self._pressed[tip] = force_n

    # -- inside -----------------------------------------------------------------------------------------------------------
    @property
    def _stopped(self) -> NDArray[np.bool_]:
        """(12,) joints whose own board has stopped them."""
        return (self._latched[:, 1] != 0) | (self._latched[:, 0] != 0) | (self._refused != 0)

    def _sample(self) -> None:
        state = self._plant.read()
        order = self._idx_plant_to_hand
        self._position, self._torque = state.position_rad[order], state.effort_nm[order]
        self._current_ma = np.minimum(np.abs(self._torque) / self._effort, 1.0) * FULL_CURRENT_MA

    def _obey(self, motors: list[Motor]) -> None:
        target = self._lower + (np.array([m.position for m in motors], dtype=np.float64) - self._at_lower) / self._slope
        mode, torque = np.array([m.mode for m in motors]), np.array([m.torque_ma for m in motors], dtype=np.float64)
        gains = np.array([(m.kp, m.ki, m.kd) for m in motors])
        on = np.isin(mode, (POSITION, POWERFUL))
        outside = ~np.isfinite(target) | (target < self._lower - RANGE_SLACK_RAD) | (target > self._upper + RANGE_SLACK_RAD)
        self._refused = np.where(~on & (mode != POWERLESS), WRONG_MODE, np.where(on & (outside | (gains < 0).any(axis=1)), WRONG_PARAMETER, 0))
        self._powered = on & (self._refused == 0) & (gains[:, 0] > 0) & (torque > 0)
        self._limit_ma = np.maximum(torque, 1.0)
        self._target = np.where(self._powered, np.clip(np.nan_to_num(target), self._lower, self._upper), self._position)
        self._held = False

    def _limit_current(self, dt_s: float) -> None:
        """A joint that pushes too hard is let back in proportion; one that was held back tries again slowly."""
        pushes = (self._target - self._setpoint) * (self._setpoint - self._position) >= 0.0  # a target that lies back is gone to at once
        over = self._powered & pushes & (self._current_ma > self._limit_ma)
        share = self._limit_ma / np.maximum(self._current_ma, 1.0)
        back = self._position + (self._setpoint - self._position) * share
        step = ADVANCE_RAD_S * dt_s
        slow = self._setpoint + np.clip(self._target - self._setpoint, -step, step)
        self._setpoint = np.where(over, back, np.where(self._limited & pushes, slow, self._target))
        self._limited = over | (self._limited & pushes & (np.abs(self._setpoint - self._target) > ARRIVED_RAD))
        self._over_s = np.where(self._limited, self._over_s + dt_s, 0.0)

    def _state(self) -> bytes:
        errors = self._latched.copy()
        waiting = np.where(self._refused != 0, self._refused, np.where(self._over_s > OVER_CURRENT_AFTER_S, OVER_CURRENT, 0))
        errors[:, 1] = np.where(errors[:, 1] == 0, waiting, errors[:, 1])
        own = self._at_lower + (self._position - self._lower) * self._slope
        raw = np.clip((self._position - self._lower) / (self._upper - self._lower), 0.0, 1.0) * FULL_RAW
        sensors = dict(zip(TIP_JOINTS, TIP_COMPONENTS, strict=True))
        columns = (own, np.rint(self._current_ma).astype(int), np.rint(raw).astype(int), np.rint(self._temperature_c).astype(int), errors)
        joints = [
            Joint(sensors.get(i, 0), float(position), int(current), int(counts), int(celsius), (int(codes[0]), int(codes[1]), int(codes[2])))
            for i, (position, current, counts, celsius, codes) in enumerate(zip(*columns, strict=True))
        ]
        return pack_state(joints, [self._tip(tip) for tip in range(TIPS)])

    def _tip(self, tip: int) -> Tip:
        joint = TIP_JOINTS[tip]
        force = self._pressed[tip] + (0.0, 0.0, abs(self._torque[joint]) / LEVER_M)
        x, y, z = np.rint(force * COUNTS_PER_NEWTON)
        counts = (int(np.clip(x, -128, 127)), int(np.clip(y, -128, 127)), int(np.clip(z, 0, 255)))
        return Tip(counts, CELLS // 2, round(float(self._temperature_c[joint])))
