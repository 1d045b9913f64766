# SPDX-License-Identifier: Apache-2.0
"""A LEAP hand of the simulated cell: its driver on one side of the serial line, MuJoCo behind the servos on the other. No ROS."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.devices.limited import Limited
from dex_core.devices.registry import load_driver
from dex_hands.leap import LeapDriver
from dex_ros.testing import wait_for
from dex_sim.cell import SimCell
from dex_sim.dynamixel import DynamixelHand

NAME = "left_hand"


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimCell]:
    cell = load_cell("xarm_bimanual", left_hand="leap")
    addresses = {
        "left_arm": "127.0.52.211:20052", "right_arm": "127.0.52.212:20052", NAME: str(tmp_path / "left_leap"), "right_hand": "127.0.52.212:20060",
    }
    interfaces = {
        name: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=addresses[name])) for name, i in cell.interfaces.items()
    }
    with SimCell(dataclasses.replace(cell, interfaces=interfaces, sim=dataclasses.replace(cell.sim, state_server="127.0.52.211:0"))) as sim:
        yield sim


@pytest.fixture
def driver(sim: SimCell) -> Iterator[Limited]:
    interface = sim.cell.interface(NAME)
    assert load_driver("hand", sim.cell.driver_of(NAME)) is LeapDriver
    driver = Limited(LeapDriver(interface, sim.cell.address_of(NAME)), interface.limits)
    driver.connect()
    driver.enable()
    yield driver
    driver.disconnect()


def test_the_hand_in_the_world_follows_its_driver(sim: SimCell, driver: Limited) -> None:
    home = np.array(sim.cell.interface(NAME).home)
    assert np.abs(sim.world.state(NAME).position_rad - home).max() < 0.01, "limp or held, it stood at home"
    bend = 0.3 * np.sign([0.5 * (limit.lower_rad + limit.upper_rad) or 1.0 for limit in sim.cell.interface(NAME).limits])
    for part in np.linspace(0.0, 1.0, 40):
        driver.command(home + part * bend)
        driver.read()
        time.sleep(0.01)
    wait_for(lambda: np.abs(driver.read().position_rad - home - bend).max() < 0.02, "the hand")
    assert np.abs(sim.world.state(NAME).position_rad - home - bend).max() < 0.02
    assert driver.health().ok


def test_a_reset_of_the_scene_leaves_it_held_at_home(sim: SimCell, driver: Limited) -> None:
    home = np.array(sim.cell.interface(NAME).home)
    driver.command(home + 0.2)
    wait_for(lambda: np.abs(driver.read().position_rad - home - 0.2).max() < 0.03, "the hand")
    sim.reset(3)
    assert np.abs(driver.read().position_rad - home).max() < 0.02
    hand = sim.hands[NAME]
    assert isinstance(hand, DynamixelHand) and all(hand.servo(name).torque for name in hand.names)
    time.sleep(0.1)
    assert np.abs(driver.read().position_rad - home).max() < 0.02
    driver.command(home + 0.05)
