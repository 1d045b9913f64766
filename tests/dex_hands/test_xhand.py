# SPDX-License-Identifier: Apache-2.0
"""The XHand1 driver against the simulated hand on its serial line, and against an SDK with the vendor's calls in its process."""
from __future__ import annotations

import binascii
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import Interface, load_cell
from dex_core.contracts.joint_device import JointDeviceContract
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError, LimitError, NonFiniteError
from dex_hands.xhand import XHandDriver
from dex_hands.xhand_sdk import SdkLink
from dex_hands.xhand_serial import STATE, FrameError, SerialLink, pack, pack_order, unpack, unpack_state
from dex_hands.xhand_state import JOINTS, POSITION, POWERLESS, Gains, Order, error_words
from dex_ros.testing import wait_for
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop
from dex_sim.xhand import XHandPort
from dex_sim.xhand_hand import XHand

TIMEOUT_S = 2.0
FAKE_SDK = Path(__file__).with_name("fake_xhand_sdk.py")


def interface_of(side: str = "left", **address: object) -> Interface:
    hand = load_cell("xarm_bimanual", hand="xhand1").interface(f"{side}_hand")
    return dataclasses.replace(hand, address=dataclasses.replace(hand.address, **address))


class Rig:
    """One simulated hand at its home, and a driver for it."""

    def __init__(self, folder: Path, side: str = "left", **kwargs: object) -> None:
        self.interface = interface_of(side)
        self.loop = SocketLoop("test-xhand", realtime=False)
        self.plant = KinematicPlant(self.interface.names, self.interface.home, time_constant_s=0.005)
        self.hand = XHand(self.interface, self.plant)
        self.path = str(folder / "line")
        self.port = XHandPort(self.hand, self.path, self.loop)
        self.driver = XHandDriver(self.interface, self.path, timeout_s=TIMEOUT_S, **kwargs)  # type: ignore[arg-type]

    def ready(self) -> XHandDriver:
        self.driver.connect()
        self.driver.enable()
        return self.driver

    def close(self) -> None:
        self.driver.disconnect()
        self.port.close()
        self.loop.stop()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


class TestContractSerial(JointDeviceContract):
    """The contract of every device, by the hand's own frames."""

    @pytest.fixture
    def device(self, rig: Rig) -> XHandDriver:
        return rig.driver


class TestContractSdk(JointDeviceContract):
    """The same by an SDK in its process."""

    @pytest.fixture
    def device(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[XHandDriver]:
        driver = sdk_driver(monkeypatch)
        yield driver
        driver.disconnect()


def sdk_driver(monkeypatch: pytest.MonkeyPatch, side: str = "left", **fake: str) -> XHandDriver:
    """A driver whose SDK is ``fake_xhand_sdk``; ``fake`` sets its FAKE_XHAND_... variables."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE_SDK.parent))
    for name, value in {"answers": side, **fake}.items():
        monkeypatch.setenv(f"FAKE_XHAND_{name.upper()}", value)
    link = SdkLink("/dev/ttyUSB0", 3_000_000, TIMEOUT_S, f"{side}_hand", module=FAKE_SDK.stem, settle_s=0.0)
    return XHandDriver(interface_of(side), "/dev/ttyUSB0", timeout_s=TIMEOUT_S, link=link)


# -- frames ---------------------------------------------------------------------------------------------------------------
def test_frames_are_those_that_the_vendors_library_sends() -> None:
    assert pack(0xFF, 0x15, bytes([0x14, 0, 0xBA, 0])).hex(" ") == "55 aa fe ff 15 04 00 14 00 ba 00 a2 4a"
    assert pack(0x80, 0x13, b"").hex(" ") == "55 aa fe 80 13 00 00 ef c3"
    off = pack_order(Order((1.0,) * JOINTS, POWERLESS, (Gains(),) * JOINTS))
    assert len(off) == 288 and off[24:26] == b"\1\0" and not any(off[26:48])
    on = pack_order(Order(tuple(0.1 * k for k in range(JOINTS)), POSITION, (Gains(),) * JOINTS))
    assert on[24:48].hex(" ") == "01 00 64 00 00 00 00 00 cd cc cc 3d 2c 01 03 00 00 00 00 00 00 00 00 00"


def state_bytes() -> np.ndarray:
    state = np.zeros(1, STATE)
    state[0]["joints"]["id"] = np.arange(JOINTS)
    return state


def test_a_state_is_taken_apart_by_its_documented_layout() -> None:
    state = state_bytes()
    assert STATE.itemsize == 2208
    state[0]["joints"]["position"][5], state[0]["joints"]["current"][5], state[0]["joints"]["temperature"][5] = 1.25, 310, 0x1F21
    state[0]["joints"]["errors"][5] = (0, 103, 200)
    state[0]["tips"]["force"][1] = (-56, 55, 202)  # z has no sign
    reading = unpack_state(state.tobytes(), 7)
    assert (reading.position_rad[5], reading.current_ma[5], reading.temperature_c[5], reading.stamp_ns) == (1.25, 310.0, 33.0, 7)
    assert reading.faults == [(5, 103)] and reading.warnings == [(5, 200)]
    assert np.allclose(reading.force_n[1], (-5.6, 5.5, 20.2)) and reading.cells_n.shape == (5, 120, 3)
    assert error_words(103) == "joint board over-temperature" and error_words(999) == "unknown error"


@pytest.mark.parametrize(("joint", "field", "value", "words"), [
    (4, "id", 5, "counts its joints"), (4, "position", np.nan, "finite"), (4, "position", np.inf, "finite"),
])
def test_a_state_that_cannot_be_is_refused(joint: int, field: str, value: float, words: str) -> None:
    state = state_bytes()
    state[0]["joints"][field][joint] = value
    with pytest.raises(FrameError, match=words):
        unpack_state(state.tobytes(), 0)
    with pytest.raises(FrameError, match="2207 bytes"):
        unpack_state(state.tobytes()[:-1], 0)


@given(st.integers(0, 8 * 60 - 1), st.binary(min_size=49, max_size=49))
def test_no_flipped_bit_passes_for_an_answer(bit: int, payload: bytes) -> None:
    frame = bytearray(pack(0xFE, 0x02, payload))
    frame[2] = 0x81  # as if it came from the hand
    whole = pack_answer(bytes(frame))
    assert unpack(whole, 0x81, 0x02) == payload
    broken = bytearray(whole)
    broken[(bit // 8) % len(whole)] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        unpack(bytes(broken), 0x81, 0x02)


def pack_answer(frame: bytes) -> bytes:
    return frame[:-2] + binascii.crc_hqx(frame[:-2], 0).to_bytes(2, "little")


@pytest.mark.parametrize("changes", [{"kp": -1}, {"kd": 40000}, {"torque_limit_ma": 0}, {"torque_limit_ma": 401}])
def test_gains_outside_their_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        Gains(**changes)


# -- the driver on a line ---------------------------------------------------------------------------------------------------
def test_connecting_gives_no_motor_power_and_enabling_holds(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.read()
    assert not rig.hand.powered.any()
    rig.driver.enable()
    assert rig.hand.powered.all() and np.allclose(rig.plant.read().position_rad, rig.interface.home, atol=1e-3)
    rig.driver.disable()
    assert rig.hand.powered.all(), "what the hand holds is not dropped"


def test_gains_reach_the_joint_they_are_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, gains={"hand_mid_joint1": Gains(kp=120, torque_limit_ma=380)})
    try:
        rig.ready()
        assert [(m.kp, m.torque_ma) for m in rig.hand.motors()][5:8] == [(100, 300), (120, 380), (100, 300)]
        with pytest.raises(ConfigError, match="gains for \\['pinky'\\]"):
            XHandDriver(rig.interface, rig.path, gains={"pinky": Gains()})
    finally:
        rig.close()


def test_the_other_side_or_another_serial_number_is_refused(rig: Rig) -> None:
    wrong_side = XHandDriver(interface_of("right"), rig.path, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match="a left hand answers, serial number 'SIM-XHAND1-LEFT'; swap the addresses") as caught:
        wrong_side.connect()
    assert caught.value.code == "wrong_device" and not wrong_side.health().ok
    other = XHandDriver(interface_of(serial_number="A7"), rig.path, timeout_s=TIMEOUT_S)
    with pytest.raises(DeviceError, match="expected 'A7'"):
        other.connect()
    XHandDriver(interface_of(serial_number="SIM-XHAND1-LEFT"), rig.path, timeout_s=TIMEOUT_S).connect()


def test_two_drivers_never_share_a_line(rig: Rig) -> None:
    rig.ready()
    second = XHandDriver(rig.interface, rig.path, timeout_s=TIMEOUT_S)
    with pytest.raises(ConnectionLostError, match="cannot be opened"):
        second.connect()
    rig.driver.read()


@pytest.mark.parametrize(("bad", "kind"), [(99.0, LimitError), (-99.0, LimitError), (np.nan, NonFiniteError)])
def test_nothing_outside_the_limits_is_sent(rig: Rig, bad: float, kind: type[Exception]) -> None:
    driver = rig.ready()
    requests = rig.port.requests
    with pytest.raises(kind):
        driver.command(np.where(np.arange(JOINTS) == 3, bad, rig.interface.home))
    assert rig.port.requests == requests


def test_a_stream_faster_than_the_hand_keeps_the_newest(rig: Rig) -> None:
    driver = rig.ready()
    home = np.array(driver.read().position_rad)
    requests = rig.port.requests
    for k in range(50):
        driver.command(home + 0.002 * (k + 1))
    assert rig.port.requests - requests < 50
    wait_for(lambda: np.allclose(driver.read().position_rad, home + 0.1, atol=1e-3), "the newest target")


@pytest.mark.parametrize(("code", "board", "reason", "words"), [
    (103, "joint", "over_temperature", "left_hand_index_joint1: joint board over-temperature \\(103\\)"),
    (109, "joint", "motor_fault", "position sensor"), (107, "communication", "device_error", "communication with the joint board failed"),
    (77, "joint", "device_error", "unknown error \\(77\\)"),
])
def test_an_error_is_told_in_words_and_stops_commands(rig: Rig, code: int, board: str, reason: str, words: str) -> None:
    driver = rig.ready()
    rig.hand.inject_error("hand_index_joint1", code, board)
    wait_for(lambda: driver.read() is not None and not driver.health().ok, "the error")
    health = driver.health()
    assert health.code == reason and health.values["error_code"] == str(code)
    with pytest.raises(DeviceError, match=words) as caught:
        driver.command(np.array(rig.interface.home))
    assert (caught.value.code, caught.value.device_code) == (reason, code)
    with pytest.raises(DeviceError, match=words):
        driver.recover()
    rig.hand.inject_error("hand_index_joint1", 0, board)
    driver.recover()
    assert driver.health().ok


@pytest.mark.parametrize(("code", "board"), [(110, "joint"), (200, "tip"), (202, "tip")])
def test_a_warning_is_told_and_stops_nothing(rig: Rig, code: int, board: str) -> None:
    driver = rig.ready()
    rig.hand.inject_error("hand_index_joint2", code, board)
    wait_for(lambda: driver.read() is not None and driver.health().values["error_code"] == str(code), "the warning")
    assert driver.health().ok and error_words(code) in driver.health().values["errors"]
    driver.command(np.array(rig.interface.home))


def test_temperature_current_and_touch_are_told(rig: Rig) -> None:
    driver = rig.driver
    assert driver.touch() == {} and driver.currents() is None
    rig.ready()
    rig.hand.set_temperature("hand_ring_joint1", 47.0)
    rig.hand.press(4, (0.5, -0.3, 20.2))
    wait_for(lambda: driver.read() is not None and driver.health().values["temperature_c"] == "47", "the temperature")
    values, touch = driver.health().values, driver.touch()
    assert values["left_hand_ring_joint1.temperature_c"] == "47" and float(values["current_a"]) == 0.0
    assert np.allclose(touch["little"], (0.5, -0.3, 20.2)) and np.allclose(touch["little_cells"].sum(axis=0), (0.5, -0.3, 20.2))
    assert touch["thumb_cells"].shape == (120, 3) and not touch["thumb"].any() and driver.touch_unit == "N"
    currents = driver.currents()
    assert currents is not None and currents.shape == (12,) and not currents.any()
    driver.disconnect()
    assert driver.touch() == {}


# -- what happens to a line -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["silent", "truncated", "garbage", "other_hand"])
def test_no_damaged_answer_is_believed_and_the_link_counts_as_lost(tmp_path: Path, fault: str) -> None:
    rig = Rig(tmp_path)
    driver = XHandDriver(rig.interface, rig.path, timeout_s=0.3)
    try:
        driver.connect()
        driver.enable()
        rig.port.set_fault(fault)
        begin_s = time.monotonic()
        with pytest.raises(ConnectionLostError, match="no answer to command 0x02"):
            driver._exchange()
        assert time.monotonic() - begin_s < 5.0
        assert driver.health().code == "connection_lost"
        with pytest.raises(DeviceError, match="not enabled"):
            driver.command(np.array(rig.interface.home))
        rig.port.set_fault("none")
        driver.recover()
        assert driver.health().ok
    finally:
        driver.disconnect()
        rig.close()


def test_a_single_lost_answer_is_asked_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = rig.ready()
    link = driver._link
    assert isinstance(link, SerialLink)
    answers = iter([b"", None])

    def read(count: int) -> bytes:
        first = next(answers)
        return line.__class__.read(line, count) if first is None else first

    line = link._serial
    assert line is not None
    monkeypatch.setattr(line, "read", read)
    driver._exchange()
    assert driver.health().ok and driver.health().values["repeated"] == "1"


def test_a_pulled_cable_and_a_new_one(rig: Rig) -> None:
    driver = rig.ready()
    rig.port.line.hang_up()
    with pytest.raises(ConnectionLostError):
        driver._exchange()
    with pytest.raises(ConnectionLostError, match="cannot be opened"):
        driver.recover()
    rig.port.line.plug()
    before = rig.plant.read().position_rad
    driver.recover()
    assert driver.health().ok and np.allclose(driver.read().position_rad, before, atol=1e-3)


# -- the vendor's library -----------------------------------------------------------------------------------------------------
def test_without_the_vendors_library_the_error_says_how_to_install_it() -> None:
    driver = XHandDriver(interface_of(transport="xhand_ethercat"), "eth0")
    with pytest.raises(ConfigError, match="No module named 'xhand_controller'; install RobotEra's wheel with .*DEX_XHAND_PYTHON"):
        driver.connect()
    assert not driver.health().ok


def test_a_transport_that_no_xhand_has_is_named() -> None:
    with pytest.raises(ConfigError, match="transport is 'modbus_tcp'; an XHand1 speaks xhand_serial or xhand_ethercat"):
        XHandDriver(interface_of(transport="modbus_tcp"), "a:1")


def test_the_library_tells_side_touch_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = sdk_driver(monkeypatch)
    try:
        driver.connect()
        driver.enable()
        assert driver.health().ok and driver.health().values["serial_number"] == "FAKE0001"
        assert np.allclose(driver.touch()["index"], (0.1, -0.2, 20.0)) and driver.touch()["index_cells"].shape == (120, 3)
    finally:
        driver.disconnect()
    wrong = sdk_driver(monkeypatch, "right", answers="left")
    with pytest.raises(DeviceError, match="a left hand answers") as caught:
        wrong.connect()
    assert caught.value.code == "wrong_device" and not wrong._link.connected


@pytest.mark.parametrize(("fake", "words"), [
    ({"open": "1501039"}, "lost the hand at 'open': .*1501039"), ({"hands": "2"}, "2 hands answer on /dev/ttyUSB0"),
    ({"send": "1501050"}, "lost the hand at 'send'.*1501050"), ({"send": "abort"}, "died of SIGABRT during 'send'"),
])
def test_a_library_that_cannot_or_dies_is_a_lost_link(monkeypatch: pytest.MonkeyPatch, fake: dict[str, str], words: str) -> None:
    driver = sdk_driver(monkeypatch, **fake)
    with pytest.raises(ConnectionLostError, match=words):
        driver.connect()
    driver.disconnect()


def test_codes_with_which_joints_go_on_are_no_errors_and_a_damaged_frame_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in ("1501035", "1501018", "1501070_once"):
        driver = sdk_driver(monkeypatch, send=code)
        driver.connect()
        driver.enable()
        assert driver.health().ok
        driver.disconnect()
    driver = sdk_driver(monkeypatch, send="1501030")
    with pytest.raises(DeviceError, match="1501030") as caught:
        driver.connect()
    assert caught.value.device_code == 1501030 and not isinstance(caught.value, ConnectionLostError)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_library_is_a_lost_link_and_comes_back(monkeypatch: pytest.MonkeyPatch, blow: signal.Signals) -> None:
    driver = sdk_driver(monkeypatch)
    try:
        driver.connect()
        driver.enable()
        link = driver._link
        assert isinstance(link, SdkLink) and link.worker.pid is not None
        os.kill(link.worker.pid, blow)
        with pytest.raises(ConnectionLostError):
            driver._exchange()
        assert driver.health().code == "connection_lost"
        driver.recover()
        assert driver.health().ok
    finally:
        driver.disconnect()
