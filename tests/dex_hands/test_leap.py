# SPDX-License-Identifier: Apache-2.0
"""The LEAP driver against simulated servos on a pseudo-terminal."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dex_core.config import Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.joint_device import JointDevice
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, DexError, LimitError, NonFiniteError
from dex_hands import leap_port
from dex_hands.leap import LeapDriver
from dex_hands.leap_bus import ServoBus
from dex_hands.leap_identity import assign_side
from dex_hands.leap_joints import JointMap
from dex_hands.leap_registers import MOTION, error_code, error_words
from dex_ros.testing import wait_for
from dex_sim.dynamixel import DynamixelHand
from dex_sim.dynamixel_modes import POSITION, TRIPPED
from dex_sim.dynamixel_motor import XL330_M288
from dex_sim.dynamixel_servo import ELECTRICAL_SHOCK, ENCODER, INPUT_VOLTAGE, OVERHEATING, OVERLOAD
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop

START_RAD = 0.1


@pytest.fixture(scope="module")
def right() -> Interface:
    return load_cell("xarm_bimanual", hand="leap").interface("right_hand")


@pytest.fixture(scope="module")
def left() -> Interface:
    return load_cell("xarm_bimanual", hand="leap").interface("left_hand")


@pytest.fixture(scope="module")
def loop() -> Iterator[SocketLoop]:
    loop = SocketLoop("leap-test")
    yield loop
    loop.stop()


def plant_of(interface: Interface, lag_s: float = 0.01) -> KinematicPlant:
    return KinematicPlant(interface.names, np.full(16, START_RAD), time_constant_s=lag_s)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "right_leap")


@pytest.fixture
def hand(right: Interface, path: str, loop: SocketLoop) -> Iterator[DynamixelHand]:
    hand = DynamixelHand(right, plant_of(right), path, loop)
    yield hand
    hand.close()


@pytest.fixture
def driver(right: Interface, hand: DynamixelHand) -> Iterator[LeapDriver]:
    """Connected and enabled, standing at START_RAD."""
    driver = LeapDriver(right, hand.path)
    driver.connect()
    driver.enable()
    yield driver
    driver.disconnect()


def positions(driver: LeapDriver) -> np.ndarray:
    return driver.read().position_rad


def stream(driver: LeapDriver, goal: np.ndarray, seconds: float = 0.3) -> None:
    """Says ``goal`` again and again, as the cell does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        driver.command(goal)
        driver.read()


class TestContract(JointDeviceContract):
    @pytest.fixture
    def device(self, right: Interface, hand: DynamixelHand) -> Iterator[LeapDriver]:
        driver = LeapDriver(right, hand.path)
        yield driver
        driver.disconnect()


# --- life ----------------------------------------------------------------------------------------------------------------
def test_enable_sets_what_leap_sets_and_moves_nothing(right: Interface, hand: DynamixelHand, loop: SocketLoop) -> None:
    def neglect() -> None:
        for name in hand.names:
            table = hand.servo(name).table
            table.set("operating_mode", POSITION)
            table.set("goal_position", 3000)  # far from where it is: torque alone would make it jump

    loop.call_and_wait(neglect)
    driver = LeapDriver(right, hand.path)
    driver.connect()
    before = positions(driver)
    driver.enable()
    assert np.abs(positions(driver) - before).max() <= driver.resolution_rad.max()
    for name in hand.names:
        get = hand.servo(name).table.get
        part = 0.75 if name in ("right_0", "right_4", "right_8") else 1.0
        gains = (get("position_p_gain"), get("position_i_gain"), get("position_d_gain"))
        assert gains == (600 * part, 0, 200 * part)
        assert (get("operating_mode"), get("goal_current"), get("torque_enable"), get("bus_watchdog")) == (5, 550, 1, 15)
    driver.disconnect()


def test_the_lite_hand_gets_less_current_and_a_current_above_the_limit_is_refused(right: Interface, path: str, loop: SocketLoop) -> None:
    hand = DynamixelHand(right, plant_of(right), path, loop, kind=XL330_M288)
    driver = LeapDriver(right, path)
    driver.connect()
    driver.enable()
    assert hand.servo("right_3").table.get("goal_current") == 350
    assert driver.health().values["model"] == "XL330-M288"
    driver.disconnect()
    with pytest.raises(ConfigError, match="3000 mA; allowed 1 to 2352"):
        LeapDriver(right, path, current_ma=3000).connect()
    hand.close()


def test_it_is_a_joint_device_that_reads_all_servos_in_one_packet(driver: LeapDriver, hand: DynamixelHand) -> None:
    assert isinstance(driver, JointDevice) and driver.names[0] == "right_0" and len(driver.names) == 16
    driver.read()
    before = hand.requests
    state = driver.read()
    assert hand.requests - before == 1 and driver.health().values["read"] == "fast"
    assert np.isnan(state.effort).all() and abs(time.time_ns() - state.stamp_ns) < 1e9
    assert driver.currents().shape == (16,)


def test_servos_that_know_no_fast_read_are_read_one_after_the_other(right: Interface, hand: DynamixelHand) -> None:
    hand.line.knows_fast = False
    driver = LeapDriver(right, hand.path)
    driver.connect()
    driver.enable()
    stream(driver, np.full(16, 0.15), 0.2)
    assert driver.health().values["read"] == "plain" and driver.health().values["repeated_reads"] == "1"
    driver.disconnect()


def test_the_line_belongs_to_one_process(driver: LeapDriver, right: Interface, hand: DynamixelHand) -> None:
    with pytest.raises(ConnectionLostError, match="nobody else"):
        LeapDriver(right, hand.path).connect()
    driver.read()


# --- motion --------------------------------------------------------------------------------------------------------------
def test_commands_reach_the_joints_and_say_what_was_sent(driver: LeapDriver, right: Interface) -> None:
    lower = np.array([limit.lower_rad for limit in right.limits])
    upper = np.array([limit.upper_rad for limit in right.limits])
    for target in (lower, upper, 0.5 * (lower + upper)):
        sent = driver.command(target)
        assert np.all(np.abs(sent - target) <= 0.5 * driver.resolution_rad + 1e-9)
        wait_for(lambda goal=sent: np.allclose(positions(driver), goal, atol=0.01), "the hand", 3.0)


def test_both_hands_take_their_own_limits(left: Interface, right: Interface) -> None:
    """The thumb's first joints bend to the other side on the left hand."""
    thumb = right.names.index("right_12")
    target = np.zeros(16)
    target[thumb] = 1.5
    JointMap(right).target(target, "right")
    with pytest.raises(LimitError, match="left_12"):
        JointMap(left).target(target, "left")
    assert JointMap(left).target(-target, "left")[thumb] == 4096 - JointMap(right).target(target, "right")[thumb]


def test_velocity_is_measured(right: Interface, path: str, loop: SocketLoop) -> None:
    hand = DynamixelHand(right, plant_of(right, lag_s=0.2), path, loop)
    driver = LeapDriver(right, path)
    driver.connect()
    driver.enable()
    goal = np.full(16, START_RAD)
    goal[2] = 1.0
    driver.command(goal)
    wait_for(lambda: 1.0 < driver.read().velocity_rad_s[2] < 6.0, "a moving finger")
    assert abs(driver.read().velocity_rad_s[3]) < 0.05
    driver.disconnect()
    hand.close()


@pytest.mark.parametrize(("change", "error"), [((3, 3.0), LimitError), ((3, np.nan), NonFiniteError)])
def test_bad_targets_are_refused_and_nothing_is_sent(
    driver: LeapDriver, hand: DynamixelHand, change: tuple[int, float], error: type[DexError],
) -> None:
    target = np.full(16, START_RAD)
    target[change[0]] = change[1]
    before = hand.requests
    with pytest.raises(error, match="right_3" if error is LimitError else "command"):
        driver.command(target)
    assert hand.requests == before


# --- the host dies -------------------------------------------------------------------------------------------------------
def test_the_hand_stops_by_itself_when_the_host_falls_silent(right: Interface, path: str, loop: SocketLoop) -> None:
    plant = plant_of(right, lag_s=1.0)
    hand = DynamixelHand(right, plant, path, loop)
    driver = LeapDriver(right, path, watchdog_s=0.1)
    driver.connect()
    driver.enable()
    stream(driver, np.full(16, 1.0), 0.05)
    wait_for(lambda: hand.servo("right_7").table.get("bus_watchdog") == TRIPPED, "the watchdog")
    stopped = plant.read().position_rad
    assert 0.1 < stopped[7] < 0.5, "it was on its way"
    time.sleep(0.2)
    assert np.abs(plant.read().position_rad - stopped).max() < 0.03

    with pytest.raises(DexError, match="has stopped and holds") as raised:
        driver.command(np.full(16, 1.0))
    assert raised.value.code == "watchdog" and not isinstance(raised.value, DeviceError)
    assert driver.health().ok and driver.health().values["watchdog_stops"] == "1"
    assert np.abs(positions(driver) - stopped).max() < 0.05, "it holds"
    stream(driver, positions(driver) + 0.1, 0.1)
    driver.disconnect()
    hand.close()


def test_a_hand_at_rest_does_not_mind_silence(driver: LeapDriver, hand: DynamixelHand) -> None:
    wait_for(lambda: hand.servo("right_0").table.get("bus_watchdog") == TRIPPED, "the watchdog")
    goal = positions(driver) + 0.1
    stream(driver, goal)
    assert np.allclose(positions(driver), goal, atol=0.01) and driver.health().values["watchdog_stops"] == "0"


# --- faults of servos ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bits", "code", "word"),
    [
        (OVERLOAD, "overload", "overload"), (OVERHEATING, "over_temperature", "over-temperature"),
        (ELECTRICAL_SHOCK, "motor_fault", "electrical shock"),
    ],
)
def test_a_servo_that_shuts_down_is_named_and_comes_back_without_motion(
    driver: LeapDriver, hand: DynamixelHand, bits: int, code: str, word: str,
) -> None:
    stream(driver, np.full(16, 0.2))
    hand.inject_error("right_9", bits)
    with pytest.raises(DeviceError, match=f"right_9 {word}") as raised:
        driver.read()
    assert (raised.value.code, raised.value.device_code) == (code, bits)
    health = driver.health()
    assert (health.ok, health.code, health.values["right_9.error_code"]) == (False, code, f"{bits:#04x}")
    with pytest.raises(DeviceError):
        driver.command(np.full(16, 0.2))
    assert not hand.servo("right_9").torque
    driver.hold()
    before = positions(driver)
    driver.recover()
    assert np.abs(positions(driver) - before).max() <= 2 * driver.resolution_rad.max()
    assert driver.health().ok and hand.servo("right_9").torque and hand.servo("right_9").table.get("position_p_gain") == 600


def test_an_error_that_is_no_shutdown_is_told_too(driver: LeapDriver, hand: DynamixelHand) -> None:
    hand.inject_error("right_2", INPUT_VOLTAGE | ENCODER)
    with pytest.raises(DeviceError, match="right_2 encoder fault and input voltage"):
        driver.read()
    assert driver.health().code == "motor_fault"


def test_a_hot_servo_must_cool_first(driver: LeapDriver, hand: DynamixelHand) -> None:
    hand.set_temperature("right_5", 75.0)

    def told() -> bool:
        try:
            driver.read()
        except DeviceError as error:
            return error.code == "over_temperature"
        return False

    wait_for(told, "the shutdown")
    with pytest.raises(DeviceError, match=r"right_5 has 75 C; it must cool below 70 C") as raised:
        driver.recover()
    assert raised.value.code == "over_temperature"
    hand.set_temperature("right_5", 50.0)
    driver.recover()
    assert driver.health().ok and driver.health().values["right_5.temperature_c"] == "50"


def test_a_dead_servo_is_named_and_the_others_hold(driver: LeapDriver, hand: DynamixelHand) -> None:
    stream(driver, np.full(16, 0.3))
    hand.break_servo("right_6")
    with pytest.raises(DeviceError, match=r"servo of right_6 \(id 6\)") as raised:
        driver.read()
    assert raised.value.code == "servo_silent" and not isinstance(raised.value, ConnectionLostError)
    assert driver.health().code == "servo_silent"
    driver.hold()
    others = [hand.servo(name) for name in hand.names if name != "right_6"]
    assert all(abs(servo.table.get("goal_position") - servo.present_position) <= 2 for servo in others)
    with pytest.raises(DeviceError, match="right_6"):
        driver.recover()
    hand.break_servo("right_6", broken=False)
    driver.recover()
    assert driver.health().ok


def test_a_servo_that_was_restarted_behind_our_back_is_found(driver: LeapDriver, hand: DynamixelHand, loop: SocketLoop) -> None:
    """A dip of the supply: no alert, but torque, gains and current are lost."""
    stream(driver, np.full(16, 0.3), 0.1)
    loop.call_and_wait(lambda: hand.servo("right_1")._power_on())

    def found() -> bool:
        try:
            driver.read()
        except DeviceError as error:
            return error.code == "torque_lost" and "right_1" in str(error)
        return False

    wait_for(found, "the loss of torque")
    driver.recover()
    assert hand.servo("right_1").table.get("goal_current") == 550


def test_a_setting_that_got_lost_on_the_wire_is_found(driver: LeapDriver, hand: DynamixelHand) -> None:
    write = driver._bus.write
    driver._bus.write = lambda register, values: None if register.address == 102 else write(register, values)  # type: ignore[method-assign]
    hand.reset()
    driver._bus.reboot(4)
    wait_for(lambda: driver._bus.answers(4), "the restarted servo")
    with pytest.raises(DeviceError, match=r"servo of right_4 has 30 09 at 102 after 26 02 was written") as raised:
        driver.enable()
    assert raised.value.code == "settings_refused"


# --- faults of the line --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["silent", "truncated", "garbage", "slow"])
def test_no_bad_reply_becomes_a_state_and_nothing_resumes_by_itself(driver: LeapDriver, hand: DynamixelHand, fault: str) -> None:
    stream(driver, np.full(16, 0.2))
    hand.set_fault(fault)
    begin = time.monotonic()
    with pytest.raises(DeviceError) as raised:
        driver.read()
    assert time.monotonic() - begin < 4.0
    assert raised.value.code in ("connection_lost", "servo_silent") and driver.health().code == raised.value.code
    with pytest.raises(DeviceError):
        driver.command(np.full(16, 0.2))
    hand.set_fault("none")
    wait_for(lambda: _recovers(driver), "the link")
    assert driver.health().ok and np.allclose(positions(driver), 0.2, atol=0.05)


def _recovers(driver: LeapDriver) -> bool:
    try:
        driver.recover()
    except DeviceError:
        return False
    return True


def test_a_pulled_cable_and_its_return(driver: LeapDriver, hand: DynamixelHand) -> None:
    stream(driver, np.full(16, 0.2))
    hand.unplug()
    with pytest.raises(ConnectionLostError, match="unplugged"):
        driver.read()
    assert driver.health().code == "connection_lost"
    with pytest.raises(ConnectionLostError, match="cannot be opened"):
        driver.recover()
    with pytest.raises(DeviceError, match="not enabled"):
        driver.command(np.full(16, 0.2))
    hand.replug()
    driver.recover()
    assert driver.health().ok and np.allclose(positions(driver), 0.2, atol=0.05)


def test_a_hand_that_comes_back_elsewhere_is_not_searched_for(right: Interface, tmp_path: Path, loop: SocketLoop) -> None:
    """As /dev/ttyUSB0 that becomes ttyUSB1; an address by id is a link, which follows it."""
    port, by_id = tmp_path / "ttyUSB0", tmp_path / "by-id"
    by_id.symlink_to(port)
    hand = DynamixelHand(right, plant_of(right), str(port), loop)
    plain, linked = LeapDriver(right, str(port)), LeapDriver(right, str(by_id))
    plain.connect()
    plain.disconnect()
    linked.connect()
    hand.close()
    again = DynamixelHand(right, plant_of(right), str(tmp_path / "ttyUSB1"), loop)
    with pytest.raises(ConnectionLostError):
        linked.read()
    with pytest.raises(ConnectionLostError):
        plain.connect()
    by_id.unlink()
    by_id.symlink_to(tmp_path / "ttyUSB1")
    linked.recover()
    assert linked.health().ok
    linked.disconnect()
    again.close()


# --- which hand is it ----------------------------------------------------------------------------------------------------
def test_the_other_hand_is_refused(right: Interface, left: Interface, hand: DynamixelHand) -> None:
    with pytest.raises(DeviceError, match=r"belongs to the right hand \(secondary id 201\); the left hand has 202") as raised:
        LeapDriver(left, hand.path).connect()
    assert raised.value.code == "wrong_device"


def test_a_new_hand_is_told_its_side_once(right: Interface, left: Interface, path: str, loop: SocketLoop) -> None:
    hand = DynamixelHand(left, plant_of(left), path, loop, group=255)
    with pytest.raises(DeviceError, match="does not say its side.*assign_side"):
        LeapDriver(left, path).connect()
    assign_side(left, path)
    driver = LeapDriver(left, path)
    driver.connect()
    driver.disconnect()
    with pytest.raises(DeviceError, match="left hand"):
        LeapDriver(right, path).connect()
    hand.close()


def _number(hand: DynamixelHand, loop: SocketLoop, joint: str, register: str, value: int) -> None:
    loop.call_and_wait(lambda: hand.servo(joint).table.set(register, value))


@pytest.mark.parametrize(
    ("joint", "register", "value", "code", "words"),
    [
        ("right_15", "id", 20, "wrong_device", r"right_15 \(id 15\); with ids that no joint has: \[20\]"),
        ("right_0", "model_number", 1020, "wrong_device", r"models \[1020, 1240\]"),
        ("right_3", "secondary_id", 202, "wrong_device", "servo of right_3 belongs to the left hand"),
        ("right_3", "drive_mode", 1, "servo_setup", "right_3 counts the other way"),
    ],
)
def test_a_servo_that_does_not_belong_there_is_named(
    right: Interface, hand: DynamixelHand, loop: SocketLoop, joint: str, register: str, value: int, code: str, words: str,
) -> None:
    _number(hand, loop, joint, register, value)
    with pytest.raises(DeviceError, match=words) as raised:
        LeapDriver(right, hand.path).connect()
    assert raised.value.code == code


def test_one_missing_servo_is_silent_and_a_chain_of_four_is_another_device(right: Interface, hand: DynamixelHand) -> None:
    driver = LeapDriver(right, hand.path)
    hand.break_servo("right_11")
    with pytest.raises(DeviceError, match=r"missing: right_11 \(id 11\)") as raised:
        driver.connect()
    assert raised.value.code == "servo_silent"
    for name in hand.names[4:]:
        hand.break_servo(name)
    with pytest.raises(DeviceError, match="right_4") as raised:
        driver.connect()
    assert raised.value.code == "wrong_device"


def test_a_servo_far_outside_its_range_is_implausible(driver: LeapDriver, hand: DynamixelHand, loop: SocketLoop) -> None:
    _number(hand, loop, "right_8", "homing_offset", 4096)
    with pytest.raises(DeviceError, match="right_8: the servo reports") as raised:
        driver.read()
    assert raised.value.code == "implausible"


# --- arguments, words, junk ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("address", "kwargs", "words"),
    [("1.2.3.4:5", {}, "not the path"), ("/dev/x", {"timeout_s": 0.0}, "timeout_s"), ("/dev/x", {"watchdog_s": 3.0}, "watchdog_s")],
)
def test_arguments_are_checked(right: Interface, address: str, kwargs: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LeapDriver(right, address, **kwargs)


def test_a_robot_without_a_map_and_a_baud_the_sdk_lacks_are_refused(right: Interface) -> None:
    with pytest.raises(ConfigError, match="hardware map"):
        LeapDriver(dataclasses.replace(right, robot=dataclasses.replace(right.robot, hardware=None)), "/dev/x")
    with pytest.raises(ConfigError, match="baud 12345"):
        LeapDriver(dataclasses.replace(right, address=dataclasses.replace(right.address, baud=12345)), "/dev/x")


def test_errors_in_words() -> None:
    assert error_words(0x24) == "over-temperature and overload (hardware error 0x24)" and error_code(0x24) == "over_temperature"
    assert "unknown error" in error_words(0x40) and error_code(0x40) == "device_error"


class _Junk:
    """A serial line that brings given bytes, then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, length: int) -> bytes:
        piece, self._data = self._data[:length], self._data[length:]
        return piece

    def write(self, data: bytes) -> int:
        return len(data)

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        b"\xff\xff\xfd\x00", b"\xff\xff\xfd\x00\xfe\xe1\x00\x55", b"\xff\xff\xfd\x00\x01\x0e\x00\x55\x00", b"\xff\xff\xfd\xfd", b"\xff" * 9,
    ]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_PIECES, max_size=8))
def test_any_bytes_end_in_a_device_error_and_never_in_a_state(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(leap_port, "BROADCAST_PING_MS", 1.0)
    monkeypatch.setattr(leap_port.select, "select", lambda r, w, x, s: (r, w, x))
    bus = ServoBus("/dev/none", 4_000_000, {0: "a", 1: "b"}, 0.02, "hand")
    bus._port.ser, bus._port.is_open, bus._port.tx_time_per_byte = _Junk(b"".join(pieces)), True, 0.0
    bus._port._reply_ms = 1.0
    with pytest.raises(DeviceError):
        bus.read(MOTION)
