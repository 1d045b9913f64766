# SPDX-License-Identifier: Apache-2.0
"""Finds a driver by name among the installed entry points, and imports it only then."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from dex_core.config import CellConfig
from dex_core.config.robot import SIMULATED
from dex_core.errors import ConfigError

GROUPS = {"arm": "dex.arms", "hand": "dex.hands", "camera": "dex.cameras"}


def driver_names(kind: str) -> list[str]:
    """Drivers installed for ``arm``, ``hand`` or ``camera``."""
    return sorted({point.name for point in entry_points(group=GROUPS[kind])})


def check_real_drivers(cell: CellConfig) -> None:
    """Raises ConfigError unless the driver of every arm and hand of a cell that is not simulated is installed; names those there are."""
    for name, interface in cell.interfaces.items():
        wanted = cell.driver_of(name)
        there = [known for known in driver_names(interface.robot.kind) if known != SIMULATED]
        if wanted not in there:
            raise ConfigError(f"{name} ({interface.robot.name}) needs the {interface.robot.kind} driver {wanted!r}, which there is not; "
                              f"there is: {there}. It runs in simulation only, sim:=true")


def load_driver(kind: str, name: str) -> Any:
    """The driver class called ``name``.

    Raises:
        ConfigError: no such driver, or it cannot be imported; names what there is.
    """
    for point in entry_points(group=GROUPS[kind]):
        if point.name == name:
            try:
                return point.load()
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"{kind} driver {name!r} ({point.value}) cannot be imported: {error}") from error
    raise ConfigError(f"no {kind} driver is called {name!r}; installed: {driver_names(kind)}")
