# SPDX-License-Identifier: Apache-2.0
"""The xArm driver: real SDK, simulated controller."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dex_arms.xarm import XArmDriver
from dex_arms.xarm_codes import ERROR_WORDS, error_in_words, return_in_words
from dex_core.config import load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController

ADDRESS = "127.0.54.20:25420"
INTERFACE = load_cell("xarm_bimanual").interface("left_arm")
HOME = np.array(INTERFACE.home)


@pytest.fixture
def sim() -> Iterator[XArmController]:
    with XArmController(KinematicPlant(INTERFACE.names, HOME), ADDRESS) as controller:
        yield controller


@pytest.fixture
def device(sim: XArmController) -> Iterator[XArmDriver]:
    driver = XArmDriver(INTERFACE, ADDRESS)
    yield driver
    driver.disconnect()


class TestContract(JointDeviceContract):
    @pytest.fixture
    def device(self, device: XArmDriver) -> XArmDriver:
        return device


def enabled(device: XArmDriver) -> XArmDriver:
    device.connect()
    device.enable()
    return device


def wait(predicate, seconds: float = 3.0) -> None:  # noqa: ANN001
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.01)


def test_the_process_keeps_its_socket_timeout_and_its_output(device: XArmDriver, capsys: pytest.CaptureFixture[str]) -> None:
    enabled(device).read()
    assert socket.getdefaulttimeout() is None
    device.disconnect()
    assert capsys.readouterr().out == ""


def test_first_target_must_start_from_measured(device: XArmDriver, sim: XArmController) -> None:
    enabled(device)
    with pytest.raises(LimitError, match="left_joint1 is 0.300 rad from measured; at most 0.25"):
        device.command(HOME + [0.3, 0, 0, 0, 0, 0, 0])
    assert sim.servo_statistics.received == 0
    device.command(HOME)


def test_velocity_is_measured(device: XArmDriver) -> None:
    enabled(device)
    for k in range(30):
        device.command(HOME + [0.01 * k, 0, 0, 0, 0, 0, 0])
        time.sleep(0.01)
    state = device.read()
    assert 0.3 < state.velocity_rad_s[0] < 2.0 and np.isfinite(state.effort).all()
    assert abs(state.stamp_ns - time.time_ns()) < 0.1e9


def test_a_pause_of_the_stream_is_made_good_without_tripping_the_controllers_speed_watch(device: XArmDriver, sim: XArmController) -> None:
    enabled(device)
    started_s = time.monotonic()
    for pause_s in [0.01] * 30 + [0.09] + [0.01] * 45:  # the stream's process was held up once, for less than its timeout
        due_s = time.monotonic() + pause_s
        wait(lambda due_s=due_s: time.monotonic() >= due_s)
        target = HOME.copy()
        target[6] += 2.0 * (time.monotonic() - started_s)
        sent = device.command(target)
        assert device.health().ok, device.health().text
    assert sim.servo_statistics.executed >= 70 and sent[6] == pytest.approx(target[6], abs=0.05)


@pytest.mark.parametrize("code", [23, 24, 31, 60])
def test_errors_come_in_words_and_are_recovered_without_motion(device: XArmDriver, sim: XArmController, code: int) -> None:
    enabled(device).command(HOME)
    sim.controller.inject_error(code)
    with pytest.raises(DeviceError, match=ERROR_WORDS[code]) as caught:
        device.command(HOME)
    assert caught.value.device_code == code
    assert not device.health().ok and ERROR_WORDS[code] in device.health().text
    with pytest.raises(DeviceError):
        device.command(HOME)  # stays so
    device.recover()
    assert device.health().ok and np.allclose(device.read().position_rad, HOME, atol=1e-3)
    device.command(HOME)


def test_an_error_is_noticed_by_reading_alone(device: XArmDriver, sim: XArmController) -> None:
    enabled(device)
    sim.controller.inject_error(31)
    with pytest.raises(DeviceError, match="collision"):
        device.read()
    device.read()  # the joints themselves are known


def test_a_stop_by_somebody_else_is_noticed(device: XArmDriver, sim: XArmController) -> None:
    enabled(device)
    other = XArmDriver(INTERFACE, ADDRESS)
    other.connect()
    other.disable()
    with pytest.raises(DeviceError, match="not ready") as caught:
        device.read()
    assert caught.value.code == "not_enabled"
    other.disconnect()


def test_a_pressed_emergency_stop_refuses_recovery(device: XArmDriver, sim: XArmController) -> None:
    enabled(device).command(HOME)
    sim.controller.press_emergency_stop()
    with pytest.raises(DeviceError, match="emergency stop"):
        device.command(HOME)
    with pytest.raises(DeviceError, match="not trusted"):
        device.read()
    with pytest.raises(DeviceError, match="emergency stop"):
        device.recover()
    sim.controller.release_emergency_stop()
    time.sleep(0.1)
    with pytest.raises(DeviceError):
        device.command(HOME)  # release alone brings nothing back
    device.recover()
    device.command(HOME)


def test_servo_errors_name_the_joint(device: XArmDriver, sim: XArmController) -> None:
    device.connect()
    sim.controller.inject_error(12, servo=2, servo_code=15)
    wait(lambda: device._report.newest.error == 12)
    with pytest.raises(DeviceError, match=r"servo error of joint 2; joint 2 code 15 \(overheated\)"):
        device.enable()


def test_a_cut_cable_raises_and_reconnects(device: XArmDriver, sim: XArmController) -> None:
    enabled(device).command(HOME)
    sim.drop_connections()
    with pytest.raises(ConnectionLostError):
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            device.read()
            time.sleep(0.01)
    assert device.health().code == "connection_lost"
    device.hold()  # must not raise: a lost controller holds by itself
    device.connect()
    device.enable()
    device.command(HOME)


def test_a_silent_controller_raises_within_the_deadline(device: XArmDriver, sim: XArmController) -> None:
    enabled(device).command(HOME)
    sim.set_silent(True)
    begin = time.monotonic()
    with pytest.raises(ConnectionLostError, match="no reply in time"):
        device.command(HOME)
    assert time.monotonic() - begin < 1.5


def test_nobody_there_and_somebody_else_there() -> None:
    with pytest.raises(ConnectionLostError, match="does not answer"):
        XArmDriver(INTERFACE, "127.0.54.21:25421").connect()
    with socket.create_server(("127.0.54.21", 25422)) as mute:
        mute.listen()
        begin = time.monotonic()
        with pytest.raises(ConnectionLostError):
            XArmDriver(INTERFACE, "127.0.54.21:25422").connect()
        assert time.monotonic() - begin < 3.0  # the SDK alone would try for minutes


def test_the_wrong_arm_is_refused(sim: XArmController) -> None:
    wanted = dataclasses.replace(INTERFACE, address=dataclasses.replace(INTERFACE.address, serial_number="XS1305B0000000"))
    with pytest.raises(DeviceError, match="serial number 'XS1305B2311L01'; the cell asks for 'XS1305B0000000'"):
        XArmDriver(wanted, ADDRESS).connect()


@pytest.mark.parametrize("address", ["", "robot.local", "127.0.0.11:x", "300.1.1.1"])
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="allowed: an IPv4 address"):
        XArmDriver(INTERFACE, address)


def test_health_has_temperatures(device: XArmDriver) -> None:
    health = enabled(device).health()
    assert health.ok and health.values["temperature_c"] == "34" and health.values["error_code"] == "0"


def test_words() -> None:
    assert error_in_words(99) == "xArm error 99: not in the table of codes"
    assert return_in_words(9) == "xArm return code 9: not ready to move"
    assert all(code in ERROR_WORDS for code in (1, 2, 3, *range(10, 20), 21, 22, 23, 24, 25, 31, 35, 60))
