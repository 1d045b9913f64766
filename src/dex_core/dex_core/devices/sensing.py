# SPDX-License-Identifier: Apache-2.0
"""What a device may tell beyond joints and health: touch and motor currents. All of it is optional."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dex_core.types import Array

TOUCH_UNITS = ("N", "counts")


@runtime_checkable
class TouchSensing(Protocol):
    """A hand with skin.

    Attributes:
        touch_unit: ``N``, or ``counts`` where the vendor gives no scale; a driver without it counts.
    """

    def touch(self) -> Mapping[str, Array]:
        """Area -> (cells,) or (rows, columns), newest reading. Never blocks, never raises; empty before the first and after a lost link."""
        ...


@runtime_checkable
class CurrentSensing(Protocol):
    """A device that measures its motors' currents."""

    def currents(self) -> Array | None:
        """(n,) [A] in the order of ``names``, newest reading; None before the first. Never blocks, never raises."""
        ...


@dataclass(frozen=True)
class TouchReading:
    """Areas and their unit; no areas when the device feels nothing or has no skin."""

    unit: str
    areas: Mapping[str, Array]


def touch_of(device: object) -> TouchReading:
    """What a device feels now."""
    areas = device.touch() if isinstance(device, TouchSensing) else {}
    return TouchReading(str(getattr(device, "touch_unit", "counts")), {name: np.asarray(values, dtype=np.float64) for name, values in areas.items()})


def currents_of(device: object, names: Sequence[str]) -> dict[str, float]:
    """Joint -> motor current [A]; empty when the device does not tell.

    A driver without ``currents`` may have them in its health, as ``<joint>.current_a`` or all joints in ``current_a``.
    """
    if isinstance(device, CurrentSensing):
        measured = device.currents()
        return {} if measured is None else dict(zip(names, map(float, measured), strict=True))
    values = device.health().values  # type: ignore[attr-defined]
    single = {name: _number(values.get(f"{name}.current_a", "")) for name in names}
    found = {name: value for name, value in single.items() if value is not None}
    together = [_number(word) for word in values.get("current_a", "").split()]
    if not found and len(together) == len(names):
        found = {name: value for name, value in zip(names, together, strict=True) if value is not None}
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
