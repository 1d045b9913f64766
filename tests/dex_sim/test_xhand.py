# SPDX-License-Identifier: Apache-2.0
"""The simulated XHand1 by raw frames as the vendor's library sends them, and in the MuJoCo cell behind its driver."""
from __future__ import annotations

import binascii
import dataclasses
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from dex_core.clock import ManualClock
from dex_core.config import Interface, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_hands.xhand import XHandDriver
from dex_ros.testing import wait_for
from dex_sim.cell import SimCell
from dex_sim.fault_device import hooks_of
from dex_sim.plant import KinematicPlant, PlantState
from dex_sim.xarm_controller_loop import SocketLoop
from dex_sim.xhand import XHandPort
from dex_sim.xhand_hand import OVER_CURRENT_AFTER_S, XHand
from dex_sim.xhand_wire import ORDER_BYTES, RequestReader

IDENTITY_REQUEST = bytes.fromhex("55 aa fe ff 15 04 00 14 00 ba 00 a2 4a")
"""What the vendor's library 1.1.7 sends first, byte by byte."""
LEFT = 0x81


def interface_of(side: str = "left") -> Interface:
    return load_cell("xarm_bimanual", hand="xhand1").interface(f"{side}_hand")


class Line:
    """One simulated hand and a bare serial port on its line."""

    def __init__(self, folder: Path, side: str = "left") -> None:
        self.interface = interface_of(side)
        self.loop = SocketLoop("test-xhand", realtime=False)
        self.plant = KinematicPlant(self.interface.names, self.interface.home, time_constant_s=0.005)
        self.hand = XHand(self.interface, self.plant)
        self.port = XHandPort(self.hand, str(folder / "line"), self.loop)
        self.serial = serial.Serial(str(folder / "line"), 3_000_000, timeout=2.0)

    def ask(self, data: bytes, answer_bytes: int) -> bytes:
        self.serial.write(data)
        return self.serial.read(answer_bytes)

    def silent(self, data: bytes) -> bool:
        self.serial.timeout = 0.1
        try:
            return self.ask(data, 1) == b""
        finally:
            self.serial.timeout = 2.0

    def order(self, **motors: object) -> list[tuple]:
        """State after a real-time command: (id, sensor, position, current, raw, temperature, three errors, three spare) per joint."""
        answer = self.ask(frame(LEFT, 0x02, order_bytes(self.interface, **motors)), 2217)
        assert answer[:5] == bytes([0x55, 0xAA, LEFT, 0xFE, 0x02]) and struct.unpack("<H", answer[5:7]) == (2208,)
        assert binascii.crc_hqx(answer[:-2], 0) == int.from_bytes(answer[-2:], "little")
        return list(struct.iter_unpack("<BBf9H", answer[7 : 7 + 288]))

    def close(self) -> None:
        self.serial.close()
        self.port.close()
        self.loop.stop()


def frame(destination: int, command: int, payload: bytes) -> bytes:
    body = bytes([0x55, 0xAA, 0xFE, destination, command]) + struct.pack("<H", len(payload)) + payload
    return body + struct.pack("<H", binascii.crc_hqx(body, 0))


def order_bytes(interface: Interface, position: float | None = None, kp: int = 100, torque: int = 300, mode: int = 3, joint: int = 4) -> bytes:
    """Every joint at home, but one."""
    target = np.array(interface.home)
    if position is not None:
        target[joint] = position
    return b"".join(struct.pack("<Hhhhf6H", i, kp, 0, 0, target[i], torque, mode, 0, 0, 0, 0) for i in range(12))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


def test_the_vendors_first_request_is_answered_with_type_number_id_and_name(line: Line) -> None:
    answer = line.ask(IDENTITY_REQUEST, 7 + 2 + 186 + 2)
    assert answer[2:7] == bytes([LEFT, 0xFE, 0x15, 188, 0]) and answer[7:9] == b"\x14\0"
    kind, number, hand_id, name = struct.unpack("<c32sB32s", answer[9:75])
    assert (kind, number.rstrip(b"\0"), hand_id, name.rstrip(b"\0")) == (b"L", b"SIM-XHAND1-LEFT", 1, b"left_hand")
    assert line.ask(frame(LEFT, 0x15, struct.pack("<HH", 0xCE, 1)), 12)[9:10] == b"\0", "silent mode is off"


def test_boards_tell_their_version_and_a_fingertip_is_zeroed(line: Line) -> None:
    line.hand.press(0, (0.0, 0.0, 9.0))
    for board in (LEFT, 0, 11, 17):
        assert line.ask(frame(board, 0x13, b""), 13)[2:11] == bytes([board, 0xFE, 0x13, 4, 0, 7, 0, 1, 1])
    assert line.ask(frame(17, 0x12, b""), 9)[4] == 0x12
    assert line.hand._tip(0).force == (0, 0, 0)


@pytest.mark.parametrize("data", [
    frame(0x80, 0x13, b""), frame(LEFT, 0x77, b""), frame(LEFT, 0x15, struct.pack("<HH", 0, 4)), frame(LEFT, 0x02, bytes(287)),
    frame(LEFT, 0x02, bytes(288)), frame(12, 0x13, b""), IDENTITY_REQUEST[:-1] + b"\0", b"\x55\xaa" * 40, b"",
], ids=["other hand", "unknown command", "no such register", "short order", "joints all 0", "no such board", "checksum", "heads only", "nothing"])
def test_what_is_not_for_it_gets_no_answer_and_the_next_one_does(line: Line, data: bytes) -> None:
    assert line.silent(data)
    assert len(line.ask(IDENTITY_REQUEST, 197)) == 197


def test_an_answer_takes_its_time_on_the_wire(line: Line) -> None:
    begin_s = time.monotonic()
    line.order()
    assert time.monotonic() - begin_s >= (297 + 2217) * 10 / 3_000_000 - 1e-4


def test_who_speaks_before_the_answer_has_ended_is_not_heard(line: Line) -> None:
    clock, order = ManualClock(), frame(LEFT, 0x02, order_bytes(line.interface))
    line.port._clock = clock
    for data, requests, collisions in ((order, 1, 0), (IDENTITY_REQUEST, 1, 1), (order + order, 1, 2)):
        line.loop.call_and_wait(lambda data=data: line.port._on_data(data))
        assert (line.port.requests, line.port.collisions) == (requests, collisions)
    clock.advance_s((297 + 2217) * 10 / 3_000_000)
    line.loop.call_and_wait(lambda: line.port._on_data(order + order))
    assert (line.port.requests, line.port.collisions) == (2, 3), "the second of two in a row comes while the first is answered"


def test_position_mode_moves_the_joint_and_mode_0_takes_its_power(line: Line) -> None:
    line.order(position=1.2)
    wait_for(lambda: abs(line.order(position=1.2)[4][2] - 1.2) < 1e-3, "the index finger")
    assert abs(line.plant.read().position_rad[4] - 1.2) < 1e-3 and line.hand.powered.all()
    line.plant._time_constant_s = 100.0  # far from its target for as long as this test takes
    line.order(position=0.2)
    line.order(mode=0)
    assert not line.hand.powered.any() and abs(line.plant._target[4] - 1.2) < 0.1, "no servo pulls it on"


@pytest.mark.parametrize(("wrong", "code"), [
    ({"mode": 4}, 104), ({"position": 2.5}, 105), ({"position": float("nan")}, 105), ({"position": float("inf")}, 105), ({"kp": -1}, 105),
])
def test_an_order_it_cannot_obey_is_told_by_code_and_moves_nothing(line: Line, wrong: dict, code: int) -> None:
    state = line.order(**wrong)
    assert state[4][7] == code and abs(state[4][2] - line.interface.home[4]) < 1e-3
    assert line.order()[4][7] == 0, "the next good one is obeyed"


def test_an_error_of_its_joint_board_stops_that_joint_alone(line: Line) -> None:
    line.order()
    line.hand.inject_error("hand_index_joint1", 109)
    assert line.order(position=1.0)[4][7] == 109
    time.sleep(0.1)
    assert abs(line.plant.read().position_rad[4] - line.interface.home[4]) < 1e-3
    line.hand.set_temperature("hand_mid_joint1", 85.0)
    assert line.order()[6][5:8] == (85, 0, 103)
    line.hand.set_temperature("hand_mid_joint1", 75.0)
    assert line.order()[6][7] == 103, "still too warm"
    line.hand.set_temperature("hand_mid_joint1", 60.0)
    assert line.order()[6][7] == 0


class Wall:
    """A plant whose joint 4 leans on something stiff at 0.5 rad."""

    def __init__(self, interface: Interface) -> None:
        self.names = interface.names
        self._lower = np.array([limit.lower_rad for limit in interface.limits])
        self.target = np.array(interface.home)

    def read(self) -> PlantState:
        position = self.target.copy()
        position[4] = min(position[4], 0.5)
        effort = np.zeros(12)
        effort[4] = np.clip((self.target[4] - position[4]) * 11.0, -1.1, 1.1)
        return PlantState(position, np.zeros(12), effort)

    def command(self, position_rad: np.ndarray) -> None:
        self.target = np.array(position_rad)

    def hold(self) -> None:
        self.target = self.read().position_rad.copy()


def test_the_current_limit_holds_a_blocked_joint_back_and_says_so_after_half_a_second() -> None:
    interface, clock = interface_of(), ManualClock()
    wall = Wall(interface)
    hand = XHand(interface, wall, clock=clock)
    for _ in range(4):
        clock.advance_s(0.02)
        hand.take_order(order_bytes(interface, position=1.5, torque=200))
    currents = []
    for _ in range(50):
        clock.advance_s(0.02)
        hand.step()
        currents.append(hand._current_ma[4])
    assert max(currents[10:]) < 300.0 and min(currents[10:]) > 120.0, "about its 200 mA"
    assert OVER_CURRENT_AFTER_S < 50 * 0.02
    state = hand.take_order(order_bytes(interface, position=1.5, torque=200))
    assert state is not None and struct.unpack_from("<BBf9H", state, 4 * 24)[7] == 110
    for _ in range(50):
        clock.advance_s(0.02)
        state = hand.take_order(order_bytes(interface, position=0.3, torque=200))
    assert state is not None and struct.unpack_from("<BBf9H", state, 4 * 24)[7] == 0 and abs(wall.target[4] - 0.3) < 1e-6


def test_a_reset_holds_until_another_order_comes(line: Line) -> None:
    line.order(position=1.0)
    line.plant.command(np.array(line.interface.home))
    line.hand.reset()
    for _ in range(3):
        line.order(position=1.0)
    assert not line.hand.powered.any()
    line.order(position=0.9)
    assert line.hand.powered.all()


def test_fault_words_and_what_is_not_one(line: Line) -> None:
    hooks = hooks_of(line.port)
    hooks["stuck"](0.0)
    assert line.silent(IDENTITY_REQUEST)
    hooks["wrong"](0.0)
    hooks["ok"](0.0)
    assert len(line.ask(IDENTITY_REQUEST, 197)) == 197
    with pytest.raises(ConfigError, match="allowed"):
        line.port.set_fault("sleepy")
    with pytest.raises(ConfigError, match="12, with a hardware map"):
        XHand(load_cell("xarm_bimanual").interface("left_hand"), line.plant)


@given(st.binary(max_size=600), st.integers(0, 600))
def test_no_bytes_break_the_reader(noise: bytes, cut: int) -> None:
    reader = RequestReader()
    found = reader.feed(noise[:cut]) + reader.feed(noise[cut:])
    assert all(len(request.payload) <= 4096 for request in found)
    reader.clear()
    whole = frame(LEFT, 0x02, bytes(ORDER_BYTES))
    assert [request.payload for request in reader.feed(noise.replace(b"\x55", b"") + whole)] == [bytes(ORDER_BYTES)]


# -- in the cell ----------------------------------------------------------------------------------------------------------------
def test_driver_simulator_and_physics_follow_a_motion_on_both_sides(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual", hand="xhand1")
    addresses = {
        "left_arm": "127.0.53.11:20053", "right_arm": "127.0.53.12:20053", "left_hand": str(tmp_path / "l"), "right_hand": str(tmp_path / "r"),
    }
    interfaces = {n: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=addresses[n])) for n, i in cell.interfaces.items()}
    cell = dataclasses.replace(cell, interfaces=interfaces, sim=dataclasses.replace(cell.sim, state_server="127.0.53.13:0"))
    with SimCell(cell) as sim:
        drivers = {n: XHandDriver(cell.interface(n), cell.address_of(n), timeout_s=2.0) for n in ("left_hand", "right_hand")}
        try:
            for name, driver in drivers.items():
                assert type(sim.hands[name]).__name__ == "XHandPort"
                driver.connect()
                driver.enable()
                assert np.abs(driver.read().position_rad - np.array(cell.interface(name).home)).max() < 0.1, "nothing moved"
            goals = {n: np.array(cell.interface(n).home) + np.array([0.3, 0.3, 0.3, 0.05] + [0.5] * 8) for n in drivers}
            starts = {n: np.array(d.read().position_rad) for n, d in drivers.items()}
            for part in np.linspace(0.05, 1.0, 20):
                for name, driver in drivers.items():
                    driver.command(starts[name] + part * (goals[name] - starts[name]))
                    driver.read()
                time.sleep(0.02)
            for name, driver in drivers.items():
                wait_for(lambda d=driver, n=name: np.abs(d.read().position_rad - goals[n]).max() < 0.05, name, 10.0)
                assert np.abs(sim.world.state(name).position_rad - goals[name]).max() < 0.06
                wait_for(lambda d=driver: np.abs(d.read().velocity_rad_s).max() < 0.1, f"{name} to stand still", 5.0)
                assert driver.health().ok
            sim.reset(3)
            home = np.array(cell.interface("left_hand").home)
            for _ in range(5):
                assert np.abs(drivers["left_hand"].read().position_rad - home).max() < 0.1, "an old target is not gone to again"
        finally:
            for driver in drivers.values():
                driver.disconnect()
    assert not (tmp_path / "l").exists()


def test_a_line_that_is_taken_undoes_the_start(tmp_path: Path, line: Line) -> None:
    with pytest.raises(DeviceError, match="served by another process"):
        XHandPort(line.hand, str(line.port.line.path), line.loop)
