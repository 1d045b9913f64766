# SPDX-License-Identifier: Apache-2.0
"""The Franka driver: the vendor's library in its process, the simulated controller in another."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from dex_arms.franka import FrankaDriver
from dex_arms.franka_codes import ERROR_WORDS, MODE_WORDS
from dex_arms.franka_probe import parse_model, probe
from dex_arms.franka_shared import MODES, Act, Report, SharedMemory, Target
from dex_core.config import load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_sim.franka import FrankaArm
from dex_sim.franka_model import FrankaModel
from dex_sim.franka_wire import ERRORS
from dex_sim.plant import KinematicPlant

ADDRESS = "127.0.54.30"
INTERFACE = load_cell("franka").interface("right_arm")
HOME = np.array(INTERFACE.home)


PLANT = KinematicPlant(INTERFACE.names, HOME, time_constant_s=0.005)


@pytest.fixture(scope="module")
def module_sim() -> Iterator[FrankaArm]:
    with FrankaArm(PLANT, ADDRESS) as arm:
        yield arm


@pytest.fixture
def sim(module_sim: FrankaArm) -> FrankaArm:
    module_sim.fault_hooks()["ok"](0.0)
    module_sim.press_user_stop(False)
    module_sim.guide(False)
    module_sim.set_version(10)
    wait(lambda: not module_sim.facts()["connected"])
    wait(lambda: at_home(module_sim))
    return module_sim


def at_home(arm: FrankaArm) -> bool:
    """Puts the joints there by hand; the simulated controller may just be telling them to stay."""
    PLANT.command(HOME)
    time.sleep(0.05)
    arm.relocated()
    return bool(np.abs(np.array(arm.facts()["desired_rad"]) - HOME).max() < 1e-3)


@pytest.fixture
def device(sim: FrankaArm) -> Iterator[FrankaDriver]:
    driver = FrankaDriver(INTERFACE, ADDRESS)
    yield driver
    driver.disconnect()


class TestContract(JointDeviceContract):
    reach_timeout_s = 5.0

    @pytest.fixture
    def device(self, device: FrankaDriver) -> FrankaDriver:
        return device


def enabled(device: FrankaDriver) -> FrankaDriver:
    device.connect()
    device.enable()
    return device


def wait(predicate: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.01)


def stopped(device: FrankaDriver, seconds: float = 3.0) -> DeviceError:
    """The error with which ``read`` tells that the arm has stopped following."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            device.read()
        except DeviceError as error:
            return error
        time.sleep(0.005)
    raise AssertionError("the driver did not notice")


def worker(device: FrankaDriver) -> int:
    return device._process.pid  # type: ignore[union-attr]


def test_a_reflex_is_told_in_words_and_needs_recover(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.reflex("cartesian_reflex")
    error = stopped(device)
    assert "cartesian_reflex" in str(error) and ERROR_WORDS["cartesian_reflex"] in str(error)
    assert error.device_code == MODES.index("Reflex")
    health = device.health()
    assert not health.ok and health.code == "device_error" and "cartesian_reflex" in health.text and health.values["mode"] == "Reflex"
    with pytest.raises(DeviceError, match="not enabled"):
        device.command(HOME)
    with pytest.raises(DeviceError, match="reflex"):
        device.enable()
    before = device.read().position_rad
    device.recover()
    assert np.abs(device.read().position_rad - before).max() < 0.002 and device.health().ok


def test_a_push_beyond_the_configured_threshold_stops_and_one_below_does_not(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.push([30.0] * 4 + [20.0] * 3)
    wait(lambda: device.health().values["external_torque_nm"].startswith("30"))
    device.read()
    sim.push([41.0] + [0.0] * 6)
    assert "joint_reflex" in str(stopped(device))
    sim.push([0.0] * 7)
    device.recover()


def test_the_user_stop_stops_and_nothing_enables_until_it_is_released(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.press_user_stop(True)
    assert "User Stop" in str(stopped(device))
    for call in (device.enable, device.recover):
        with pytest.raises(DeviceError):
            call()
    sim.press_user_stop(False)
    wait(lambda: device.health().values["mode"] == "Idle")
    device.enable()


def test_a_guided_arm_is_not_enabled(sim: FrankaArm, device: FrankaDriver) -> None:
    device.connect()
    sim.guide(True)
    wait(lambda: device.health().values["mode"] == "Guiding")
    assert device.health().text == MODE_WORDS["Guiding"]
    with pytest.raises(DeviceError, match="enabling button"):
        device.enable()


def test_a_first_target_far_away_is_refused_and_a_stream_may_go_there(device: FrankaDriver) -> None:
    enabled(device)
    far = HOME + np.array([0.3, 0, 0, 0, 0, 0, 0])
    with pytest.raises(LimitError, match="right_fr3_joint1"):
        device.command(far)
    device.command(HOME)
    device.command(far)


def test_when_targets_end_the_arm_brakes_and_stays_enabled(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    for k in range(30):
        device.command(HOME + 0.004 * k)
        time.sleep(0.01)
    wait(lambda: np.abs(device.read().velocity_rad_s).max() < 1e-3)
    assert device.health().ok and np.abs(device.read().position_rad - HOME).max() < 0.004 * 30 + 0.005
    peaks = np.array(sim.facts()["peaks"])
    assert peaks[1].max() <= 10.0 and peaks[2].max() <= 5000.0


def test_a_lost_link_is_told_and_a_new_connect_does_not_move(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.drop_connections()
    error = stopped(device)
    assert isinstance(error, ConnectionLostError)
    assert device.health().code == "connection_lost"
    with pytest.raises(ConnectionLostError):
        device.command(HOME)
    device.connect()
    assert np.abs(device.read().position_rad - HOME).max() < 0.002
    with pytest.raises(DeviceError, match="not enabled"):
        device.command(HOME)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_is_a_lost_link_and_the_robot_stops(sim: FrankaArm, device: FrankaDriver, death: int) -> None:
    enabled(device)
    os.kill(worker(device), death)
    assert isinstance(stopped(device), ConnectionLostError)
    wait(lambda: sim.facts()["mode"] != "MOVE")
    device.disconnect()
    device.connect()


def test_a_silent_robot_is_a_lost_link_before_the_library_notices(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.set_silent(True)
    began = time.monotonic()
    error = stopped(device)
    assert isinstance(error, ConnectionLostError) and "no state for" in str(error)
    assert time.monotonic() - began < 0.9  # the library waits for a second


def test_states_out_of_order_are_sorted_and_the_arm_goes_on(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.shuffle_states(True)
    for k in range(20):
        device.command(HOME + 0.001 * k)
        time.sleep(0.01)
    wait(lambda: np.abs(device.read().position_rad - HOME - 0.019).max() < 0.003)


def test_joints_that_are_no_numbers_are_never_passed_on(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    sim.set_garbage(True)
    assert stopped(device).code == "non_finite"
    with pytest.raises(DeviceError):
        device.command(HOME)


def test_nineteen_lost_commands_are_bridged_and_twenty_are_a_reflex(sim: FrankaArm, device: FrankaDriver) -> None:
    enabled(device)
    for k in range(10):
        device.command(HOME + 0.003 * k)
        time.sleep(0.01)
    sim.lose_commands(8)
    device.command(HOME + 0.03)
    time.sleep(0.1)
    device.read()
    sim.lose_commands(100)
    assert "communication_constraints_violation" in str(stopped(device))


@pytest.mark.parametrize("version", [5, 9, 11])
def test_another_protocol_version_is_refused_by_name(sim: FrankaArm, device: FrankaDriver, version: int) -> None:
    sim.set_version(version)
    with pytest.raises(DeviceError, match=f"version {version} .* library 10") as refused:
        device.connect()
    assert refused.value.code == "wrong_device" and refused.value.device_code == version


def test_fci_that_is_off_is_told(sim: FrankaArm, device: FrankaDriver) -> None:
    sim.set_listening(False)
    with pytest.raises(DeviceError, match="FCI enabled in Desk"):
        device.connect()


def test_another_robot_is_refused(sim: FrankaArm) -> None:
    panda = load_cell("franka", arm="panda").interface("right_arm")
    with pytest.raises(DeviceError, match="calls itself 'fr3'; the cell asks for a panda") as refused:
        FrankaDriver(panda, ADDRESS).connect()
    assert refused.value.code == "wrong_device"
    assert probe(ADDRESS).name == "fr3"


@pytest.mark.parametrize("model", [
    "", "<robot/>", "<robot name='tmr'><joint name='joint1'/></robot>", FrankaModel("fr3").urdf.replace("joint7", "joint8"),
])
def test_a_model_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(DeviceError) as refused:
        parse_model(model, "test")
    assert refused.value.code == "wrong_device"


def test_an_address_and_an_identity_that_cannot_be_are_refused() -> None:
    for address in ("franka.local", "127.0.0.1:1337", ""):
        with pytest.raises(ConfigError, match="IPv4"):
            FrankaDriver(INTERFACE, address)
    numbered = dataclasses.replace(INTERFACE, address=dataclasses.replace(INTERFACE.address, serial_number="295341-1234567"))
    with pytest.raises(ConfigError, match="serial number"):
        FrankaDriver(numbered, ADDRESS)


def test_every_error_of_the_interface_has_words() -> None:
    assert set(ERROR_WORDS) == set(ERRORS) and set(MODE_WORDS) == set(MODES)


def test_shared_memory_gives_the_newest_whole_report_or_none() -> None:
    shared = SharedMemory()
    try:
        assert shared.report() is None and shared.target() is None
        for number in (1, 2, 3):
            shared.write_target(Target(number, Act.FOLLOW, np.full(7, number / 10)))
            rows = [tuple(np.full(7, number + i)) for i in range(5)]
            shared.write_report(Report(number, 2, 3, "Reflex", True, False, "why" * number, 0.5, 4, number, *rows))
            target, report = shared.target(), shared.report()
            assert target is not None and (target.number, target.act, target.position_rad[6]) == (number, Act.FOLLOW, number / 10)
            assert report is not None and (report.alive_ns, report.mode, report.fault) == (number, "Reflex", "why" * number)
            assert report.external_nm[0] == number + 4
        place = 8 + (3 & 1) * 1536 + 20
        shared._memory[place] ^= 1  # a write that another core sees half done
        assert shared.report() is None
    finally:
        shared.close()
