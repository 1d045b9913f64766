# SPDX-License-Identifier: Apache-2.0
"""The far end of the simulated DexH13 SDK: homing, errors, no watchdog, and the MuJoCo cell behind its driver."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.config import Interface, load_cell
from dex_core.errors import ConfigError
from dex_hands.dexh13 import DexH13Driver
from dex_hands.dexh13_simulated import ControlMode, DexH13Control
from dex_ros.testing import wait_for
from dex_sim.cell import SimCell
from dex_sim.dexh13 import DexH13Hand
from dex_sim.fault_device import hooks_of
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop

ADDRESS = "127.0.55.63:26063"


def interface_of(side: str = "right") -> Interface:
    return load_cell("xarm_bimanual", hand="dexh13").interface(f"{side}_hand")


@pytest.fixture
def hand() -> Iterator[DexH13Hand]:
    interface, loop = interface_of(), SocketLoop("test-dexh13", realtime=False)
    hand = DexH13Hand(interface, KinematicPlant(interface.names, interface.home, time_constant_s=0.3), ADDRESS, loop)
    yield hand
    hand.close()
    loop.stop()


@pytest.fixture
def control(hand: DexH13Hand) -> Iterator[DexH13Control]:
    control = DexH13Control()
    assert control.activeHandy(ADDRESS, "none") == 2, "a right hand"
    control.setMotorControlMode(ControlMode.POSITION_CONTROL_MODE)
    yield control
    control.disconnectHandy()


def test_a_client_that_goes_leaves_the_hand_on_its_way(hand: DexH13Hand, control: DexH13Control) -> None:
    assert control.enableMotor() and control.setJointPositionsRadian([0.3, 1.0, 1.0, 0.0] * 3 + [0.3, 1.0, 1.0, 1.0])
    control.disconnectHandy()
    wait_for(lambda: hand._plant.read().position_rad[1] > 0.9, "the last target, as no watchdog is known")


def test_homing_is_needed_after_power_on_and_moves(hand: DexH13Hand, control: DexH13Control) -> None:
    hand.power_cycle()
    assert not hand.homed and not control.enableMotor()
    assert control.initMotorPosition() and hand.homed
    assert max(map(abs, control.getJointPositionsRadian())) < 0.05
    assert control.enableMotor()


def test_errors_are_told_by_motor_and_name(hand: DexH13Hand, control: DexH13Control) -> None:
    hand.inject_fault(10, "FOC_ERR")
    (fault,) = control.getFaultCode()
    assert (fault.finger_name, fault.motor_ID, fault.error_code.name) == ("thumb", 10, "FOC_ERR")
    assert not control.enableMotor() and control.clearFaultCode() and not control.isFault() and control.enableMotor()
    hand.inject_error(1)  # what any hand of this transport can suffer
    assert [fault.error_code.name for fault in control.getFaultCode()] == ["OVER_IQ"]
    for motor, error in ((0, "FOC_ERR"), (14, "FOC_ERR"), (1, "SAD")):
        with pytest.raises(ConfigError, match="motors 1 to 13"):
            hand.inject_fault(motor, error)


def test_fault_words(hand: DexH13Hand, control: DexH13Control) -> None:
    hooks = hooks_of(hand)
    hooks["wrong"](0.0)
    assert control.isFault()
    hooks["off"](0.0)
    assert not control.isConnectHandy()
    hooks["ok"](0.0)
    assert control.activeHandy(ADDRESS, "none") == 2


def test_a_second_client_is_refused_while_the_first_is_there(hand: DexH13Hand, control: DexH13Control) -> None:
    with pytest.raises(RuntimeError, match="'right_dexh13' at .* refuses: busy"):
        DexH13Control().activeHandy(ADDRESS, "none")
    assert control.isConnectHandy()


def test_driver_sdk_and_physics_follow_a_motion() -> None:
    cell = load_cell("xarm_bimanual", left_hand="dexh13", right_hand="dexh13")
    addresses = {
        "left_arm": "127.0.53.21:20053", "right_arm": "127.0.53.22:20053", "left_hand": "127.0.53.23:26001", "right_hand": "127.0.53.24:26001",
    }
    interfaces = {n: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=addresses[n])) for n, i in cell.interfaces.items()}
    cell = dataclasses.replace(cell, interfaces=interfaces, sim=dataclasses.replace(cell.sim, state_server="127.0.53.25:0"))
    with SimCell(cell) as sim:
        interface = cell.interface("left_hand")
        driver = DexH13Driver(interface, cell.address_of("left_hand"), timeout_s=2.0)
        try:
            assert {type(h).__name__ for h in sim.hands.values()} == {"DexH13Hand"}
            driver.connect()
            driver.enable()
            start = np.array(driver.read().position_rad)
            assert np.abs(start - np.array(interface.home)).max() < 0.1, "nothing moved"
            goal = np.array(interface.home) + np.array([0.1, 0.5, 0.5] * 3 + [0.1, 0.3, 0.3, 0.3])
            for part in np.linspace(0.05, 1.0, 20):
                driver.command(start + part * (goal - start))
                driver.read()
                time.sleep(0.02)
            wait_for(lambda: np.abs(driver.read().position_rad - goal).max() < 0.05, "the hand", 10.0)
            assert np.abs(sim.world.state("left_hand").position_rad - goal).max() < 0.06 and driver.health().ok
            sim.reset(3)
            assert np.abs(driver.read().position_rad - np.array(interface.home)).max() < 0.1
        finally:
            driver.disconnect()
