# SPDX-License-Identifier: Apache-2.0
"""The fault words on a device simulator: each kind of simulator says which it can suffer, by its own injection hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from dex_core.errors import ConfigError
from dex_sim.fault import KINDS, amount_of

Hooks = Mapping[str, Callable[[float], None]]
XARM_COLLISION = 31
"""Controller error "collision caused abnormal current": what `wrong` reports where no code is given."""
FAULT_BIT = 0x1


def _xarm(device: Any) -> Hooks:
    def power_off(_amount: float) -> None:
        device.stop_listening()
        device.drop_connections()

    def well(_amount: float) -> None:
        device.set_silent(False)
        device.listen_again()

    return {
        "ok": well, "off": power_off, "stuck": lambda _amount: device.set_silent(True),
        "wrong": lambda amount: device.controller.inject_error(round(amount) if amount >= 1.0 else XARM_COLLISION),
    }


def _simulated_hand(device: Any) -> Hooks:
    def suffer(fault: str, drop: bool = False) -> Callable[[float], None]:
        def act(_amount: float) -> None:
            device.fault = fault
            if drop:
                device.drop_client()

        return act

    return {
        "ok": suffer("none"), "off": suffer("silent", drop=True), "stuck": suffer("silent"), "garbage": suffer("garbage"),
        "wrong": lambda _amount: device.inject_error(FAULT_BIT),
    }


def _inspire(device: Any) -> Hooks:
    def suffer(fault: str) -> Callable[[float], None]:
        def act(_amount: float) -> None:
            device.port.fault = fault

        return act

    return {
        "ok": suffer("none"), "off": suffer("silent"), "stuck": suffer("silent"), "garbage": suffer("garbage"),
        "wrong": lambda _amount: device.inject_error("index", FAULT_BIT),
    }


def _g1(device: Any) -> Hooks:
    def suffer(fault: str) -> Callable[[float], None]:
        def act(_amount: float) -> None:
            device.fault = fault

        return act

    return {"ok": suffer("none"), "off": suffer("silent"), "stuck": suffer("frozen"), "garbage": suffer("garbage")}


def _franka(device: Any) -> Hooks:
    def power_off(_amount: float) -> None:
        device.set_listening(False)
        device.drop_connections()

    def well(_amount: float) -> None:
        device.set_silent(False)
        device.set_listening(True)

    return {"ok": well, "off": power_off, "stuck": lambda _amount: device.set_silent(True)}


HOOKS: dict[str, Callable[[Any], Hooks]] = {
    "XArmController": _xarm, "SimulatedHand": _simulated_hand, "InspireHand": _inspire, "FrankaArm": _franka,
    "G1Robot": _g1,
}
"""Class of a simulator -> its fault words. Any other simulator offers them itself, as ``fault_hooks() -> Hooks``."""


def hooks_of(device: Any) -> Hooks:
    """The fault words that a simulator can suffer. Raises ConfigError when it offers none."""
    own = getattr(device, "fault_hooks", None)
    if own is not None:
        return own()
    kind = type(device).__name__
    if kind not in HOOKS:
        raise ConfigError(f"a {kind} offers no faults; those that do: {', '.join(HOOKS)}")
    return HOOKS[kind](device)


class DeviceFaults:
    """Puts faults on the simulators of a running cell, on the interfaces that it was allowed to.

    Args:
        devices: tells the simulators that run now, interface -> simulator.
        allowed: interfaces that ``faults:=`` names; none of the others can be faulted.
    """

    def __init__(self, devices: Callable[[], Mapping[str, Any]], allowed: tuple[str, ...]) -> None:
        self._devices, self._allowed = devices, allowed
        self._toggles: dict[str, threading.Event] = {}

    def inject(self, component: str, kind: str, amount: float) -> str:
        """One fault on one device; returns what happens now. Raises ConfigError with what is allowed."""
        if component not in self._allowed:
            raise ConfigError(f"{component!r} may not be faulted; faults:= was given the devices {list(self._allowed)}")
        devices = self._devices()
        if component not in devices:
            raise ConfigError(f"{component!r} has no simulator now; running: {sorted(devices)}")
        hooks = hooks_of(devices[component])
        amount_of(kind, amount)
        self._end_toggle(component)
        if kind == "intermittent":
            self._begin_toggle(component, hooks, amount_of(kind, amount))
        elif kind in hooks:
            hooks[kind](amount)
        else:
            raise ConfigError(f"the simulator of {component} cannot be {kind}; it can be: {', '.join([*hooks, 'intermittent'])}")
        return f"{component} is {kind}: {KINDS[kind].does}" if kind in ("ok", "intermittent") else f"{component} is {kind}"

    def close(self) -> None:
        """Ends what goes on and off by itself."""
        for component in list(self._toggles):
            self._end_toggle(component)

    def _begin_toggle(self, component: str, hooks: Hooks, period_s: float) -> None:
        end = self._toggles[component] = threading.Event()

        def run() -> None:
            on = False
            while not end.wait(period_s / 2):
                on = not on
                hooks["ok" if on else "off"](0.0)
            hooks["ok"](0.0)

        hooks["off"](0.0)
        threading.Thread(target=run, name=f"fault {component}", daemon=True).start()

    def _end_toggle(self, component: str) -> None:
        event = self._toggles.pop(component, None)
        if event is not None:
            event.set()
