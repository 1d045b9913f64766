# SPDX-License-Identifier: Apache-2.0
"""Finds a driver by name among the installed entry points, and imports it only then."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from dex_core.errors import ConfigError

GROUPS = {"arm": "dex.arms", "hand": "dex.hands", "camera": "dex.cameras"}


def driver_names(kind: str) -> list[str]:
    """Drivers installed for ``arm``, ``hand`` or ``camera``."""
    return sorted({point.name for point in entry_points(group=GROUPS[kind])})


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
