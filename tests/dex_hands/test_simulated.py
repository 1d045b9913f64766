# SPDX-License-Identifier: Apache-2.0
"""The simulated transport without ROS: every hand's driver against the simulation, and everything that can go wrong between them."""
from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.clock import NS
from dex_core.config import Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.limited import Limited
from dex_core.devices.simulated_wire import FRAME_BYTES, DeviceFault, Frame, FrameReader, Kind, Refusal, names_checksum
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, JointNameError, LimitError, NonFiniteError, ShapeError
from dex_hands.simulated import SimulatedDriver
from dex_ros.testing import wait_for
from dex_sim.plant import KinematicPlant
from dex_sim.simulated_hand import FAULTS, SimulatedHand
from dex_sim.xarm_controller_loop import SocketLoop

ADDRESS = "127.0.55.41:26041"
HANDS = ("ability", "dexh13", "leap", "xhand1")
TIMEOUT_S = 0.3


def interface_of(hand: str, side: str = "left") -> Interface:
    return load_cell("xarm_bimanual", **{f"{side}_hand": hand}).interface(f"{side}_hand")


def home_of(interface: Interface) -> np.ndarray:
    return np.array(interface.home)


@pytest.fixture
def loop() -> Iterator[SocketLoop]:
    loop = SocketLoop("test-hands", realtime=False)
    yield loop
    loop.stop()


class Rig:
    """One simulated hand at its home, and a driver for it."""

    def __init__(self, loop: SocketLoop, hand: str = "leap", silence_s: float = 0.25) -> None:
        self.interface, self.loop = interface_of(hand), loop
        self.plant = KinematicPlant(self.interface.names, self.interface.home, time_constant_s=0.005)
        self.hand = SimulatedHand(self.interface, self.plant, ADDRESS, loop, silence_s=silence_s)
        self.driver = SimulatedDriver(self.interface, ADDRESS, timeout_s=TIMEOUT_S)

    def ready(self) -> SimulatedDriver:
        self.driver.connect()
        self.driver.enable()
        return self.driver

    def close(self) -> None:
        self.driver.disconnect()
        self.hand.close()


@pytest.fixture
def rig(loop: SocketLoop) -> Iterator[Rig]:
    rig = Rig(loop)
    yield rig
    rig.close()


class TestContract(JointDeviceContract):
    """Every hand keeps the contract of all devices."""

    @pytest.fixture(params=HANDS)
    def device(self, request: pytest.FixtureRequest, loop: SocketLoop) -> Iterator[SimulatedDriver]:
        rig = Rig(loop, request.param)
        yield rig.driver
        rig.close()

    def direction(self, device: SimulatedDriver) -> np.ndarray:
        return np.where(device._upper + device._lower >= 2 * np.array(device.read().position_rad), 1.0, -1.0)


def test_position_velocity_and_effort_are_the_plants(rig: Rig) -> None:
    driver = rig.ready()
    target = home_of(rig.interface) + 0.05
    assert np.array_equal(driver.command(target), target)
    moving = driver.read()
    assert np.abs(moving.velocity_rad_s).max() > 0.0 and np.array_equal(moving.effort, np.zeros(16))
    wait_for(lambda: np.allclose(driver.read().position_rad, target, atol=1e-4), "the hand at its target")


def test_limits_hold_on_both_sides_of_the_wire(rig: Rig) -> None:
    driver = rig.ready()
    target = home_of(rig.interface)
    for bad, kind in ((99.0, LimitError), (-99.0, LimitError), (np.nan, NonFiniteError)):
        with pytest.raises(kind):
            driver.command(np.where(np.arange(16) == 3, bad, target))
    with pytest.raises(ShapeError):
        driver.command(target[:-1])
    requests = rig.hand.requests
    driver._lower, driver._upper = driver._lower - 100.0, driver._upper + 100.0
    with pytest.raises(DeviceError, match="out_of_limits"):
        driver.command(np.where(np.arange(16) == 3, 99.0, target))
    assert rig.hand.requests == requests + 1 and np.allclose(driver.read().position_rad, target)


@pytest.mark.parametrize(("side", "hand", "words"), [
    ("right", "leap", "'left_leap' answers; expected 'right_leap'"), ("left", "ability", "'left_leap' answers; expected 'left_ability'"),
])
def test_another_side_or_hand_is_refused_by_name(rig: Rig, side: str, hand: str, words: str) -> None:
    other = SimulatedDriver(interface_of(hand, side), ADDRESS, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match=words) as caught:
        other.connect()
    assert caught.value.code == "wrong_device" and not other.health().ok
    with pytest.raises(ConnectionLostError):
        other.read()
    rig.ready()  # the right one still may


def test_joints_in_another_order_are_refused(rig: Rig) -> None:
    rig.driver._joints = names_checksum(rig.interface.names[::-1])
    with pytest.raises(DeviceError, match="another order"):
        rig.driver.connect()
    with pytest.raises(JointNameError):
        SimulatedHand(rig.interface, KinematicPlant(rig.interface.names[::-1], rig.interface.home), ADDRESS, rig.loop)


def test_a_second_driver_waits_until_the_first_has_gone(rig: Rig) -> None:
    rig.ready()
    second = SimulatedDriver(rig.interface, ADDRESS, timeout_s=TIMEOUT_S)
    with pytest.raises(ConnectionLostError, match="somebody else"):
        second.connect()
    rig.driver.read()
    rig.driver.disconnect()

    def connects() -> bool:
        try:
            second.connect()
        except ConnectionLostError:
            return False
        return True

    wait_for(connects, "the hand to be free")
    second.disconnect()


def test_a_silent_driver_means_hold(loop: SocketLoop) -> None:
    rig = Rig(loop, silence_s=0.1)
    rig.plant._time_constant_s = 5.0  # still far from its target when the silence is noticed
    try:
        driver = rig.ready()
        driver.command(home_of(rig.interface) + 0.1)
        wait_for(lambda: rig.hand.holds == 1, "the hold")
        held = driver.read().position_rad
        assert np.abs(held - home_of(rig.interface)).max() < 0.05
        time.sleep(0.3)  # three silences long, in which nothing may happen: there is no event to wait for
        assert np.allclose(driver.read().position_rad, held, atol=1e-6) and rig.hand.holds == 1
        driver.command(home_of(rig.interface) + 0.1)  # the link is fine: a new target moves it
        assert np.abs(driver.read().velocity_rad_s).max() > 0.0
    finally:
        rig.close()


def test_reading_alone_is_no_silence(loop: SocketLoop) -> None:
    rig = Rig(loop, silence_s=0.1)
    try:
        driver = rig.ready()
        target = home_of(rig.interface) + 0.05
        driver.command(target)
        end_ns = time.monotonic_ns() + round(0.4 * NS)
        while time.monotonic_ns() < end_ns:
            driver.read()
            time.sleep(0.02)  # the pace of a driver that reads and commands nothing new
        assert rig.hand.holds == 0
    finally:
        rig.close()


def test_a_lost_driver_means_hold_and_targets_need_enable_again(rig: Rig) -> None:
    rig.plant._time_constant_s = 5.0
    driver = rig.ready()
    driver.command(home_of(rig.interface) + 0.1)
    driver.disconnect()
    wait_for(lambda: rig.hand.holds == 1, "the hold")
    driver.connect()
    with pytest.raises(DeviceError, match="not enabled"):
        driver.command(home_of(rig.interface))


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "none"])
def test_whatever_answers_suffer_is_a_lost_link_within_the_deadline_and_mends(rig: Rig, fault: str) -> None:
    driver = rig.ready()
    rig.hand.fault = fault
    start_ns = time.monotonic_ns()
    with pytest.raises(ConnectionLostError, match="did not answer READ within"):
        driver.read()
    assert (time.monotonic_ns() - start_ns) / NS < 5 * TIMEOUT_S
    health = driver.health()
    assert (health.ok, health.code) == (False, "connection_lost") and "READ" in health.text
    with pytest.raises(DeviceError):
        driver.command(home_of(rig.interface))
    rig.hand.fault = "none"
    driver.recover()
    assert driver.health().ok and np.allclose(driver.read().position_rad, rig.interface.home, atol=1e-6)


def test_garbage_from_a_driver_is_dropped_counted_and_told(rig: Rig) -> None:
    driver = rig.ready()
    wrong = bytearray(Frame(Kind.COMMAND, 1, "left_leap", 0, position_rad=(0.0,) * 16).pack())
    wrong[-1] ^= 1
    driver._socket.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(wrong) + bytes(wrong)[:200])
    assert np.allclose(driver.read().position_rad, rig.interface.home, atol=1e-6)
    assert rig.hand.dropped >= 3 and int(driver.health().values["malformed_sent"]) == rig.hand.dropped
    assert driver.health().values["malformed_received"] == "0"


def test_nothing_is_done_for_who_did_not_say_hello(rig: Rig) -> None:
    with socket.create_connection(("127.0.55.41", 26041), 2.0) as stranger:
        stranger.sendall(Frame(Kind.COMMAND, 5, rig.hand.who, names_checksum(rig.interface.names), position_rad=(0.1,) * 16).pack())
        stranger.settimeout(2.0)
        (answer,) = FrameReader().feed(receive(stranger))
        assert (answer.kind, answer.code, answer.sequence) == (Kind.REFUSED, Refusal.NOT_ENABLED, 5)
    assert np.allclose(rig.plant.read().position_rad, rig.interface.home)
    rig.ready()


def test_an_answer_sent_as_a_request_is_unknown(rig: Rig) -> None:
    driver = rig.ready()
    with pytest.raises(DeviceError, match="refused STATE: unknown"):
        driver._exchange(Kind.STATE)
    driver.read()


def receive(link: socket.socket) -> bytes:
    data = b""
    while len(data) < FRAME_BYTES:
        data += link.recv(FRAME_BYTES)
    return data


def test_an_error_holds_is_named_and_needs_recover(rig: Rig) -> None:
    driver = rig.ready()
    rig.hand.inject_error(DeviceFault.OVERLOAD | DeviceFault.MOTOR)
    with pytest.raises(DeviceError, match="overload, motor") as caught:
        driver.command(home_of(rig.interface) + 0.1)
    assert (caught.value.code, caught.value.device_code) == ("overload", 5)
    with pytest.raises(DeviceError, match="recover first"):
        driver.enable()
    driver.read()
    assert driver.health().code == "overload"
    driver.recover()
    assert driver.health().ok and np.allclose(driver.read().position_rad, rig.interface.home, atol=1e-6)
    rig.hand.inject_error(DeviceFault.OVER_TEMPERATURE, lasting=True)
    with pytest.raises(DeviceError, match="over_temperature"):
        driver.recover()
    rig.hand.reset()
    driver.recover()


def test_a_restarted_simulation_is_found_again_without_motion(rig: Rig) -> None:
    driver = rig.ready()
    rig.hand.close()
    with pytest.raises(ConnectionLostError):
        driver.read()
    with pytest.raises(ConnectionLostError, match="no simulated hand answers"):
        driver.connect()
    rig.hand = wait_for(lambda: served_again(rig), "the address to be free")
    driver.recover()
    assert np.allclose(driver.read().position_rad, rig.interface.home, atol=1e-6)


def served_again(rig: Rig) -> SimulatedHand | None:
    try:
        return SimulatedHand(rig.interface, rig.plant, ADDRESS, rig.loop)
    except DeviceError:
        return None


def test_the_second_wall_stands_before_it(rig: Rig) -> None:
    limited = Limited(rig.driver, rig.interface.limits)
    limited.connect()
    limited.enable()
    with pytest.raises(LimitError):
        limited.command(np.full(16, 50.0))
    assert limited.violations == 1 and limited.health().code == "limit"


@pytest.mark.parametrize("make", [
    lambda i: SimulatedDriver(i, "/dev/ttyUSB0"), lambda i: SimulatedDriver(i, ADDRESS, timeout_s=0.0),
    lambda i: SimulatedDriver(i, ADDRESS, timeout_s=1e3),
])
def test_wrong_words_are_refused_at_once(make) -> None:  # noqa: ANN001
    with pytest.raises(ConfigError, match="left_hand"):
        make(interface_of("leap"))
