# SPDX-License-Identifier: Apache-2.0
"""Simulators are found by what the wire speaks, and started all together or not at all."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_sim.devices import SIMULATORS, load_simulator, serve_devices
from dex_sim.plant import KinematicPlant


def cell_at(network: str) -> CellConfig:
    """Each device at a host of its own: an arm has report ports beside the one that is named."""
    cell = load_cell("xarm_bimanual")
    interfaces = {
        name: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=f"{network}.{host}:20111"))
        for host, (name, i) in enumerate(cell.interfaces.items(), start=1)
    }
    return dataclasses.replace(cell, interfaces=interfaces)


def plant_of(cell: CellConfig):  # noqa: ANN201
    return lambda name: KinematicPlant(cell.interface(name).names, cell.interface(name).home)


@pytest.mark.parametrize("transport", sorted(SIMULATORS))
def test_every_simulator_can_be_loaded(transport: str) -> None:
    assert callable(load_simulator(transport))


def test_an_unknown_wire_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'carrier_pigeon'.*xarm_tcp"):
        load_simulator("carrier_pigeon")


def test_all_devices_start_and_end() -> None:
    cell = cell_at("127.0.77")
    served = serve_devices(cell, list(cell.interfaces), plant_of(cell))
    assert {name for part in served for name in part.devices} == set(cell.interfaces)
    assert sum(len(part.resets) for part in served) == 4
    for part in served:
        part.close()
    for again in serve_devices(cell, list(cell.interfaces), plant_of(cell)):  # every port is free again
        again.close()


def test_one_that_cannot_start_ends_the_others() -> None:
    cell = cell_at("127.0.78")
    with socket.create_server(("127.0.78.4", 20111)):
        with pytest.raises(DeviceError):
            serve_devices(cell, list(cell.interfaces), plant_of(cell))
    for part in serve_devices(cell, list(cell.interfaces), plant_of(cell)):
        part.close()
