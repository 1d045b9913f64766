# SPDX-License-Identifier: Apache-2.0
"""Looks at every command and keeps those that may never leave: not finite, outside the range, further than the step from measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from dex_core.config import JointLimit
from dex_core.devices.limited import STEP_SLACK_RAD
from dex_core.types import Array, JointState

RANGE_TOLERANCE_RAD = 2e-6
STEP_TOLERANCE_RAD = 1e-9
KEPT = 20
"""Violations kept with their words; the rest is counted."""


class Bounds(NamedTuple):
    """What a command of n joints may be: (n,) range [rad] and furthest distance from measured [rad]."""

    lower_rad: Array
    upper_rad: Array
    step_rad: Array

    @classmethod
    def of(cls, limits: Sequence[JointLimit]) -> Bounds:
        """One row per joint."""
        return cls(*(np.array([getattr(limit, key) for limit in limits]) for key in ("lower_rad", "upper_rad", "step_rad")))


class CommandSpy:
    """Counts commands and violations of the one invariant. Thread-safe; never raises where it looks, so it changes nothing.

    Attributes:
        seen: commands looked at.
        violations: what was wrong with the first ``KEPT`` bad ones, in words.
        unsafe: how many bad ones there were.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen = self.unsafe = 0
        self.violations: list[str] = []

    def look(
        self, where: str, names: Sequence[str], position_rad: Array, bounds: Bounds | None = None, measured_rad: Array | None = None,
        *, range_slack_rad: float = RANGE_TOLERANCE_RAD, step_slack_rad: float = STEP_TOLERANCE_RAD,
    ) -> bool:
        """Judges one command; True when it is safe.

        Args:
            where: who sent it, for the words.
            names: its n joints.
            position_rad: (n,) targets [rad].
            bounds: range and step; None: only finiteness is judged.
            measured_rad: (n,) measured joints [rad]; where one is not finite, or None, the step is not judged.
            range_slack_rad, step_slack_rad: what the observer's own view may be off by [rad].
        """
        problem = _problem(np.asarray(position_rad, dtype=np.float64), names, bounds, measured_rad, range_slack_rad, step_slack_rad)
        with self._lock:
            self.seen += 1
            if problem:
                self.unsafe += 1
                if len(self.violations) < KEPT:
                    self.violations.append(f"{where}: {problem}")
        return not problem

    def require_safe(self) -> None:
        """Raises AssertionError with the violations since the last call, if there was one."""
        with self._lock:
            unsafe, words, self.unsafe, self.violations = self.unsafe, self.violations, 0, []
        if unsafe:
            raise AssertionError(f"{unsafe} unsafe commands:\n  " + "\n  ".join(words))


def _problem(
    position: Array, names: Sequence[str], bounds: Bounds | None, measured: Array | None, range_slack: float, step_slack: float
) -> str:
    """What is wrong, with the first joint it is wrong with; empty when nothing is."""
    if position.shape != (len(names),):
        return f"{position.shape} numbers for {len(names)} joints"
    if bounds is None:
        return _first(~np.isfinite(position), names, lambda i: f"is {position[i]}")
    far = np.zeros(len(names), dtype=bool) if measured is None else np.abs(position - measured) > bounds.step_rad + step_slack
    return (
        _first(~np.isfinite(position), names, lambda i: f"is {position[i]}")
        or _first(position < bounds.lower_rad - range_slack, names, lambda i: f"is {position[i]:.6f} rad, below {bounds.lower_rad[i]:.6f}")
        or _first(position > bounds.upper_rad + range_slack, names, lambda i: f"is {position[i]:.6f} rad, above {bounds.upper_rad[i]:.6f}")
        or _first(far, names, lambda i: f"is {position[i]:.6f} rad, more than {bounds.step_rad[i]:.4f} from measured {measured[i]:.6f}")
    )


def _first(bad: Any, names: Sequence[str], words: Callable[[int], str]) -> str:
    if not bad.any():
        return ""
    worst = int(np.argmax(bad))
    return f"{names[worst]} {words(worst)}"


@contextmanager
def spying(spy: CommandSpy, *, gates: Sequence[type] = (), limited: Sequence[type] = (), plants: Sequence[type] = ()) -> Iterator[CommandSpy]:
    """Puts the spy behind classes, for everything that their objects do meanwhile.

    Args:
        spy: who looks.
        gates: classes with ``tick`` (returns a Tick), ``states.position_rad`` and ``limits``.
        limited: classes built from (device, limits), whose ``command`` is the last before the device.
        plants: classes with ``names`` and ``command``: what simulators move. Only finiteness is judged: it is the device's side.
    """
    undo: list[Callable[[], None]] = []

    def replace(owner: type, name: str, wrapped: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        setattr(owner, name, wrapped)
        undo.append(lambda: setattr(owner, name, original))

    try:
        for gate in gates:
            replace(gate, "tick", _spied_tick(spy, gate.tick))
        for wall in limited:
            replace(wall, "__init__", _spied_init(spy, wall.__init__))
        for plant in plants:
            replace(plant, "command", _spied_plant(spy, plant.command))
        yield spy
    finally:
        while undo:
            undo.pop()()


def _spied_tick(spy: CommandSpy, tick: Callable[..., Any]) -> Callable[..., Any]:
    def spied(gate: Any, *args: Any, **kwargs: Any) -> Any:
        out = tick(gate, *args, **kwargs)
        command = out.command
        if len(command.names):
            limits = gate.limits
            bounds = Bounds(limits.lower_rad, limits.upper_rad, limits.step_rad)
            spy.look("gate", command.names, command.position_rad, bounds, gate.states.position_rad)
        return out

    return spied


def _spied_init(spy: CommandSpy, init: Callable[..., None]) -> Callable[..., None]:
    """The wrapped device is replaced by a view of it that looks at each command that passed the wall."""

    def spied(wall: Any, device: Any, limits: Sequence[JointLimit], *args: Any, **kwargs: Any) -> None:
        init(wall, device, limits, *args, **kwargs)
        wall.device = _Watched(wall.device, spy, Bounds.of(limits), kwargs.get("step_slack_rad", STEP_SLACK_RAD))

    return spied


class _Watched:
    """A device as it is, but for a look at its commands, beside the measurement that the wall had."""

    def __init__(self, device: Any, spy: CommandSpy, bounds: Bounds, step_slack_rad: float) -> None:
        self.__dict__.update(_device=device, _spy=spy, _bounds=bounds, _slack_rad=step_slack_rad + STEP_TOLERANCE_RAD, _measured_rad=None)

    def read(self) -> JointState:
        """As the device."""
        state = self._device.read()
        self.__dict__["_measured_rad"] = state.position_rad
        return state

    def command(self, position_rad: Array) -> Array:
        """As the device."""
        self._spy.look("driver", self._device.names, position_rad, self._bounds, self._measured_rad, step_slack_rad=self._slack_rad)
        return self._device.command(position_rad)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._device, name, value)


def _spied_plant(spy: CommandSpy, command: Callable[..., None]) -> Callable[..., None]:
    def spied(plant: Any, position_rad: Array) -> None:
        command(plant, position_rad)  # what it refuses, moves nothing
        spy.look("plant", plant.names, position_rad)

    return spied
