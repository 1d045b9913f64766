# SPDX-License-Identifier: Apache-2.0
"""Simulated hands of Dynamixel servos, each on a serial line of its own: LEAP. The servos turn the joints of a plant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.config import CellConfig, Interface
from dex_core.errors import ConfigError, JointNameError
from dex_sim.devices import PlantOf, Served
from dex_sim.dynamixel_line import ServoLine
from dex_sim.dynamixel_modes import CURRENT_BASED_POSITION
from dex_sim.dynamixel_motor import XC330_M288, MotorKind
from dex_sim.dynamixel_servo import OVERLOAD, Servo
from dex_sim.plant import Plant
from dex_sim.xarm_controller_loop import SocketLoop

STEP_HZ = 100.0
REFRESH_NS = 2_000_000
"""A measurement this old is taken anew before it is told."""

GROUPS = {"right": 201, "left": 202}
"""Secondary id of every servo of a hand: the convention of this project by which a hand says its side."""
BAUD_CODES = {9600: 0, 57600: 1, 115200: 2, 1_000_000: 3, 2_000_000: 4, 3_000_000: 5, 4_000_000: 6}


class DynamixelHand:
    """A hand of servos behind one serial line. Methods may be called from any thread.

    The servos have the ids 0, 1, 2... in the order of ``interface.names``, stand in mode 5, answer without delay, and have no torque until
    somebody gives it to them: until then the friction of the gears holds the joints.

    Args:
        interface: which hand; its hardware map turns rad into counts.
        plant: its joints, named and ordered as ``interface.names``.
        path: where clients open the serial line.
        loop: shared with the other hands of the cell.
        kind: model of the servos. group: their secondary id; by default that of the side. return_delay: register 9, in 2 microseconds.
        clock: monotonic.

    Attributes:
        line: the serial line and what is on it.
    """

    def __init__(
        self, interface: Interface, plant: Plant, path: str, loop: SocketLoop, *, kind: MotorKind = XC330_M288, group: int | None = None,
        return_delay: int = 0, clock: Clock | None = None,
    ) -> None:
        if tuple(plant.names) != interface.names:
            raise JointNameError(f"plant of {interface.name}", plant.names, interface.names)
        hardware = interface.robot.hardware
        if hardware is None:
            raise ConfigError(f"{interface.side} {interface.robot.name} has no hardware map; a hand of servos needs one")
        baud = interface.address.baud
        if baud not in BAUD_CODES:
            raise ConfigError(f"{interface.name}: baud is {baud}; a servo has {sorted(BAUD_CODES)}")
        maps = [hardware[joint] for joint in interface.robot.actuated]
        self.names = interface.names
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self._offset = np.array([m.at_lower for m in maps])
        self._per_rad = np.array([m.at_upper - m.at_lower for m in maps]) / (np.array([limit.upper_rad for limit in interface.limits]) - self._lower)
        self._plant, self._loop = plant, loop
        self._clock = clock or SteadyClock()
        self._stepped_ns = self._measured_ns = self._clock.now_ns()
        self._closed = False
        group = GROUPS[interface.side] if group is None else group
        self._servos = {
            name: Servo(identifier, kind=kind, secondary_id=group, baud_code=BAUD_CODES[baud], mode=CURRENT_BASED_POSITION,
                        return_delay=return_delay, clock=clock)
            for identifier, name in enumerate(self.names)
        }
        self._measure()
        self._relocated()
        self.line = ServoLine(loop, path, tuple(self._servos.values()), baud=baud, on_read=self._refresh, on_change=self._step, clock=clock)
        loop.call(lambda: loop.every(1.0 / STEP_HZ, self._tick))

    @property
    def path(self) -> str:
        """Where clients open the line."""
        return str(self.line.port.path)

    @property
    def requests(self) -> int:
        """Packets understood so far."""
        return self.line.requests

    def servo(self, joint: str) -> Servo:
        """The servo of a joint; look at it, and change it only through the methods here. Raises ConfigError."""
        if joint not in self._servos:
            raise ConfigError(f"no servo turns {joint!r}; there are {list(self.names)}")
        return self._servos[joint]

    def close(self) -> None:
        """Takes the line away and holds the joints; any number of times."""
        self._closed = True
        self.line.port.close()
        self._plant.hold()

    def reset(self) -> None:
        """The joints were put elsewhere: held or limp as before, no error, goals where they are now."""
        self._loop.call_and_wait(self._relocated)

    # --- faults to inject ----------------------------------------------------------------------------------------------
    def set_fault(self, fault: str) -> None:
        """What replies suffer: ``none``, ``silent``, ``truncated``, ``garbage`` or ``slow``. Raises ConfigError."""
        self.line.set_fault(fault)

    def unplug(self) -> None:
        """Pulls the cable to the computer; the servos keep their power."""
        self.line.port.hang_up()

    def replug(self) -> None:
        """Puts it back, at the same path."""
        self.line.port.plug()

    def inject_error(self, joint: str, bits: int) -> None:
        """Sets bits of a servo's hardware error register; a reboot clears them."""
        servo = self.servo(joint)
        self._loop.call_and_wait(lambda: servo.inject(bits))

    def set_temperature(self, joint: str, temperature_c: float) -> None:
        """Makes a motor as warm as this; it cools with its own time constant."""
        motor = self.servo(joint).motor
        self._loop.call_and_wait(lambda: setattr(motor, "temperature_c", temperature_c))

    def break_servo(self, joint: str, *, broken: bool = True) -> None:
        """A servo falls silent and limp, as with a torn cable; False mends it."""
        servo = self.servo(joint)
        self._loop.call_and_wait(lambda: setattr(servo, "dead", broken))

    def fault_hooks(self) -> Mapping[str, Callable[[float], None]]:
        """The product's fault words as this hand can suffer them; ``wrong`` is an overload of the first joint's servo."""
        def well(_amount: float) -> None:
            self.set_fault("none")
            self.replug()

        def delayed(amount: float) -> None:
            self.line.delay_s = amount
            self.set_fault("slow")

        return {
            "ok": well, "off": lambda _amount: self.unplug(), "stuck": lambda _amount: self.set_fault("silent"), "delayed": delayed,
            "garbage": lambda _amount: self.set_fault("garbage"), "wrong": lambda _amount: self.inject_error(self.names[0], OVERLOAD),
        }

    # --- loop thread ---------------------------------------------------------------------------------------------------
    def _relocated(self) -> None:
        self._measure()
        for servo in self._servos.values():
            servo.relocated()
        self._plant.hold()

    def _tick(self) -> bool:
        if not self._closed and self._clock.now_ns() - self._stepped_ns > NS / STEP_HZ / 2:  # a target that came may have stepped just now
            self._step()
        return not self._closed

    def _step(self) -> None:
        now_ns = self._clock.now_ns()
        dt_s = (now_ns - self._stepped_ns) / NS
        if dt_s <= 0.0:
            return
        self._stepped_ns = now_ns
        self._measure()
        counts = np.array([servo.step(dt_s) for servo in self._servos.values()])
        self._plant.command(self._lower + (counts - self._offset) / self._per_rad)

    def _refresh(self) -> None:
        if self._clock.now_ns() - self._measured_ns >= REFRESH_NS:
            self._measure()

    def _measure(self) -> None:
        self._measured_ns = self._clock.now_ns()
        state = self._plant.read()
        counts = self._offset + (state.position_rad - self._lower) * self._per_rad
        velocity, effort = state.velocity_rad_s * self._per_rad, state.effort_nm * np.sign(self._per_rad)
        for servo, *measured in zip(self._servos.values(), counts.tolist(), velocity.tolist(), effort.tolist(), strict=True):
            servo.motor.position, servo.motor.velocity, servo.motor.effort_nm = measured


def serve(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> Served:
    """Serves these hands, each on its serial line (see ``dex_sim.devices``)."""
    hands: dict[str, DynamixelHand] = {}
    with ExitStack() as undo:
        loop = SocketLoop("dynamixel")
        undo.callback(loop.stop)
        for name in names:
            hands[name] = DynamixelHand(cell.interface(name), plant_of(name), cell.address_of(name), loop)
            undo.callback(hands[name].close)
        resets: tuple[Callable[[], None], ...] = tuple(hand.reset for hand in hands.values())
        return Served(hands, resets, undo.pop_all().close)
