# SPDX-License-Identifier: Apache-2.0
"""What is behind the simulated `pxdex`: a DexH13's joints over the `simulated` transport, with the hand's own errors, homing and lack of a watchdog.

The wire of the real hand is not public, so its simulator stands at its Python API (``dex_hands.dexh13_simulated``) and this is the far end of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dex_core.config import CellConfig, Interface
from dex_core.devices.simulated_wire import DeviceFault, Frame, Refusal
from dex_core.errors import ConfigError, DexError
from dex_sim.devices import PlantOf, Served
from dex_sim.plant import Plant
from dex_sim.simulated_hand import SimulatedHand
from dex_sim.xarm_controller_loop import SocketLoop

ERRORS = (
    "OVER_VOLT", "UNDER_VOLT", "OVER_CURRENTU", "OVER_CURRENTV", "OVER_CURRENTW", "OVER_TEMPERATURE", "ADC_CALIB", "FOC_ERR", "OVER_IQ", "OPD_U",
    "OPD_V", "OPD_W", "POS_REF_OVER", "POS_REF_UNDER", "ABZ_ERR", "ABZ_Z_ERR", "DISCONNECT",
)
"""Errors of a motor as the SDK's example names them; 1 .. 17 on this transport."""
MOTORS = 13


class DexH13Hand(SimulatedHand):
    """One hand. An error word has, besides the bits of DeviceFault, the error's number in its second byte and the motor's in its third.

    Attributes:
        homed: whether it was homed since power-on; a hand that was not cannot be enabled.
    """

    def __init__(self, interface: Interface, plant: Plant, address: str, loop: SocketLoop) -> None:
        self.homed = True
        self._open_rad = np.clip(0.0, [limit.lower_rad for limit in interface.limits], [limit.upper_rad for limit in interface.limits])
        super().__init__(interface, plant, address, loop)

    def power_cycle(self) -> None:
        """As after power-on: motors off where they are, no error, not homed."""
        self.reset()
        self.homed = self._enabled = False

    def inject_fault(self, motor: int, error: str, *, lasting: bool = False) -> None:
        """One motor (1 .. 13) reports an error of ERRORS, and the hand holds; a lasting one comes back when it is cleared. Raises ConfigError."""
        if error not in ERRORS or not 1 <= motor <= MOTORS:
            raise ConfigError(f"motor {motor} with error {error!r}; allowed: motors 1 to {MOTORS}, errors {list(ERRORS)}")
        kind = DeviceFault.OVER_TEMPERATURE if error == "OVER_TEMPERATURE" else DeviceFault.MOTOR
        self.inject_error(kind | (ERRORS.index(error) + 1) << 8 | motor << 16, lasting=lasting)

    def fault_hooks(self) -> Mapping[str, Callable[[float], None]]:
        """The fault words it can suffer -> what does it."""
        def suffer(fault: str, drop: bool = False) -> Callable[[float], None]:
            def act(_amount: float) -> None:
                self.fault = fault
                if drop:
                    self.drop_client()

            return act

        return {
            "ok": suffer("none"), "off": suffer("silent", drop=True), "stuck": suffer("silent"), "garbage": suffer("garbage"),
            "wrong": lambda _amount: self.inject_fault(1, "FOC_ERR"),
        }

    def _enable(self, frame: Frame) -> Refusal:
        """Motors on; with positions: homing, which goes there."""
        if frame.position_rad:
            self._plant.command(self._open_rad)
            self._held, self.homed = False, True
            return Refusal.NONE
        return super()._enable(frame) if self.homed else Refusal.NOT_ENABLED

    def _lose_client(self) -> None:
        """Nothing: no watchdog of this hand is known, so it goes on to its last target."""


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """One server for each hand, all on one thread. Raises DeviceError when an address cannot be listened at."""
    loop = SocketLoop("dexh13")
    hands: dict[str, DexH13Hand] = {}

    def close() -> None:
        for hand in hands.values():
            hand.close()
        loop.stop()

    try:
        for name in names:
            hands[name] = DexH13Hand(cell.interface(name), plant_of(name), cell.address_of(name), loop)
    except DexError:
        close()
        raise
    return Served(hands, tuple(hand.reset for hand in hands.values()), close)
