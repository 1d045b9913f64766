# SPDX-License-Identifier: Apache-2.0
"""Which simulator answers at which kind of wire; each is imported only when a cell has such a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dex_core.config import CellConfig
from dex_core.errors import ConfigError
from dex_sim.plant import Plant

PlantOf = Callable[[str], Plant]
Serve = Callable[[CellConfig, Sequence[str], PlantOf], "Served"]

SIMULATORS: dict[str, str] = {
    "xarm_tcp": "dex_sim.xarm_controller:serve",
    "franka_fci": "dex_sim.franka:serve",
    "ability_serial": "dex_sim.ability:serve",
    "dynamixel": "dex_sim.dynamixel:serve",
    "inspire_rs485": "dex_sim.inspire_native:serve",
    "modbus_tcp": "dex_sim.inspire_modbus:serve",
    "unitree_dds": "dex_sim.g1_node:serve",
    "xhand_serial": "dex_sim.xhand:serve",
    "paxini_serial": "dex_sim.dexh13:serve",
    "simulated": "dex_sim.simulated_hand:serve",
}
"""Transport -> ``module:function`` of its :data:`Serve`."""


@dataclass(frozen=True)
class Served:
    """Device simulators of one transport, while they run.

    Attributes:
        devices: interface -> its simulator; for statistics and injected faults.
        resets: called after the joints were put elsewhere: hold there, no error, as after power-on.
        close: ends them all; may be called once.
    """

    devices: Mapping[str, Any]
    resets: tuple[Callable[[], None], ...]
    close: Callable[[], None]


def serve_devices(cell: CellConfig, names: Sequence[str], plant_of: PlantOf) -> list[Served]:
    """Starts the simulators of these interfaces, each at its ``cell.address_of``; all of them or none.

    Raises:
        ConfigError: a transport has no simulator; names those that have.
        DeviceError: an address cannot be listened at.
    """
    transports = {name: cell.transport_of(name) for name in names}
    other = {name: transport for name, transport in sorted(transports.items()) if transport not in SIMULATORS}
    if other:
        raise ConfigError(f"no device simulator for {other}; there is: {', '.join(SIMULATORS)}")
    started = []
    with ExitStack() as undo:
        for transport in SIMULATORS:
            of_it = [name for name in names if transports[name] == transport]
            if of_it:
                served = load_simulator(transport)(cell, of_it, plant_of)
                undo.callback(served.close)
                started.append(served)
        undo.pop_all()
    return started


def load_simulator(transport: str) -> Serve:
    """The function that serves a transport. Raises ConfigError with those there are."""
    if transport not in SIMULATORS:
        raise ConfigError(f"no device simulator speaks {transport!r}; there is: {', '.join(SIMULATORS)}")
    module, _, function = SIMULATORS[transport].partition(":")
    return getattr(import_module(module), function)
