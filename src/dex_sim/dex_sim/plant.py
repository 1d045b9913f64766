# SPDX-License-Identifier: Apache-2.0
"""What a device simulator moves: the joints of one interface, behind five lines of contract."""
from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dex_core.clock import NS, Clock, SteadyClock
from dex_core.types import frozen_array

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class PlantState:
    """Joints of one interface, hardware order, (n,) each, read-only: position rad, velocity rad/s, effort N m."""

    position_rad: Vector
    velocity_rad_s: Vector
    effort_nm: Vector

    def __post_init__(self) -> None:
        n = len(self.position_rad)
        for field in ("position_rad", "velocity_rad_s", "effort_nm"):
            object.__setattr__(self, field, frozen_array(getattr(self, field), (n,), f"plant {field}"))


@runtime_checkable
class Plant(Protocol):
    """The joints that one device moves. Thread-safe."""

    names: tuple[str, ...]

    def read(self) -> PlantState:
        """Measured joints now."""
        ...

    def command(self, position_rad: Vector) -> None:
        """New servo targets (n,) rad. Raises ShapeError or NonFiniteError."""
        ...

    def hold(self) -> None:
        """Makes the measured position the target."""
        ...


class KinematicPlant:
    """Joints without a world: each follows its target with a first-order lag. For tests of a device simulator alone."""

    def __init__(
        self, names: tuple[str, ...], position_rad: ArrayLike, *, time_constant_s: float = 0.03, clock: Clock | None = None
    ) -> None:
        if not time_constant_s > 0.0:
            raise ValueError(f"time_constant_s is {time_constant_s}; it must be positive")
        self.names = tuple(names)
        self._clock = clock or SteadyClock()
        self._time_constant_s = time_constant_s
        self._position = np.array(frozen_array(position_rad, (len(self.names),), "plant position"))
        self._target = self._position.copy()
        self._stamp_ns = self._clock.now_ns()
        self._lock = threading.Lock()

    def read(self) -> PlantState:
        """Measured joints now; effort is zero because nothing resists."""
        with self._lock:
            self._advance()
            velocity = (self._target - self._position) / self._time_constant_s
            return PlantState(self._position.copy(), velocity, np.zeros(len(self.names)))

    def command(self, position_rad: ArrayLike) -> None:
        """New targets (n,) rad. Raises ShapeError or NonFiniteError."""
        target = frozen_array(position_rad, (len(self.names),), "plant target")
        with self._lock:
            self._advance()
            self._target = np.array(target)

    def hold(self) -> None:
        """Stops where it is."""
        with self._lock:
            self._advance()
            self._target = self._position.copy()

    def _advance(self) -> None:
        now_ns = self._clock.now_ns()
        elapsed_s = (now_ns - self._stamp_ns) / NS
        self._stamp_ns = now_ns
        self._position = self._target + (self._position - self._target) * np.exp(-elapsed_s / self._time_constant_s)
