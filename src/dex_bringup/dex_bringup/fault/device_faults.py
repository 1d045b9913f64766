# SPDX-License-Identifier: Apache-2.0
"""Faults of devices: the real driver behind its wall, the simulated device on its wire, the command stream of a gate that lives or dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_core.config import CellConfig, load_cell
from dex_core.devices.follower import CommandFollower, CommandMode
from dex_core.devices.limited import Limited
from dex_core.devices.registry import load_driver
from dex_core.devices.runtime import DeviceRuntime
from dex_core.errors import ConnectionLostError, DeviceError, DexError
from dex_sim.devices import serve_devices
from dex_sim.plant import KinematicPlant

PERIOD_S = 0.01
CREEP_RAD = 0.0005
"""The commanded joint moves by so much per period: 0.05 rad/s."""
STILL_RAD = 2e-3
HOST = 221


class Bench:
    """One device of a cell as its node drives it, without ROS: the simulator on its wire, the driver, its wall, the follower.

    Attributes:
        runtime: what the node would hold. simulator: the far end. plant: the joints.
    """

    def __init__(self, cell: CellConfig, name: str, simulator: object, plant: KinematicPlant) -> None:
        interface = cell.interface(name)
        self.name, self.names, self.simulator, self.plant = name, interface.names, simulator, plant
        driver = load_driver(interface.robot.kind, cell.driver_of(name))(interface, cell.address_of(name))
        self.device = Limited(driver, interface.limits)
        self.device.connect()
        self.runtime = DeviceRuntime(self.device, CommandFollower(interface.names, cell.control.command_timeout_s))
        self.runtime.start()
        self._sequence = 0
        self._target: np.ndarray | None = None
        self._way = np.where(np.array([limit.upper_rad for limit in interface.limits]) - np.array(interface.home) > 0.3, 1.0, -1.0)

    def stream(self, seconds: float, until: Callable[[], bool] | None = None, *, gate: bool = True, mode: CommandMode | None = None) -> float:
        """Ticks the device at 100 Hz beside a gate that tracks; returns the seconds until ``until()``."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            next_s = time.monotonic() + PERIOD_S
            state = self.runtime.tick()
            if gate and state is not None:
                self._command(mode or CommandMode.TRACK, state.position_rad)
            if until is not None and until():
                break
            time.sleep(max(0.0, next_s - time.monotonic()))
        return time.monotonic() - began

    def moving(self) -> Bench:
        """Armed by IDLE, then creeping. Raises Unexpected when it does not follow."""
        self._target = None
        for _ in range(3):
            self._command(CommandMode.IDLE, None)
        before = self.plant.read().position_rad
        self.stream(0.4)
        moved = float(np.abs(self.plant.read().position_rad - before).max())
        expect(moved > 2.0 * STILL_RAD, f"{self.name} does not follow: {moved:.4f} rad, {self.runtime.fault or self.runtime.follower.detail}")
        return self

    def rests(self, seconds: float = 0.4, *, gate: bool = True) -> float:
        """How far the joints moved meanwhile [rad], a tracking gate beside them. Raises Unexpected when they did."""
        before = self.plant.read().position_rad
        self.stream(seconds, gate=gate)
        moved = float(np.abs(self.plant.read().position_rad - before).max())
        expect(moved < STILL_RAD, f"{self.name} moved {moved:.4f} rad by itself")
        return moved

    def comes_back(self, within_s: float = 8.0) -> float:
        """Reconnects as the node does, with growing pauses, until it is ready; returns the seconds. Raises Unexpected when it never is."""
        began, pause_s = time.monotonic(), 0.1
        while time.monotonic() - began < within_s:
            try:
                self.device.disconnect()
                self.device.connect()
                self.runtime.start()
            except DeviceError:
                time.sleep(pause_s)
                pause_s = min(1.0, 2.0 * pause_s)
                continue
            return time.monotonic() - began
        raise Unexpected(f"{self.name} did not come back within {within_s} s")

    def close(self) -> None:
        """Ends the link."""
        try:
            self.runtime.stop("the fault is over")
        except DexError:
            pass  # its link may be what was broken
        self.device.disconnect()

    def _command(self, mode: CommandMode, measured: np.ndarray | None) -> None:
        self._sequence += 1
        if mode is CommandMode.TRACK:
            self._target = measured + 0.0 if self._target is None else self._target + CREEP_RAD * self._way
            self.runtime.command(mode, self._sequence, self.names, self._target.tolist())
        else:
            self.runtime.command(mode, self._sequence, (), ())


@contextmanager
def bench(stage: Stage, kind: str, folder: object, hand: str | None = None) -> Iterator[Bench]:
    """A bench for the first arm or hand of the cell (with another hand mounted), at addresses of its own."""
    from dex_bringup.testing import private_cell

    cell = load_cell(private_cell(folder, 40, stage.cell_name, host=HOST), **({"hand": hand} if hand else {}))  # type: ignore[arg-type]
    name = next(n for n, part in cell.interfaces.items() if part.robot.kind == kind)
    part = cell.interface(name)
    start = np.clip(part.home, [m.lower_rad + 0.05 for m in part.limits], [m.upper_rad - 0.05 for m in part.limits])
    plant = KinematicPlant(part.names, start, time_constant_s=0.01)
    with ExitStack() as closing:
        for served in serve_devices(cell, [name], lambda _name: plant):
            closing.callback(served.close)
            device = served.devices[name]
        made = Bench(cell, name, device, plant)
        closing.callback(made.close)
        yield made


def _lost(made: Bench, within_s: float = 2.0) -> float:
    """Streams until the driver says what is wrong; returns the seconds."""
    took_s = made.stream(within_s, until=lambda: made.runtime.fault is not None)
    expect(made.runtime.fault is not None and not made.runtime.active, f"no fault within {within_s} s: {made.runtime.follower.detail}")
    return took_s


def arm_connection(stage: Stage) -> Seen:
    """F13: the arm's TCP connection is reset; then half open; then the box is off."""
    words, worst = [], 0.0
    with stage.folder() as folder, bench(stage, "arm", folder) as made:
        for how in ("reset", "half open", "off"):
            made.moving()
            _break_arm(made.simulator, how)
            took_s = _lost(made)
            fault = made.runtime.fault
            expect(isinstance(fault, ConnectionLostError), f"{how}: {fault!r}")
            _mend_arm(made.simulator)
            back_s = made.comes_back()
            made.rests()
            worst = max(worst, took_s)
            words.append(f"{how} [{fault.code}] {took_s * 1e3:.0f} ms, back in {back_s:.1f} s")
    return Seen("; ".join(words) + "; nothing moves after the reconnect until the gate idles", worst * 1e3)


def _break_arm(simulator: object, how: str) -> None:
    if how == "off":
        simulator.stop_listening()  # type: ignore[attr-defined]
    if how == "half open":
        simulator.set_silent(True)  # type: ignore[attr-defined]
    else:
        simulator.drop_connections()  # type: ignore[attr-defined]


def _mend_arm(simulator: object) -> None:
    simulator.set_silent(False)  # type: ignore[attr-defined]
    simulator.listen_again()  # type: ignore[attr-defined]


def hand_unplugged(stage: Stage) -> Seen:
    """F14: the hand's line is silent, then damaged; the arm beside it holds because the gate is told."""
    from dex_sim.fault_device import hooks_of

    words, worst = [], 0.0
    with stage.folder() as folder, bench(stage, "hand", folder) as made:
        hooks = hooks_of(made.simulator)
        for how in [word for word in ("off", "garbage") if word in hooks]:
            made.moving()
            hooks[how](0.0)
            took_s = _lost(made, 3.0)
            code = made.runtime.fault.code
            hooks["ok"](0.0)
            back_s = made.comes_back()
            made.rests()
            worst = max(worst, took_s)
            words.append(f"{how} [{code}] {took_s * 1e3:.0f} ms, back in {back_s:.1f} s")
    told_ms = _gate_is_told(stage)
    return Seen("; ".join(words) + f"; the gate holds both sides [driver_lost] {told_ms:.0f} ms after the driver's word", worst * 1e3)


def _gate_is_told(stage: Stage) -> float:
    """A hand's driver that says it faulted, in mid-motion: how long until the arms hold [ms]."""
    from dex_bringup.fault.rig import GateRig
    from dex_core.safety import Beat, Reason

    rig = GateRig(stage.cell).run()
    hand = next(name for name, part in rig.cell.interfaces.items() if part.robot.kind == "hand")
    rig.silent.add(hand)
    rig.gate.on_heartbeat(Beat(hand, state=2, reason="connection_lost"), rig.now_ns)
    return rig.hold_ms(Reason.DRIVER_LOST)


def hand_overloaded(stage: Stage) -> Seen:
    """F15: over-current of one finger, cleared when asked; then a hot motor, which no recovery clears before it has cooled."""
    from dex_sim.fault_device import hooks_of
    from dex_sim.inspire_modbus_hand import HOT_C, WARM_C

    with stage.folder() as folder, bench(stage, "hand", folder, hand="inspire") as made:
        made.moving()
        hooks_of(made.simulator)["wrong"](0.0)
        took_s = _lost(made, 3.0)
        fault, health = made.runtime.fault, made.device.health()
        expect(not isinstance(fault, ConnectionLostError) and not health.ok, f"{fault!r}, {health}")
        made.rests(0.5)  # no oscillation while the gate goes on commanding
        made.runtime.start()
        made.rests()
        made.moving()
        made.simulator.set_temperature("index", HOT_C)
        _lost(made, 3.0)
        hot = made.device.health()
        expect(not hot.ok and "temperature" in hot.text, f"{hot}")
        try:
            made.runtime.start()
        except DeviceError:
            made.rests(0.5)
        else:
            raise Unexpected(f"{made.name} was enabled at {HOT_C:g} degrees")
        made.simulator.set_temperature("index", WARM_C - 1)
        made.runtime.start()
        made.rests()
    text = f"ERROR [{health.code}] {health.text}; rests while commanded, recovers when asked, without motion; [{hot.code}] not before it has cooled"
    return Seen(text, took_s * 1e3)


def gate_dies(stage: Stage) -> Seen:
    """F26: the command stream ends in mid-motion, as when the gate's process is killed; then one that does not idle first."""
    timeout_s = stage.cell.control.command_timeout_s
    with stage.folder() as folder, bench(stage, "arm", folder) as made:
        made.moving()
        began = time.monotonic()
        made.stream(1.0, until=lambda: not made.runtime.follower.armed, gate=False)
        took_s = time.monotonic() - began
        expect(made.runtime.follower.reason == "gate_lost" and took_s < timeout_s + 0.1, f"{made.runtime.follower.reason} after {took_s:.3f} s")
        made.stream(0.3, gate=False)
        made.rests(0.3, gate=False)
        made.rests(0.3)  # TRACK alone, of a new gate that did not idle first
        made.moving()
    return Seen(f"the driver holds by itself [gate_lost] (limit {timeout_s * 1e3:.0f} ms); TRACK alone is ignored until a gate idles", took_s * 1e3)


def other_publisher(stage: Stage) -> Seen:
    """F11: a second publisher of joint_command appears: the gate latches, the drivers refuse both."""
    from dex_bringup.fault.rig import GateRig
    from dex_core.safety import Reason

    rig = GateRig(stage.cell).run()
    rig.gate.on_publishers(2)
    took_ms = rig.hold_ms(Reason.DUPLICATE_PUBLISHER)
    refused = rig.gate.reset(rig.now_ns)
    expect(not refused.accepted, "reset while there are two publishers")
    with stage.folder() as folder, bench(stage, "arm", folder) as made:
        made.moving()
        made.runtime.refuse("duplicate_publisher", "2 publishers of joint_command; only the gate may be one")
        made.stream(0.1)
        made.rests(0.3)
    return Seen("gate FAULT [duplicate_publisher], reset refused while it lasts; the driver holds and refuses the stream", took_ms)
