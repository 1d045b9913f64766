# SPDX-License-Identifier: Apache-2.0
"""The cell at real time."""
from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DeviceError, DexError
from dex_sim.cell import SimCell


def cell_on(host: int, **robots: str) -> CellConfig:
    """The cell with its devices on loopback addresses of this test."""
    cell = load_cell("xarm_bimanual", **robots)
    simulated = {
        "left_arm": f"127.0.52.{host}:20052", "right_arm": f"127.0.52.{host + 1}:20052",
        "left_hand": f"127.0.52.{host}:20060", "right_hand": f"127.0.52.{host + 1}:20060",
    }
    interfaces = {
        name: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=simulated[name])) for name, i in cell.interfaces.items()
    }
    return dataclasses.replace(cell, interfaces=interfaces, sim=dataclasses.replace(cell.sim, state_server=f"127.0.52.{host}:0"))


def wait_until(condition, timeout_s: float = 5.0) -> None:  # noqa: ANN001
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_time_runs_like_the_wall_clock() -> None:
    with SimCell(cell_on(10), devices=False) as sim:
        wait_until(lambda: sim.pace().steps > 500)
        pace, state = sim.pace(), sim.newest()
        assert sim.running and sim.failure == ""
        assert 0 <= time.time_ns() - state.stamp_ns < 0.5e9
        assert pace.factor * (1.0 if not pace.dropped else 2.0) > 0.8
    assert not sim.running


def test_devices_move_the_world_and_a_reset_is_safe() -> None:
    with SimCell(cell_on(20)) as sim:
        home = np.array(sim.cell.interface("left_hand").home)
        sim.world.plant("left_hand").command(home + 0.3)
        wait_until(lambda: np.abs(sim.world.state("left_hand").position_rad[:4] - home[:4] - 0.3).max() < 0.05)
        epoch = sim.reset(9)
        assert epoch == sim.newest().epoch or wait_until(lambda: sim.newest().epoch == epoch) is None
        assert np.abs(sim.world.state("left_hand").position_rad - home).max() < 0.05
        assert sim.world.seed == 9 and not sim.judge().success


def test_hands_without_device_simulator_are_served_beside_those_that_have_one() -> None:
    cell = cell_on(70, left_hand="ability")
    hand = cell.interface("left_hand")
    hand = dataclasses.replace(hand, address=dataclasses.replace(hand.address, stand_in=True))
    cell = dataclasses.replace(cell, interfaces={**cell.interfaces, "left_hand": hand})
    with SimCell(cell) as sim:
        home = np.array(cell.interface("left_hand").home)
        assert {name: type(hand).__name__ for name, hand in sim.hands.items()} == {"left_hand": "SimulatedHand", "right_hand": "InspireHand"}
        sim.world.plant("left_hand").command(home + 0.2)
        wait_until(lambda: np.abs(sim.world.state("left_hand").position_rad - home - 0.2).max() < 0.05)
        sim.hands["left_hand"].inject_error(1)
        sim.reset(3)
        assert sim.hands["left_hand"]._error == 0 and np.abs(sim.world.state("left_hand").position_rad - home).max() < 0.05
    with SimCell(cell):
        pass  # every address is free again


def test_starting_twice_or_on_a_taken_address_is_refused() -> None:
    with SimCell(cell_on(30), devices=False) as sim:
        with pytest.raises(DexError, match="runs already"):
            sim.start()
    taken = cell_on(40)
    with SimCell(taken) as first, pytest.raises(DeviceError):
        second = SimCell(taken)
        try:
            second.start()
        finally:
            assert first.running and not second.running


def test_a_wire_without_simulator_is_named() -> None:
    cell = cell_on(50)
    hand = cell.interface("left_hand")
    hand = dataclasses.replace(hand, address=dataclasses.replace(hand.address, transport="modbus_rtu"))
    sim = SimCell(dataclasses.replace(cell, interfaces={**cell.interfaces, "left_hand": hand}))
    with pytest.raises(ConfigError, match="no device simulator for {'left_hand': 'modbus_rtu'}"):
        sim.start()
    assert not sim.running
