# SPDX-License-Identifier: Apache-2.0
"""Inspire hands behind the G1's DDS service, on a desk: the contract, and two drivers that share one message of twelve."""
from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.config import Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.topic_link import DeskBus
from dex_core.devices.unitree_wire import HAND_CMD, HAND_STATE, pack_motors, unpack_motors
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_hands.inspire_dds import COMMANDS, READS, STATES, WRITES, InspireDdsDriver
from dex_ros.testing import wait_for
from dex_sim import inspire_dds as service_side
from dex_sim.inspire_dds import InspireService
from dex_sim.inspire_modbus_hand import InspireHand
from dex_sim.plant import KinematicPlant

CELL = load_cell("g1")
SIDES = ("right", "left")


def interface_of(side: str) -> Interface:
    return CELL.interface(f"{side}_hand")


class Rig:
    """Both hands half closed, their service, and a driver for each."""

    def __init__(self) -> None:
        self.bus = DeskBus()
        self.plants, hands, self.drivers = {}, {}, {}
        for side in SIDES:
            interface = interface_of(side)
            middle = [0.5 * (limit.lower_rad + limit.upper_rad) for limit in interface.limits]
            self.plants[side] = KinematicPlant(interface.names, middle, time_constant_s=0.005)
            hands[side] = InspireHand(interface, self.plants[side])
            self.drivers[side] = InspireDdsDriver(interface, self.bus.join(WRITES, READS), state_max_age_s=0.4)
        self.link = self.bus.join(service_side.WRITES, service_side.READS)
        self.link.open()
        self.service = InspireService(hands, self.link)
        self.service.start()

    def ready(self, side: str) -> InspireDdsDriver:
        driver = self.drivers[side]
        driver.connect()
        driver.enable()
        return driver

    def near(self, side: str, goal: np.ndarray) -> bool:
        return bool(np.abs(self.plants[side].read().position_rad - goal).max() < 0.02)

    def close(self) -> None:
        for driver in self.drivers.values():
            driver.disconnect()
        self.service.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


@pytest.mark.parametrize("side", SIDES)
class TestContract(JointDeviceContract):
    @pytest.fixture
    def device(self, rig: Rig, side: str) -> InspireDdsDriver:
        return rig.drivers[side]


def test_two_drivers_move_their_own_hand_and_leave_the_other(rig: Rig) -> None:
    drivers = {side: rig.ready(side) for side in SIDES}
    start = {side: np.array(drivers[side].read().position_rad) for side in SIDES}
    goals = {"right": start["right"] + 0.2, "left": start["left"] - 0.2}
    drivers["right"].command(goals["right"])
    wait_for(lambda: rig.near("right", goals["right"]), "the right hand", 3.0)
    assert rig.near("left", start["left"]), "nobody commanded it"
    drivers["left"].command(goals["left"])
    wait_for(lambda: rig.near("left", goals["left"]), "the left hand", 3.0)
    assert rig.near("right", goals["right"]), "the left driver repeats what the right one commanded"


def test_an_older_target_in_the_others_message_is_put_right_at_the_next_read(rig: Rig) -> None:
    driver = rig.ready("right")
    start = np.array(driver.read().position_rad)
    driver.command(start + 0.1)
    other = rig.bus.join(WRITES, ())
    other.open()
    late = np.zeros(12, HAND_CMD)
    late["q"] = 0.5  # what the right hand was at before, seen from a driver that has not heard of the new target yet
    other.publish(COMMANDS, pack_motors(late))

    def settled() -> bool:
        driver.read()
        return rig.near("right", start + 0.1)

    wait_for(settled, "the newer target", 3.0)
    commands = rig.service.commands
    driver.read()
    driver.read()
    time.sleep(0.05)
    assert rig.service.commands == commands, "said once, not again and again"


def test_the_order_of_the_twelve_is_unitrees(rig: Rig) -> None:
    left = rig.ready("left")
    wire = rig.bus.join((), (COMMANDS,))
    wire.open()
    here = np.array(left.read().position_rad)
    here[left.names.index("left_thumb_proximal_yaw_joint")] = interface_of("left").limits[5].lower_rad
    left.command(here)
    q = unpack_motors(wire.take(COMMANDS)[-1].data, HAND_CMD, 12)["q"]
    assert q[11] == pytest.approx(1.0) and q[6:11] == pytest.approx(0.5, abs=0.01) and q[:6] == pytest.approx(0.5, abs=0.01)


def test_a_hand_whose_serial_line_is_pulled_out_is_lost_and_the_other_is_not(rig: Rig) -> None:
    right, left = rig.ready("right"), rig.ready("left")
    rig.service.unplugged.add("right")
    with pytest.raises(ConnectionLostError, match="no new angles for .* frames of its serial line"):
        wait_for(lambda: right.read() is None, "the loss", 3.0)
    assert right.health().code == "connection_lost" and left.read() is not None and left.health().ok
    rig.service.unplugged.clear()
    right.recover()
    assert right.health().ok


def test_a_silent_service_is_a_lost_link(rig: Rig) -> None:
    driver = rig.ready("right")
    rig.service.silent = True
    with pytest.raises(ConnectionLostError):
        wait_for(lambda: driver.read() is None, "the loss", 3.0)
    with pytest.raises(DeviceError):
        driver.command(np.zeros(6))


def test_angles_that_cannot_be_are_refused(rig: Rig) -> None:
    driver = rig.ready("right")
    rig.service.silent = True
    states = np.zeros(12, HAND_STATE)
    states["q"] = 1.5
    rig.link.publish(STATES, pack_motors(states))
    with pytest.raises(DeviceError, match=r"the service reports 1.500; allowed 0 to 1"):
        driver.read()


def test_a_target_outside_the_limits_is_refused(rig: Rig) -> None:
    driver = rig.ready("right")
    with pytest.raises(LimitError, match="right_pinky_proximal_joint commanded to 2.0000 rad"):
        driver.command(np.array([2.0, *driver.read().position_rad[1:]]))


def test_the_service_ignores_what_is_no_command(rig: Rig) -> None:
    other = rig.bus.join(WRITES, ())
    other.open()
    bad = np.zeros(12, HAND_CMD)
    bad["q"] = math.nan
    before = rig.plants["left"].read().position_rad
    for data in (pack_motors(bad), pack_motors(np.zeros(6, HAND_CMD)), b"\0\1\0\0"):
        other.publish(COMMANDS, data)
    wait_for(lambda: rig.service.refused == 3, "three refusals", 3.0)
    assert rig.service.commands == 0 and np.array_equal(rig.plants["left"].read().position_rad, before)


def test_no_service_is_told(rig: Rig) -> None:
    driver = InspireDdsDriver(interface_of("left"), DeskBus().join(WRITES, READS))
    with pytest.raises(ConnectionLostError, match="no state within 3 s"):
        driver.connect()


def test_a_hand_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no hardware map of six joints"):
        InspireDdsDriver(load_cell("g1", hand="leap").interface("left_hand"), DeskBus().join(WRITES, READS))
