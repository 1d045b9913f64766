# SPDX-License-Identifier: Apache-2.0
"""The Inspire driver against the simulated hand, over TCP and over serial lines, by Modbus and by the vendor's own frame."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dex_core.config import CellConfig, Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.devices.joint_device import JointDevice
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError, NonFiniteError
from dex_hands.inspire import InspireDriver
from dex_hands.inspire_identity import assign_side
from dex_hands.inspire_native import AnswerReader, frame
from dex_hands.inspire_status import HEALTH_BLOCK, HandStatus
from dex_hands.inspire_touch import BLOCKS, TouchReader
from dex_ros.testing import wait_for
from dex_sim.inspire_modbus import InspireBus
from dex_sim.inspire_modbus_hand import MOTOR, OVER_CURRENT, OVER_TEMPERATURE, STALL, InspireHand
from dex_sim.inspire_modbus_map import RegisterError
from dex_sim.inspire_native import NativePort
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop

TCP = "127.0.55.22:26001"
RIGHT = "right_hand"


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def right(cell: CellConfig) -> Interface:
    return cell.interface(RIGHT)


def make_hand(interface: Interface, start_rad: float = 0.3, **kwargs: int) -> InspireHand:
    return InspireHand(interface, KinematicPlant(interface.names, np.full(6, start_rad), time_constant_s=0.005), **kwargs)


@pytest.fixture
def bus() -> Iterator[InspireBus]:
    with InspireBus() as bus:
        yield bus


@pytest.fixture
def hand(bus: InspireBus, right: Interface) -> InspireHand:
    hand = make_hand(right)
    bus.serve_tcp(hand, TCP)
    return hand


@pytest.fixture
def native(hand: InspireHand, tmp_path: Path) -> Iterator[NativePort]:
    loop = SocketLoop("inspire-test")
    port = NativePort([hand], str(tmp_path / "hand"), loop)
    yield port
    port.close()
    loop.stop()


def on_native(interface: Interface, **changes: object) -> Interface:
    return dataclasses.replace(interface, address=dataclasses.replace(interface.address, transport="inspire_rs485", **changes))


@pytest.fixture(params=["tcp", "rtu", "native"])
def driver(request: pytest.FixtureRequest, bus: InspireBus, hand: InspireHand, right: Interface) -> Iterator[InspireDriver]:
    """An enabled driver of a right hand at 0.3 rad."""
    if request.param == "native":
        driver = InspireDriver(on_native(right), str(request.getfixturevalue("native").port.path))
    else:
        driver = InspireDriver(right, TCP if request.param == "tcp" else bus.serve_rtu(hand))
    driver.connect()
    driver.enable()
    yield driver
    driver.disconnect()


def positions(driver: InspireDriver) -> np.ndarray:
    return driver.read().position_rad


def reaches(driver: InspireDriver, target: np.ndarray, timeout_s: float = 3.0) -> None:
    wait_for(lambda: np.allclose(positions(driver), target, atol=0.01), "the hand", timeout_s)


def test_it_is_a_joint_device_with_prefixed_names(driver: InspireDriver) -> None:
    assert isinstance(driver, JointDevice)
    assert driver.names[0] == "right_pinky_proximal_joint" and driver.names[5] == "right_thumb_proximal_yaw_joint"


def test_connect_and_enable_move_nothing(driver: InspireDriver) -> None:
    state = driver.read()
    assert np.allclose(state.position_rad, 0.3, atol=driver.resolution_rad.max())
    assert np.isnan(state.effort).all() and abs(time.time_ns() - state.stamp_ns) < 1e9
    assert driver.health().ok and "estimated" in driver.health().values["velocity"]


def test_commands_reach_the_joints_and_say_what_was_sent(driver: InspireDriver, right: Interface) -> None:
    lower = np.array([limit.lower_rad for limit in right.limits])
    upper = np.array([limit.upper_rad for limit in right.limits])
    for target in (upper, lower, 0.5 * (lower + upper)):
        sent = driver.command(target)
        assert np.all(np.abs(sent - target) <= 0.5 * driver.resolution_rad + 1e-9)
        reaches(driver, sent)


def test_velocity_is_estimated_while_a_finger_moves(driver: InspireDriver) -> None:
    driver.command(np.array([1.4, 0.3, 0.3, 0.3, 0.3, 0.3]))
    time.sleep(0.1)
    for _ in range(10):
        state = driver.read()
        time.sleep(0.01)
    assert 1.0 < state.velocity_rad_s[0] < 3.0
    assert abs(state.velocity_rad_s[1]) < 0.1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_every_target_is_sent_within_half_a_count(right: Interface, fraction: list[float]) -> None:
    driver = InspireDriver(right, TCP)
    driver._enabled = True
    written: list[list[int]] = []
    driver._exchange = lambda call, address, values: written.append(values)  # type: ignore[method-assign, assignment]
    lower, upper = driver._lower, driver._upper
    target = lower + np.array(fraction) * (upper - lower)
    sent = driver.command(target)
    assert np.all(np.abs(sent - target) <= 0.5 * driver.resolution_rad + 1e-12)
    assert all(0 <= count <= 1000 for count in written[0])


def test_only_changes_are_written(bus: InspireBus, driver: InspireDriver, hand: InspireHand) -> None:
    target = np.full(6, 0.31)
    driver.command(target)
    time.sleep(0.03)
    hand.write_words(1486, [500] * 6)  # somebody else's targets: seen when a finger is left alone
    driver.command(target + 1e-5)
    assert hand.read_words(1486, 6) == [500] * 6
    target[2] = 0.5
    driver.command(target)
    assert hand.read_words(1486, 6) == [500, 500, 660, 500, 500, 500]


def test_a_fast_stream_is_thinned_and_its_last_target_is_not_lost(bus: InspireBus, driver: InspireDriver, hand: InspireHand) -> None:
    targets = np.linspace(0.3, 0.4, 50)
    writes: list[list[int]] = []
    write_words = hand.write_words
    hand.write_words = lambda address, words: (writes.append(words), write_words(address, words))[1]  # type: ignore[method-assign, func-returns-value]
    start = time.monotonic()
    for value in targets:
        driver.command(np.full(6, value))
        time.sleep(0.002)
    assert 2 <= len(writes) <= (time.monotonic() - start) / 0.018 + 2
    driver.read()
    reaches(driver, np.full(6, 0.4))


def test_the_first_target_after_a_hold_is_sent_whole(driver: InspireDriver, hand: InspireHand) -> None:
    driver.command(np.full(6, 0.3))
    driver.hold()
    hand.write_words(1486, [700] * 6)
    driver.command(np.full(6, 0.3))
    assert all(abs(a - 700) > 20 for a in hand.read_words(1486, 6))


@pytest.mark.parametrize("bad, error", [(np.nan, NonFiniteError), (np.inf, NonFiniteError), (1.6, LimitError), (-0.1, LimitError)])
def test_bad_commands_send_nothing(driver: InspireDriver, hand: InspireHand, bad: float, error: type[Exception]) -> None:
    before = hand.read_words(1486, 6)
    target = np.full(6, 0.3)
    target[3] = bad
    with pytest.raises(error):
        driver.command(target)
    assert hand.read_words(1486, 6) == before


def test_no_command_before_enable(right: Interface, hand: InspireHand) -> None:
    driver = InspireDriver(right, TCP)
    with pytest.raises(ConnectionLostError, match="connect first"):
        driver.read()
    assert driver.health().code == "connection_lost"
    driver.connect()
    with pytest.raises(DeviceError) as caught:
        driver.command(np.full(6, 0.3))
    assert caught.value.code == "not_enabled" and driver.health().code == "not_enabled"
    driver.disconnect()
    driver.disconnect()


def test_hold_stops_at_the_measured_angles_and_does_not_creep(driver: InspireDriver, hand: InspireHand) -> None:
    driver.command(np.array([1.4, 1.4, 1.4, 1.4, 0.3, 0.3]))
    time.sleep(0.15)
    driver.hold()
    held = hand.read_words(1486, 6)
    assert 50 < held[0] < 790
    time.sleep(0.1)
    assert np.allclose(hand.read_words(1546, 6), held, atol=60)
    hand._plant.command(np.full(6, 0.1))  # pushed away
    time.sleep(0.05)
    driver.hold()
    assert hand.read_words(1486, 6) == held
    driver.disable()


def test_swapped_sides_are_refused(cell: CellConfig, bus: InspireBus) -> None:
    left = cell.interface("left_hand")
    bus.serve_tcp(make_hand(left), "127.0.55.23:26001")
    driver = InspireDriver(cell.interface(RIGHT), "127.0.55.23:26001")
    with pytest.raises(DeviceError, match="HAND_ID is 2, which is the left hand") as caught:
        driver.connect()
    assert caught.value.code == "wrong_device"
    assert driver.health().code == "connection_lost"


def test_a_new_hand_gets_its_side_once(cell: CellConfig, bus: InspireBus) -> None:
    left = cell.interface("left_hand")
    address = "127.0.55.24:26001"
    bus.serve_tcp(make_hand(left, hand_id=1), address)
    driver = InspireDriver(left, address)
    with pytest.raises(DeviceError, match="assign_side"):
        driver.connect()
    assign_side(left, address)
    driver.connect()
    driver.disconnect()


@pytest.mark.parametrize(
    "bits, code, word", [(STALL, "overload", "stall"), (OVER_CURRENT, "overload", "over-current"), (MOTOR, "motor_fault", "motor abnormal")]
)
def test_errors_stop_commands_until_recover(driver: InspireDriver, hand: InspireHand, bits: int, code: str, word: str) -> None:
    driver.command(np.array([0.3, 1.4, 0.3, 0.3, 0.3, 0.3]))
    hand.inject_error("ring", bits)
    wait_for(lambda: driver.read() and not driver.health().ok, "the error", 2.0)
    assert driver.health().code == code and f"right_ring_proximal_joint {word}" in driver.health().text
    with pytest.raises(DeviceError, match="recover first") as caught:
        driver.command(np.full(6, 0.3))
    assert caught.value.device_code == bits
    before = positions(driver)
    driver.recover()
    time.sleep(0.1)
    assert np.allclose(positions(driver), before, atol=0.01), "recover moved the hand"
    assert driver.health().ok
    reaches(driver, driver.command(np.full(6, 0.3)))


def test_over_temperature_persists_until_it_cooled(driver: InspireDriver, hand: InspireHand) -> None:
    hand.set_temperature("middle", 80.0)
    with pytest.raises(DeviceError, match="over-temperature") as caught:
        driver.recover()
    assert caught.value.code == "over_temperature" and caught.value.device_code == OVER_TEMPERATURE
    assert driver.health().values["temperature_c"] == "80"
    hand.set_temperature("middle", 40.0)
    driver.recover()
    assert driver.health().ok


@pytest.mark.parametrize("fault", ["silent", "truncated", "garbage"])
def test_a_hand_that_stops_answering_is_lost_within_the_deadline(bus: InspireBus, hand: InspireHand, right: Interface, fault: str) -> None:
    for address in (TCP, bus.serve_rtu(hand)):
        driver = InspireDriver(right, address, timeout_s=0.2)
        driver.connect()
        driver.enable()
        bus.set_fault(address, fault)
        start = time.monotonic()
        with pytest.raises(ConnectionLostError, match="no answer to read"):
            driver.read()
        assert time.monotonic() - start < 0.4
        assert driver.health().code == "connection_lost"
        with pytest.raises(DeviceError):
            driver.command(np.full(6, 0.3))
        bus.set_fault(address, "none")
        driver.recover()
        assert driver.read() and driver.health().ok
        driver.disconnect()


def test_server_dies_and_returns(bus: InspireBus, hand: InspireHand, right: Interface) -> None:
    driver = InspireDriver(right, TCP, timeout_s=0.3)
    driver.connect()
    driver.enable()
    bus.stop(TCP)
    with pytest.raises(ConnectionLostError):
        driver.read()
    with pytest.raises(ConnectionLostError, match="nothing answers"):
        driver.recover()
    bus.serve_tcp(hand, TCP)
    driver.recover()
    reaches(driver, driver.command(np.full(6, 0.5)))
    driver.disconnect()


def test_serial_line_vanishes(bus: InspireBus, hand: InspireHand, right: Interface) -> None:
    path = bus.serve_rtu(hand)
    driver = InspireDriver(right, path, timeout_s=0.2)
    driver.connect()
    bus.stop(path)
    with pytest.raises(ConnectionLostError):
        driver.read()
    driver.disconnect()


def test_wrong_unit_id_on_a_serial_bus_gets_no_answer(bus: InspireBus, hand: InspireHand, right: Interface) -> None:
    wrong = dataclasses.replace(right, address=dataclasses.replace(right.address, unit_id=7))
    driver = InspireDriver(wrong, bus.serve_rtu(hand), timeout_s=0.2)
    with pytest.raises(ConnectionLostError):
        driver.connect()


@pytest.mark.parametrize("address", ["", "192.168.11.210", "host:port", "host:0", ":6000"])
def test_addresses_are_checked(right: Interface, address: str) -> None:
    with pytest.raises(ConfigError, match="neither HOST:PORT"):
        InspireDriver(right, address)


def test_settings_are_checked(cell: CellConfig, right: Interface) -> None:
    for wrong in ({"speed": 1001}, {"force_g": -1}, {"timeout_s": 0.0}):
        with pytest.raises(ConfigError, match="allowed"):
            InspireDriver(right, TCP, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no hardware map"):
        InspireDriver(cell.interface("left_arm"), TCP)


def test_status_words(right: Interface) -> None:
    words = [10, 20, 30, 40, 50, -60] + [100] * 6 + [0x0100, 0, 0x0004] + [0x0600, 0x0202, 0x0205] + [0x2030, 0x2020, 0x2020]
    status = HandStatus.from_words(words, right.names)
    assert status.error == (1, 0, 0, 0, 0, 4) and status.state == (6, 0, 2, 2, 2, 5) and status.temperature_c[1] == 0x30
    assert status.code == "overload" and status.device_code == 5
    assert "pinky_proximal_joint stall (ERROR 0x01, stopped by stall)" in status.text
    values = status.values()
    assert values["current_a"] == "0.600" and values["error_code"] == "0x05" and values[f"{right.names[0]}.error_code"] == "0x01"
    assert values[f"{right.names[1]}.temperature_c"] == "48" and f"{right.names[1]}.error_code" not in values
    with pytest.raises(Exception, match="21"):
        HandStatus.from_words(words[: HEALTH_BLOCK[1] - 1], right.names)


# -- the vendor's own frame ---------------------------------------------------------------------------------------------
def test_frames_are_those_of_the_manual() -> None:
    assert frame(1, 0x11, 1546, bytes([12])) == bytes.fromhex("EB 90 01 04 11 0A 06 0C 32")
    (answer,) = AnswerReader().feed(bytes.fromhex("90 EB 01 04 12 CE 05 01 EB"))
    assert answer == (1, 0x12, 1486, b"\x01")


@given(st.lists(st.binary(max_size=40), max_size=4), st.integers(1, 9))
def test_answers_are_found_among_noise_in_any_pieces(noises: list[bytes], piece: int) -> None:
    good = bytes.fromhex("90 EB 01 04 12 CE 05 01 EB")
    quiet = [noise.replace(b"\x90", b"") for noise in noises]
    stream, reader = b"".join(noise + good for noise in quiet), AnswerReader()
    found = [answer for start in range(0, len(stream), piece) for answer in reader.feed(stream[start : start + piece])]
    assert [answer.address for answer in found] == [1486] * len(noises)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    reader = AnswerReader()
    for _ in range(2):
        assert all(0 <= answer.address <= 0xFFFF for answer in reader.feed(data))


@pytest.mark.parametrize("fault", ["silent", "truncated", "garbage"])
def test_a_hand_on_its_own_frame_is_lost_within_the_deadline(native: NativePort, right: Interface, fault: str) -> None:
    driver = InspireDriver(on_native(right), str(native.port.path), timeout_s=0.2)
    driver.connect()
    driver.enable()
    native.fault = fault
    start = time.monotonic()
    with pytest.raises(ConnectionLostError, match="no answer to read"):
        driver.read()
    assert time.monotonic() - start < 0.4 and driver.health().code == "connection_lost"
    native.fault = "none"
    driver.recover()
    assert driver.read() and driver.health().ok and driver.health().values["transport"] == "inspire_rs485"
    native.port.hang_up()
    with pytest.raises(ConnectionLostError):
        driver.read()
    native.port.plug()
    driver.recover()
    driver.disconnect()


def test_two_hands_on_one_line_are_told_apart_and_get_their_side(cell: CellConfig, right: Interface, tmp_path: Path) -> None:
    loop = SocketLoop("inspire-test")
    left = on_native(cell.interface("left_hand"), unit_id=2)
    new = make_hand(left, hand_id=1)
    port = NativePort([new], str(tmp_path / "hand"), loop)
    with pytest.raises(ConnectionLostError):
        InspireDriver(left, str(port.port.path), timeout_s=0.1).connect()
    with pytest.raises(DeviceError, match="HAND_ID is 1, which is the right hand"):
        InspireDriver(on_native(cell.interface("left_hand"), unit_id=1), str(port.port.path)).connect()
    assign_side(left, str(port.port.path))
    assert new.hand_id == 2
    port.hands = (new, make_hand(right))
    for interface in (left, on_native(right, unit_id=1)):
        driver = InspireDriver(interface, str(port.port.path))
        driver.connect()
        driver.disconnect()
    port.close()
    loop.stop()


@pytest.mark.parametrize("address, timeout_s", [("127.0.0.1:6000", 0.5), ("/dev/null", 0.0)])
def test_a_line_that_makes_no_sense_is_refused(right: Interface, address: str, timeout_s: float) -> None:
    with pytest.raises(ConfigError):
        InspireDriver(on_native(right), address, timeout_s=timeout_s)


# -- tactile areas ------------------------------------------------------------------------------------------------------
def test_a_hand_with_ethernet_feels_with_its_fingertips(hand: InspireHand, right: Interface) -> None:
    driver = InspireDriver(right, TCP)
    driver.connect()
    assert driver.touch() == {}
    for _ in range(len(BLOCKS)):
        driver.read()
    touch = driver.touch()
    assert sum(cells.size for cells in touch.values()) == 1062 and len(touch) == 17
    assert touch["index_nail"].shape == (12, 8) and touch["palm"].shape == (8, 14) and touch["little_tip"].shape == (3, 3)
    driver.disconnect()


def test_the_palm_lies_column_by_column_from_its_last_row() -> None:
    asked = []

    def read(address: int, count: int) -> list[int]:
        asked.append((address, count))
        return list(range(count))

    reader = TouchReader(read)
    for _ in BLOCKS:
        reader.step()
    palm, nail = reader.areas()["palm"], reader.areas()["ring_nail"]
    assert palm[:, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0] and palm[7, 1] == 8
    assert nail[0].tolist() == list(range(9, 17)), "behind the nine cells of the tip"
    assert asked[0] == (3000, 105) and asked[-1] == (4900, 112) and max(count for _, count in asked) <= 125


def test_a_hand_that_refuses_tactile_registers_is_not_asked_again(hand: InspireHand, right: Interface) -> None:
    driver = InspireDriver(right, TCP)
    driver.connect()
    read_words, asked = hand.read_words, []

    def refuse(address: int, count: int) -> list[int]:
        if address >= 3000:
            asked.append(address)
            raise RegisterError("no tactile areas")
        return read_words(address, count)

    hand.read_words = refuse  # type: ignore[method-assign]
    assert driver.read().position_rad.shape == (6,) and asked == []  # nobody wants to know
    assert driver.touch() == {}
    for _ in range(3):
        assert driver.read().position_rad.shape == (6,)
    assert asked == [3000] and driver.touch() == {}
    driver.disconnect()


class TestContractNative(JointDeviceContract):
    """The contract of every device, by the vendor's own frame."""

    @pytest.fixture
    def device(self, native: NativePort, right: Interface) -> Iterator[InspireDriver]:
        driver = InspireDriver(on_native(right), str(native.port.path))
        yield driver
        driver.disconnect()


class TestContractTcp(JointDeviceContract):
    """The contract of every device, over Modbus TCP."""

    @pytest.fixture
    def device(self, hand: InspireHand, right: Interface) -> Iterator[InspireDriver]:
        driver = InspireDriver(right, TCP)
        yield driver
        driver.disconnect()


class TestContractRtu(JointDeviceContract):
    """The contract of every device, over a serial line."""

    @pytest.fixture
    def device(self, bus: InspireBus, hand: InspireHand, right: Interface) -> Iterator[InspireDriver]:
        driver = InspireDriver(right, bus.serve_rtu(hand))
        yield driver
        driver.disconnect()
