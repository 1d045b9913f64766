# SPDX-License-Identifier: Apache-2.0
"""The Ability driver against the simulated hand on a serial line."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dex_core.config import CellConfig, Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError, NonFiniteError
from dex_hands import ability_wire as wire
from dex_hands.ability import AbilityDriver
from dex_hands.ability_identity import ADDRESSES
from dex_hands.ability_link import AbilityLink
from dex_hands.ability_wire import FrameError, Mode, Unstuffer, Variant
from dex_ros.testing import wait_for
from dex_sim.ability import AbilityLine
from dex_sim.ability_hand import UNIQUE_IDS, AbilityHand
from dex_sim.plant import KinematicPlant, PlantState
from dex_sim.xarm_controller_loop import SocketLoop

FLEX = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
START = 0.3 * FLEX


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual", hand="ability")


@pytest.fixture(scope="module")
def right(cell: CellConfig) -> Interface:
    return cell.interface("right_hand")


@pytest.fixture
def loop() -> Iterator[SocketLoop]:
    loop = SocketLoop("ability-test")
    yield loop
    loop.stop()


def make_line(interface: Interface, loop: SocketLoop, path: Path, **options: object) -> AbilityLine:
    plant = KinematicPlant(interface.names, START, time_constant_s=0.005)
    return AbilityLine(AbilityHand(interface, plant), str(path), loop, **options)  # type: ignore[arg-type]


@pytest.fixture
def line(right: Interface, loop: SocketLoop, tmp_path: Path) -> Iterator[AbilityLine]:
    line = make_line(right, loop, tmp_path / "hand")
    yield line
    line.close()


@pytest.fixture
def driver(right: Interface, line: AbilityLine) -> Iterator[AbilityDriver]:
    """An enabled driver of a right hand at 0.3 rad."""
    driver = AbilityDriver(right, str(line.port.path))
    driver.connect()
    driver.enable()
    yield driver
    driver.disconnect()


def with_address(interface: Interface, **changes: object) -> Interface:
    return dataclasses.replace(interface, address=dataclasses.replace(interface.address, **changes))


# -- frames -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("body, expected", [
    (wire.command_body(0x50, Mode.POSITION, Variant.CURRENT_TOUCH, wire.to_counts(Mode.POSITION, [30.0] * 5 + [-30.0])),
     "50 10 99 19 99 19 99 19 99 19 99 19 67 E6 D9"),
    (wire.short_body(0x50, Mode.READ_ONLY | Variant.CURRENT_VELOCITY), "50 A2 0E"), (wire.short_body(0x50, wire.EXIT_API), "50 7C 34"),
    (wire.register_body(0x50, 61), "50 DA 3D 00 00 00 99"),
])
def test_frames_are_those_of_the_document(body: bytes, expected: str) -> None:
    assert body == bytes.fromhex(expected)


@given(st.lists(st.binary(min_size=3, max_size=80), max_size=4), st.integers(1, 7), st.booleans())
def test_stuffing_is_undone_in_any_pieces(bodies: list[bytes], piece: int, zeros: bool) -> None:
    stream = b"".join((b"\0" if zeros else b"") + wire.stuffed(body) for body in bodies)
    unstuffer = Unstuffer()
    found = [body for start in range(0, len(stream), piece) for body in unstuffer.feed(stream[start : start + piece])]
    assert found == bodies and all(b"\x7e" not in wire.stuffed(body)[1:-1] for body in bodies)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    for decode in (wire.decode, wire.decode_register):
        for body in (data, wire.with_checksum(data)):
            try:
                decode(body)
            except FrameError:
                continue


def test_touch_is_in_newtons_by_the_makers_placeholder_formula() -> None:
    assert wire.touch_newton(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    volt = 1000 * 3.3 / 4096
    assert wire.touch_newton(np.array([1000.0]))[0] == pytest.approx(121591.0 / (33000.0 / volt + 10000.0) + 0.878894)


# -- motion -------------------------------------------------------------------------------------------------------------
def test_commands_reach_the_joints_and_say_what_was_sent(driver: AbilityDriver, right: Interface) -> None:
    lower, upper = (np.array([getattr(limit, end) for limit in right.limits]) for end in ("lower_rad", "upper_rad"))
    for target in (upper, lower, 0.5 * (lower + upper)):
        sent = driver.command(target)
        assert np.abs(sent - target).max() <= 0.5 * driver.resolution_rad.max() + 1e-9
        wait_for(lambda at=sent: np.allclose(driver.read().position_rad, at, atol=0.002), "the hand")


def test_the_rotator_counts_backwards_on_the_wire(driver: AbilityDriver, line: AbilityLine) -> None:
    driver.command(np.radians(30.0) * FLEX)
    wait_for(lambda: abs(driver.read().position_rad[5] + math.radians(30.0)) < 0.002, "the rotator")
    position_deg, _current, _speed = line.hand._motors.measured()
    assert position_deg == pytest.approx(30.0 * FLEX, abs=0.2)


def test_velocity_is_the_rotors_through_the_gear(driver: AbilityDriver, line: AbilityLine) -> None:
    line.hand._plant.read = lambda: PlantState(START, 2.0 * FLEX, np.zeros(6))  # type: ignore[method-assign]
    wait_for(lambda: driver.read().velocity_rad_s[0] > 1.0, "the speed")
    state = driver.read()
    assert state.velocity_rad_s == pytest.approx(2.0 * FLEX, abs=0.002) and np.isnan(state.effort).all()


def test_a_command_out_of_limits_or_not_finite_is_not_sent(driver: AbilityDriver, line: AbilityLine) -> None:
    for bad, error in ((np.full(6, 2.0) * FLEX, LimitError), (np.full(6, 0.3), LimitError), (np.full(6, np.nan), NonFiniteError)):
        with pytest.raises(error):
            driver.command(bad)
    assert driver.read().position_rad == pytest.approx(START, abs=0.002)


def test_a_held_hand_does_not_follow_a_push_and_stays_its_own(driver: AbilityDriver, line: AbilityLine) -> None:
    driver.hold()
    line.hand._plant.command(START + 0.2 * FLEX)
    driver.hold()
    wait_for(lambda: np.allclose(driver.read().position_rad, START, atol=0.01), "the held hand")
    driver.disable()
    assert line.hand.in_api_mode and driver.health().code == "not_enabled"
    driver.disconnect()
    wait_for(lambda: not line.hand.in_api_mode, "the hand to be given back")
    assert line.hand.left_api == 0, "it was given back on purpose"


# -- the hand's 300 ms --------------------------------------------------------------------------------------------------
def test_a_silent_owner_does_not_lose_the_hand(driver: AbilityDriver, line: AbilityLine) -> None:
    asked = line.requests
    wait_for(lambda: line.requests >= asked + 6, "the thread that keeps the hand")
    assert line.hand.in_api_mode and line.hand.left_api == 0 and driver.health().ok


def test_a_host_that_was_stopped_does_not_pull_the_hand_back(driver: AbilityDriver, line: AbilityLine) -> None:
    line.hand.own_way_rad = 0.9 * FLEX
    with driver._lock:  # as a stopped process: nothing is sent
        wait_for(lambda: not line.hand.in_api_mode, "the hand to take itself back")
        wait_for(lambda: line.hand._plant.read().position_rad[0] > 0.895, "the hand to go its own way")
        with pytest.raises(DeviceError) as caught:
            driver.command(START)
    assert caught.value.code == "watchdog" and driver.health().code == "watchdog"
    with pytest.raises(DeviceError, match="goes its own way"):
        driver.command(START)
    assert driver.read().position_rad == pytest.approx(0.9 * FLEX, abs=0.01), "it can be read all the same"
    driver.recover()
    assert line.hand.in_api_mode and driver.read().position_rad == pytest.approx(0.9 * FLEX, abs=0.02)


def test_a_hand_that_was_put_elsewhere_is_not_pulled_back(driver: AbilityDriver, line: AbilityLine) -> None:
    driver.command(START + 0.2 * FLEX)
    wait_for(lambda: np.allclose(driver.read().position_rad, START + 0.2 * FLEX, atol=0.01), "the hand")
    with line.hand._lock:  # as a reset of the cell does
        line.hand._plant._position, line.hand._plant._target = START.copy(), START.copy()
        line.hand.reset()
    asked = line.requests
    wait_for(lambda: driver.read() and line.requests > asked + 10, "questions")
    assert driver.read().position_rad == pytest.approx(START, abs=0.01) and not line.hand.in_api_mode
    driver.command(START + 0.1 * FLEX)
    assert line.hand.in_api_mode


# -- what it says -------------------------------------------------------------------------------------------------------
def test_touch_and_currents_come_with_the_state(driver: AbilityDriver, line: AbilityLine) -> None:
    line.hand.press(4, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    wait_for(lambda: driver.read() and driver.touch()["thumb"][5] > 500, "the touch")
    touch = driver.touch()
    assert list(touch) == ["index", "middle", "ring", "pinky", "thumb"]
    assert touch["thumb"].tolist() == [60, 160, 260, 360, 460, 560] and touch["index"].tolist() == [60] * 6
    assert np.isfinite(driver.currents()).all() and "right_thumb_q1.current_a" in driver.health().values


def test_a_collision_is_told_and_is_no_error(driver: AbilityDriver, line: AbilityLine) -> None:
    line.hand._motors._stalled[0] = 1.0
    driver.read()
    health = driver.health()
    assert health.ok and "right_index_q1 is limited by a collision or heat" in health.text and health.values["error_code"] == "0x01"
    driver.command(START - 0.1 * FLEX)
    wait_for(lambda: driver.read() and driver.health().values["limited"] == "none", "the finger to go back")


def test_a_hot_rotator_is_over_temperature(driver: AbilityDriver, line: AbilityLine) -> None:
    line.hand.set_hot("thumb_rotator")
    driver.read()
    assert (driver.health().code, driver.health().ok) == ("over_temperature", False)
    line.hand.set_hot("thumb_rotator", False)
    driver.read()
    assert driver.health().ok


# -- the line -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["checksum", "garbage", "truncated", "silent"])
def test_a_bad_line_is_lost_in_time_and_comes_back(driver: AbilityDriver, line: AbilityLine, fault: str) -> None:
    line.fault = fault
    before = time.monotonic()
    with pytest.raises(ConnectionLostError):
        driver.read()
    assert time.monotonic() - before < 1.0 and driver.health().code == "connection_lost"
    with pytest.raises(DeviceError):
        driver.command(START)
    line.fault = "none"
    driver.recover()
    assert driver.read().position_rad == pytest.approx(START, abs=0.01) and driver.health().ok


def test_one_bad_answer_is_asked_for_again(driver: AbilityDriver, line: AbilityLine) -> None:
    damage = line._damaged
    left = [1]
    line._damaged = lambda frame: damage(frame) if not left else (left.clear(), frame[:5] + bytes([frame[5] ^ 2]) + frame[6:])[1]  # type: ignore[method-assign]
    driver.read()
    assert not left and driver.health().values["damaged_frames"] == "1"


def test_stray_zeros_of_an_adapter_do_no_harm(driver: AbilityDriver, line: AbilityLine) -> None:
    line.fault = "zeros"
    for _ in range(5):
        assert driver.read().position_rad == pytest.approx(START, abs=0.01)
    assert driver.health().values["damaged_frames"] == "0"


def test_a_pulled_cable_is_lost_and_a_new_one_found(driver: AbilityDriver, line: AbilityLine) -> None:
    line.port.hang_up()
    with pytest.raises(ConnectionLostError):
        driver.read()
    with pytest.raises(ConnectionLostError, match="cannot be opened"):
        driver.recover()
    line.port.plug()
    driver.recover()
    assert driver.health().ok


def test_without_stuffing_the_same_hand_is_driven(right: Interface, loop: SocketLoop, tmp_path: Path) -> None:
    line = make_line(right, loop, tmp_path / "plain", stuffing=False)
    driver = AbilityDriver(right, str(line.port.path), stuffing=False)
    driver.connect()
    driver.enable()
    driver.command(START + 0.2 * FLEX)
    wait_for(lambda: np.allclose(driver.read().position_rad, START + 0.2 * FLEX, atol=0.002), "the hand")
    driver.disconnect()
    line.close()


def test_a_port_in_use_is_refused(driver: AbilityDriver, right: Interface, line: AbilityLine) -> None:
    with pytest.raises(ConnectionLostError, match="cannot be opened"):
        AbilityDriver(right, str(line.port.path)).connect()


# -- whose hand it is ---------------------------------------------------------------------------------------------------
def test_the_other_sides_hand_is_refused(cell: CellConfig, line: AbilityLine) -> None:
    driver = AbilityDriver(cell.interface("left_hand"), str(line.port.path))
    with pytest.raises(DeviceError, match="address 0x50, which is the right hand's") as caught:
        driver.connect()
    assert caught.value.code == "wrong_device" and not line.hand.in_api_mode and not driver.health().ok


def test_a_hand_that_answers_late_is_not_taken_for_the_other(cell: CellConfig, loop: SocketLoop, tmp_path: Path) -> None:
    line = make_line(cell.interface("left_hand"), loop, tmp_path / "late")
    send = line.port.send
    line.port.send = lambda data: loop.every(0.7, lambda: bool(send(data)))  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(ConnectionLostError):
        AbilityDriver(cell.interface("left_hand"), str(line.port.path)).connect()
    assert line.requests >= 4, "both addresses were asked"
    line.close()


def test_a_serial_number_tells_two_factory_hands_apart(right: Interface, line: AbilityLine) -> None:
    own = "".join(f"{word:08x}" for word in UNIQUE_IDS["right"])
    driver = AbilityDriver(with_address(right, serial_number=own.upper()), str(line.port.path))
    driver.connect()
    driver.disconnect()
    other = AbilityDriver(with_address(right, serial_number="0" * 16), str(line.port.path))
    with pytest.raises(DeviceError, match=f"has serial number {own}") as caught:
        other.connect()
    assert caught.value.code == "wrong_device"


@pytest.mark.parametrize("changes, words", [
    ({"unit_id": ADDRESSES["left"]}, "sides could be swapped unseen"), ({"unit_id": 0}, "any address but this"),
    ({"serial_number": "12"}, "16 hexadecimal digits"),
])
def test_an_identity_that_leaves_the_side_open_is_refused(right: Interface, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AbilityDriver(with_address(right, **changes), "/dev/null")


@pytest.mark.parametrize("path, timeout_s", [("127.0.0.1:6000", 0.2), ("/dev/null", 0.0)])
def test_a_line_that_makes_no_sense_is_refused(path: str, timeout_s: float) -> None:
    with pytest.raises(ConfigError):
        AbilityLink(path, 460800, timeout_s, "right_hand")


def test_two_threads_share_the_line(driver: AbilityDriver, line: AbilityLine) -> None:
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(40):
                driver.read()
        except DeviceError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(20):
        driver.command(START + 0.01 * step * FLEX)
    for thread in threads:
        thread.join(10.0)
    assert not failures and driver.health().values["damaged_frames"] == "0"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_every_target_is_within_half_a_count_of_what_is_sent(right: Interface, fraction: list[float]) -> None:
    driver = AbilityDriver(right, "/dev/null")
    target = driver._lower + np.array(fraction) * (driver._upper - driver._lower)
    counts = wire.to_counts(Mode.POSITION, driver._inside(driver._offset + (target - driver._lower) * driver._deg_per_rad))
    assert np.abs(driver._to_rad(counts / wire.COUNTS_PER_DEG) - target).max() <= 0.5 * driver.resolution_rad.max() + 1e-12


class TestContract(JointDeviceContract):
    """The contract of every device."""

    @pytest.fixture
    def device(self, line: AbilityLine, right: Interface) -> Iterator[AbilityDriver]:
        driver = AbilityDriver(right, str(line.port.path))
        yield driver
        driver.disconnect()

    def direction(self, device: AbilityDriver) -> np.ndarray:
        return FLEX
