# SPDX-License-Identifier: Apache-2.0
"""What an Ability Hand does with a request: API mode and its 300 ms, control modes, reply variants, registers."""

from __future__ import annotations

import struct
import threading

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import Interface
from dex_sim import ability_wire as wire
from dex_sim.ability_motors import MOTORS, Motors
from dex_sim.ability_wire import Request
from dex_sim.plant import Plant

ADDRESSES = {"right": 0x50, "left": 0x51}
"""Convention of this project; the vendor ships every hand with 0x50."""
UNIQUE_IDS = {"right": (0xAB171E00, 0x00000052), "left": (0xAB171E00, 0x0000004C)}
"""Registers 61 and 62 of the simulated hands."""

API_TIMEOUT_S = 0.3
SITES = 6
UNTOUCHED = 60
"""Counts of a touch site that nothing presses: a model, as is the next."""
LEVER_M, COUNTS_PER_N = 0.08, 100.0
GAINS = {motor: (3, 4, 1, 21, 0, 10, 1, 1773, 4) for motor in MOTORS[:5]} | {"thumb_rotator": (500, 0, 5, 3, 14, 6, 1, 1773, 8)}
"""Gains of the position loops (from PSYONIC's write_registers.py): kept and given back, not acted on."""
OUTPUT_SATURATION = 3546


class AbilityHand:
    """Firmware and motors of one hand. Thread-safe.

    Args:
        interface: which hand.
        plant: its joints.
        bus_id: its address on the line; by default the convention for the side.
        clock: monotonic.

    Attributes:
        own_way_rad: (6,) where its own inputs (Bluetooth, electrodes) take it outside the API mode; None: nowhere.
        bad_checksums: requests it dropped for their checksum or length. left_api: how often 300 ms of silence ended the API mode.
    """

    def __init__(self, interface: Interface, plant: Plant, *, bus_id: int | None = None, clock: Clock | None = None) -> None:
        self.name = f"{interface.side}_{interface.robot.kind}"
        self.bus_id = ADDRESSES[interface.side] if bus_id is None else bus_id
        self.own_way_rad: NDArray[np.float64] | None = None
        self.bad_checksums = self.left_api = 0
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._motors = Motors(interface, plant, self._clock)
        self._plant = plant
        self._registers = {1 + 10 * m + k: value for m, motor in enumerate(MOTORS) for k, value in enumerate((*GAINS[motor], OUTPUT_SATURATION))}
        self._registers.update(zip((61, 62), UNIQUE_IDS[interface.side], strict=True))
        self._fixed = {10 * (m + 1) for m in range(6)} | {61, 62}
        self._pressed_n = np.zeros((5, SITES))
        self._api, self._heard_ns, self._last_header = False, 0, wire.POSITION

    # -- what the line sees ---------------------------------------------------------------------------------------------
    def answer(self, body: bytes) -> bytes | None:
        """The reply to one frame, checksum included; None where the hand stays silent: noise, or another's address."""
        request = wire.parse(body)
        with self._lock:
            if request is None:
                self.bad_checksums += 1
                return None
            if request.address != self.bus_id:
                return None
            self.step()
            if request.header == wire.READ_REGISTER and len(request.payload) >= 4:
                return self._read_register(request)
            if request.header == wire.WRITE_REGISTER and len(request.payload) >= 8:
                return self._write_register(request)
            return self._state(self._obey(request))

    @property
    def in_api_mode(self) -> bool:
        """Whether requests move it now."""
        return self._api

    # -- what the simulation does ---------------------------------------------------------------------------------------
    def step(self) -> bool:
        """Advances to now; True while it is in API mode. Call it at about 100 Hz then."""
        with self._lock:
            if self._api and self._clock.now_ns() - self._heard_ns > API_TIMEOUT_S * NS:
                self.left_api += 1
                self._leave_api()
            if self._api:
                self._motors.step()
            return self._api

    def reset(self) -> None:
        """As after power-on where the joints are now: held, cool, out of API mode."""
        with self._lock:
            self._api, self._last_header = False, wire.POSITION
            self._pressed_n[:] = 0.0
            self._motors.power_on()

    # -- faults and circumstances to inject -----------------------------------------------------------------------------
    def set_hot(self, motor: str, hot: bool = True) -> None:
        """One motor shuts itself down for heat until it is told to be cool again."""
        with self._lock:
            self._motors.set_hot(motor, hot)

    def press(self, finger: int, force_n: ArrayLike) -> None:
        """Forces (6,) [N] on the touch sites of a finger, 0 index to 4 thumb, beside what the joint's load gives."""
        with self._lock:
            self._pressed_n[finger] = force_n

    # -- inside ---------------------------------------------------------------------------------------------------------
    def _obey(self, request: Request) -> int:
        """Does what a message says; returns the format header of the reply."""
        if request.mode == wire.READ_ONLY and request.variant < wire.VARIANTS:
            self._heard_ns = self._clock.now_ns()
            return request.header
        if request.header == wire.EXIT_API:
            if self._api:
                self._leave_api()
            return self._last_header
        self._enter_api()
        if request.mode in wire.MODES and request.variant < wire.VARIANTS:
            self._last_header = request.header
            self._motors.request(request.mode, 0, np.array(request.values) * self._unit(request.mode))
            self._motors.step()
        return self._last_header

    @staticmethod
    def _unit(mode: int) -> float:
        return {wire.POSITION: wire.DEG_PER_COUNT, wire.VELOCITY: wire.DEG_S_PER_COUNT, wire.CURRENT: 1.0 / wire.COUNTS_PER_A,
                wire.DUTY: 1.0 / wire.FULL_DUTY}[mode]

    def _enter_api(self) -> None:
        self._heard_ns = self._clock.now_ns()
        if not self._api:
            self._api = True
            self._motors.hold()

    def _leave_api(self) -> None:
        self._api = False
        self._motors.hold()
        if self.own_way_rad is not None:
            self._plant.command(self.own_way_rad)

    def _state(self, header: int) -> bytes:
        position_deg, current_a, rotor_rad_s = self._motors.measured()
        return wire.reply(header, position_deg, current_a, rotor_rad_s, self._touch(), self._motors.limited)

    def _touch(self) -> NDArray[np.int64]:
        """(30,) counts: the load of each finger's flexing joint spread over its sites, and what is pressed on them."""
        load_n = self._motors.load_nm()[:5, None] / LEVER_M / SITES
        return np.clip(np.rint(UNTOUCHED + COUNTS_PER_N * (load_n + self._pressed_n)), 0, 4095).astype(np.int64).reshape(-1)

    def _read_register(self, request: Request) -> bytes:
        (register,) = struct.unpack_from("<I", request.payload)
        value = self._registers.get(register)
        body = struct.pack("<II", wire.REGISTER_FAIL, 0) if value is None else struct.pack("<II", wire.REGISTER_OK, value)
        return wire.sealed(body)

    def _write_register(self, request: Request) -> bytes:
        """Four bytes without a checksum, as the document has it."""
        register, value = struct.unpack_from("<II", request.payload)
        if register not in self._registers or register in self._fixed:
            return struct.pack("<I", wire.REGISTER_FAIL)
        self._registers[register] = value
        return struct.pack("<I", wire.REGISTER_OK)
