# SPDX-License-Identifier: Apache-2.0
"""The DexH13 driver in front of the simulated SDK: contract, faults in words, homing, and what happens to the SDK's process."""
from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.config import Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError, NonFiniteError
from dex_hands.dexh13 import PADS, DexH13Driver, slot_of
from dex_hands.dexh13_faults import Fault
from dex_hands.dexh13_simulated import ControlMode, Dex13MotorSpeed, DexH13Control, ErrorCode, FingerAngle
from dex_ros.testing import wait_for
from dex_sim.dexh13 import ERRORS, DexH13Hand
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop

ADDRESS = "127.0.55.61:26061"
TIMEOUT_S = 2.0


def interface_of(side: str = "left", hand: str = "dexh13") -> Interface:
    return load_cell("xarm_bimanual", hand=hand).interface(f"{side}_hand")


class Rig:
    """One simulated hand at its home, and a driver for it."""

    def __init__(self, hand: str = "dexh13") -> None:
        self.interface = interface_of(hand=hand)
        self.loop = SocketLoop("test-dexh13", realtime=False)
        self.plant = KinematicPlant(self.interface.names, self.interface.home, time_constant_s=0.005)
        self.hand = DexH13Hand(self.interface, self.plant, ADDRESS, self.loop)
        self.driver = DexH13Driver(self.interface, ADDRESS, timeout_s=TIMEOUT_S)

    def ready(self) -> DexH13Driver:
        self.driver.connect()
        self.driver.enable()
        return self.driver

    def close(self) -> None:
        self.driver.disconnect()
        self.hand.close()
        self.loop.stop()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


class TestContract(JointDeviceContract):
    """Both generations keep the contract of all devices."""

    @pytest.fixture(params=["dexh13", "dexh13_gen1"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[DexH13Driver]:
        rig = Rig(request.param)
        yield rig.driver
        rig.close()


def test_joints_go_to_their_place_in_the_sdks_list() -> None:
    assert [slot_of(j) for j in interface_of().robot.actuated] == [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15]
    assert [slot_of(j) for j in interface_of(hand="dexh13_gen1").robot.actuated] == list(range(16))
    with pytest.raises(ConfigError, match="'pinky_joint_0' is none of a DexH13"):
        slot_of("pinky_joint_0")


def test_each_joint_moves_alone_and_by_its_name(rig: Rig) -> None:
    driver = rig.ready()
    home = np.array(rig.interface.home)
    for i in range(len(home)):
        target = home + 0.1 * (np.arange(len(home)) == i)
        driver.hold()  # the next target is sent at once
        driver.command(target)
        wait_for(lambda target=target: np.allclose(rig.plant.read().position_rad, target, atol=1e-3), rig.interface.names[i])
        assert np.allclose(driver.read().position_rad, target, atol=2e-3)


@pytest.mark.parametrize(("bad", "kind"), [(99.0, LimitError), (-99.0, LimitError), (np.nan, NonFiniteError)])
def test_nothing_outside_the_limits_is_sent(rig: Rig, bad: float, kind: type[Exception]) -> None:
    driver = rig.ready()
    with pytest.raises(kind):
        driver.command(np.where(np.arange(13) == 3, bad, rig.interface.home))
    assert np.allclose(rig.plant.read().position_rad, rig.interface.home, atol=1e-3)


def test_the_other_side_is_refused(rig: Rig) -> None:
    wrong = DexH13Driver(interface_of("right"), ADDRESS, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match="right_hand at .*: a left hand answers; swap the addresses") as caught:
        wrong.connect()
    assert caught.value.code == "wrong_device" and not wrong.worker.running and not wrong.health().ok
    rig.ready()


def test_the_sdk_is_found_by_the_address_or_by_name(rig: Rig) -> None:
    real = DexH13Driver(rig.interface, "/dev/ttyUSB0")
    with pytest.raises(ConfigError, match="No module named 'pxdex'; install Paxini's wheel .* DEX_PXDEX_PYTHON"):
        real.connect()
    assert real.health().values["transport"] == "pxdex.dh13" and not real.worker.running
    named = DexH13Driver(rig.interface, ADDRESS, timeout_s=TIMEOUT_S, module="dex_hands.dexh13_simulated")
    named.connect()
    named.disconnect()


def test_nobody_there_is_a_lost_link() -> None:
    driver = DexH13Driver(interface_of(), "127.0.55.62:26062", timeout_s=TIMEOUT_S)
    with pytest.raises(ConnectionLostError, match="left_hand: no hand at 127.0.55.62:26062"):
        driver.connect()
    assert not driver.worker.running


@pytest.mark.parametrize(("motor", "error", "reason", "words"), [
    (4, "OVER_TEMPERATURE", "over_temperature", r"motor 4 \(middleFinger\): over-temperature \(OVER_TEMPERATURE\)"),
    (13, "OVER_CURRENTU", "overload", r"motor 13 \(thumb\): over-current in phase U"), (1, "ABZ_ERR", "motor_fault", "encoder error"),
    (7, "DISCONNECT", "device_error", r"motor 7 \(ringFinger\): motor board does not answer"),
])
def test_an_error_is_told_in_words_and_stops_commands(rig: Rig, motor: int, error: str, reason: str, words: str) -> None:
    driver = rig.ready()
    rig.hand.inject_fault(motor, error, lasting=True)
    wait_for(lambda: driver.read() is not None and not driver.health().ok, "the error")
    assert (driver.health().code, driver.health().values["error_code"]) == (reason, error)
    with pytest.raises(DeviceError, match=words) as caught:
        driver.command(np.array(rig.interface.home))
    assert (caught.value.code, caught.value.device_code) == (reason, motor)
    with pytest.raises(DeviceError, match="clearFaultCode was refused"):
        driver.recover()
    rig.hand.reset()
    driver.recover()
    assert driver.health().ok


def test_every_error_of_the_sdk_has_words() -> None:
    assert tuple(code.name for code in ErrorCode) == ERRORS
    assert not [name for name in ERRORS if "unknown" in Fault("thumb", 13, name).words]
    assert "unknown error (NEW)" in Fault("", 0, "NEW").words and Fault("", 0, "NEW").reason == "motor_fault"


def test_a_hand_that_lost_its_power_must_be_homed_and_says_so(rig: Rig) -> None:
    driver = rig.ready()
    rig.hand.power_cycle()
    for _ in range(2):
        with pytest.raises(DeviceError):
            driver.recover()
    with pytest.raises(DeviceError, match="enableMotor was refused|homed"):
        driver.recover()
    driver.calibrate()
    assert np.abs(driver.read().position_rad).max() < 0.05, "homing moves to the open end"
    driver.recover()
    assert driver.health().ok


def test_touch_is_told_pad_by_pad_and_zeroed(rig: Rig) -> None:
    assert rig.driver.touch() == {}
    driver = rig.ready()
    assert tuple(driver.touch()) == PADS and all(force.shape == (3,) for force in driver.touch().values()) and driver.touch_unit == "N"
    driver.zero_touch()


# -- what happens to the SDK's process ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT])
def test_a_process_that_dies_or_hangs_is_a_lost_link_in_time_and_comes_back(blow: signal.Signals) -> None:
    rig = Rig()
    rig.driver = driver = DexH13Driver(rig.interface, ADDRESS, timeout_s=0.5)
    try:
        rig.ready()
        pid = driver.worker.pid
        assert pid is not None
        os.kill(pid, blow)
        begin_s = time.monotonic()
        with pytest.raises(ConnectionLostError, match="left_hand"):
            driver.read()
        assert time.monotonic() - begin_s < 10.0
        assert driver.health().code == "connection_lost" and "left_hand" in driver.health().text
        with pytest.raises(DeviceError, match="not enabled"):
            driver.command(np.array(rig.interface.home))
        with pytest.raises(ConnectionLostError):
            driver.hold()
        before = rig.plant.read().position_rad
        wait_for(lambda: recovers(driver), "the hand to be free again")
        assert driver.health().ok and np.allclose(rig.plant.read().position_rad, before, atol=1e-3)
    finally:
        rig.close()


def recovers(driver: DexH13Driver) -> bool:
    try:
        driver.recover()
    except ConnectionLostError:
        return False
    return True


@pytest.mark.parametrize("fault", ["silent", "truncated", "garbage", "other_sequence"])
def test_a_hand_that_does_not_answer_is_a_lost_link(rig: Rig, fault: str) -> None:
    driver = rig.ready()
    rig.hand.fault = fault
    with pytest.raises(ConnectionLostError, match="left_hand"):
        driver.read()
    rig.hand.fault = "none"
    wait_for(lambda: recovers(driver), "the hand to be free again")


def test_a_stopped_process_never_holds_up_disconnect(rig: Rig) -> None:
    driver = rig.ready()
    pid = driver.worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    driver.disconnect()
    assert not driver.worker.running and not os.path.exists(f"/proc/{pid}")


# -- the simulated SDK itself --------------------------------------------------------------------------------------------------
def test_the_sdk_refuses_what_the_real_one_needs_first(rig: Rig) -> None:
    control = DexH13Control()
    with pytest.raises(RuntimeError, match="no hand is connected"):
        control.getJointPositionsRadian()
    assert not control.isConnectHandy() and not control.enableMotor() and not control.disconnectHandy()
    assert control.activeHandy(ADDRESS, "none") == 1
    assert not control.enableMotor(), "the mode comes first"
    assert not control.setMotorControlMode(ControlMode.SPEED_CONTROL_MODE) and control.setMotorControlMode(ControlMode.POSITION_CONTROL_MODE)
    assert not control.setJointPositionsRadian([0.0] * 16), "the motors are off"
    assert control.enableMotor() and control.isMotorEnabled()
    assert not control.setMotorControlMode(ControlMode.POSITION_CONTROL_MODE), "motors are on"
    assert not control.setJointPositionsRadian([0.0] * 13) and not control.setMotorTargetSpeed(Dex13MotorSpeed())
    assert not control.setJointPositionsAngle([FingerAngle(0.0, 120.0)] * 4), "outside the limits"
    assert control.setJointPositionsAngle([FingerAngle(10.0, 50.0, 40.0, 40.0)] * 4)
    wait_for(lambda: abs(control.getJointPositionsAngle()[3].joint2 - 50.0) < 0.1, "the thumb")
    assert [round(finger.joint4) for finger in control.getJointPositionsAngle()] == [40, 40, 40, 40]
    assert len(control.getFingerTactile()) == 11 and not control.isFault() and control.getFaultCode() == []
    assert control.disableMotor() and control.disconnectHandy() and not control.isConnectHandy()


def test_a_unit_that_the_hand_does_not_count_in_is_named(rig: Rig) -> None:
    robot = dataclasses.replace(rig.interface.robot, hardware_unit="turns")
    with pytest.raises(ConfigError, match="hardware_unit is 'turns'; a DexH13 counts in deg or rad"):
        DexH13Driver(dataclasses.replace(rig.interface, robot=robot), ADDRESS)
