# SPDX-License-Identifier: Apache-2.0
"""The Inspire simulator, seen by a Modbus client that shares no code with it: raw sockets and literal addresses."""
from __future__ import annotations

import os
import socket
import struct
import termios
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from dex_core.clock import ManualClock
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_sim.inspire_modbus import InspireBus, split_address
from dex_sim.inspire_modbus_hand import FULL_TRAVEL_S, MOTOR, OVER_TEMPERATURE, STALL, InspireHand
from dex_sim.plant import KinematicPlant, PlantState

LEFT = "127.0.55.21:26000"
OPEN = [1000] * 6


class RawTcp:
    """Modbus TCP in thirty lines, written from the standard alone."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=2.0)
        self.tid = 0

    def request(self, pdu: bytes) -> bytes:
        self.tid += 1
        self.socket.sendall(struct.pack(">HHHB", self.tid, 0, len(pdu) + 1, 255) + pdu)
        tid, protocol, length, unit = struct.unpack(">HHHB", self._exactly(7))
        assert (tid, protocol) == (self.tid, 0)
        return self._exactly(length - 1)

    def read(self, address: int, count: int) -> list[int]:
        reply = self.request(struct.pack(">BHH", 3, address, count))
        assert reply[0] == 3, reply
        assert reply[1] == 2 * count
        return list(struct.unpack(f">{count}H", reply[2:]))

    def write(self, address: int, values: list[int]) -> bytes:
        words = struct.pack(f">{len(values)}h", *values)
        return self.request(struct.pack(">BHHB", 16, address, len(values), len(words)) + words)

    def _exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            piece = self.socket.recv(n - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data


class Spring(KinematicPlant):
    """A plant whose first joint meets an object at 0.7 rad: beyond, effort grows with the distance to the target."""

    stiffness_nm_rad = 20.0

    def read(self) -> PlantState:
        state = super().read()
        position, effort = state.position_rad.copy(), np.zeros(6)
        effort[0] = max(0.0, self.stiffness_nm_rad * (position[0] - 0.7))
        position[0] = min(position[0], 0.7)
        return PlantState(position, state.velocity_rad_s, effort)


class Jam(Spring):
    """The same without a force the hand could measure."""

    stiffness_nm_rad = 0.0


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**9)


@pytest.fixture
def hand(cell: CellConfig, clock: ManualClock) -> InspireHand:
    """A left hand, open, on a manual clock and a plant that follows at once."""
    interface = cell.interface("left_hand")
    return InspireHand(interface, KinematicPlant(interface.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)


@pytest.fixture
def served(cell: CellConfig) -> Iterator[tuple[InspireBus, InspireHand]]:
    interface = cell.interface("left_hand")
    with InspireBus() as bus:
        hand = InspireHand(interface, KinematicPlant(interface.names, np.zeros(6), time_constant_s=0.005))
        bus.serve_tcp(hand, LEFT)
        yield bus, hand


def run(hand: InspireHand, clock: ManualClock, seconds: float) -> None:
    for _ in range(round(seconds / 0.01)):
        clock.advance_s(0.01)
        hand.step()


def angles(hand: InspireHand, clock: ManualClock) -> list[int]:
    clock.advance_s(0.01)
    return hand.read_words(1546, 6)


# -- the wire -----------------------------------------------------------------------------------------------------------
def test_a_raw_client_reads_what_the_manual_says(served: tuple[InspireBus, InspireHand]) -> None:
    client = RawTcp(LEFT)
    assert client.read(1546, 6) == OPEN
    assert client.read(1534, 6) == [0] * 6
    assert client.read(1000, 1) == [2]
    assert client.read(1522, 6) == OPEN
    assert client.read(1618, 3) == [32 << 8 | 32] * 3


def test_words_count_from_the_requested_start(served: tuple[InspireBus, InspireHand]) -> None:
    client = RawTcp(LEFT)
    client.write(1486, [900, 800, 700, 600, 500, 400])
    assert client.read(1486, 6) == [900, 800, 700, 600, 500, 400]
    assert client.read(1488, 1) == [800]
    assert client.read(1490, 2) == [700, 600]


@pytest.mark.parametrize("address, count, code", [(0, 1, 2), (5200, 1, 2), (5120, 4, 2), (1546, 126, 3), (1546, 0, 3)])
def test_reads_outside_the_map_are_refused(served: tuple[InspireBus, InspireHand], address: int, count: int, code: int) -> None:
    reply = RawTcp(LEFT).request(struct.pack(">BHH", 3, address, count))
    assert reply[0] in (0x83, 0x80) and (reply[0] == 0x80 or reply[1] == code)


@pytest.mark.parametrize(
    "address, values, code", [(1546, [1], 2), (1486, [1001], 3), (1486, [-2], 3), (1487, [5], 2), (1484, [5], 3), (1498, [3001], 3)]
)
def test_bad_writes_are_refused_whole(served: tuple[InspireBus, InspireHand], address: int, values: list[int], code: int) -> None:
    client = RawTcp(LEFT)
    before = client.read(1486, 6) + client.read(1498, 6)
    reply = client.write(address, [*values, 500] if address == 1486 else values)
    if address == 1484:  # the last POS_SET register: a legal place
        assert reply[0] == 16
        return
    assert list(reply) == [0x90, code]
    assert client.read(1486, 6) + client.read(1498, 6) == before


def test_clear_error_is_a_single_register_write_and_is_echoed(served: tuple[InspireBus, InspireHand]) -> None:
    bus, hand = served
    hand.inject_error("ring", STALL)
    client = RawTcp(LEFT)
    assert client.read(1606, 3) == [STALL, 0, 0]  # ring is the low byte of the first word
    request = struct.pack(">BHH", 6, 1004, 1)
    assert client.request(request)[:3] == request[:3]
    assert client.read(1606, 3) == [0, 0, 0]


def test_a_frame_in_pieces_is_answered_once_it_is_whole(served: tuple[InspireBus, InspireHand]) -> None:
    client = RawTcp(LEFT)
    frame = struct.pack(">HHHBBHH", 7, 0, 6, 1, 3, 1000, 1)
    for byte in frame[:-1]:
        client.socket.sendall(bytes([byte]))
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.socket.recv(64)
    client.socket.settimeout(2.0)
    client.socket.sendall(frame[-1:])
    assert client._exactly(11)[-2:] == b"\x00\x02"


def test_server_stops_and_returns(served: tuple[InspireBus, InspireHand]) -> None:
    bus, hand = served
    client = RawTcp(LEFT)
    client.read(1000, 1)
    bus.stop(LEFT)
    with pytest.raises((ConnectionError, TimeoutError)):
        client.read(1000, 1)
    with pytest.raises(OSError):
        RawTcp(LEFT)
    bus.serve_tcp(hand, LEFT)
    assert RawTcp(LEFT).read(1000, 1) == [2]


def test_two_simulators_on_one_address_is_an_error(served: tuple[InspireBus, InspireHand], cell: CellConfig) -> None:
    interface = cell.interface("right_hand")
    other = InspireHand(interface, KinematicPlant(interface.names, np.zeros(6)))
    with InspireBus() as bus, pytest.raises(DeviceError, match="another simulator"):
        bus.serve_tcp(other, LEFT)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        split_address("nonsense")


def crc16(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)


def test_rtu_over_a_pty_with_the_manuals_own_frame(cell: CellConfig) -> None:
    interface = cell.interface("right_hand")
    with InspireBus() as bus:
        path = bus.serve_rtu(InspireHand(interface, KinematicPlant(interface.names, np.zeros(6))))
        line = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(line, termios.TCSANOW)
        os.write(line, bytes.fromhex("0103060A0006E542"))
        reply = b""
        while len(reply) < 17:
            reply += os.read(line, 64)
        assert reply[:3] == b"\x01\x03\x0c" and reply[3:15] == struct.pack(">6H", *OPEN)
        assert reply[15:] == crc16(reply[:15])
        os.write(line, (other := b"\x05\x03\x06\x0a\x00\x06") + crc16(other))  # another device of the bus: no answer
        os.set_blocking(line, False)
        with pytest.raises(BlockingIOError):
            os.read(line, 64)
        os.close(line)


# -- the motors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("speed, seconds", [(1000, FULL_TRAVEL_S), (500, 2 * FULL_TRAVEL_S)])
def test_speed_set_is_the_time_of_a_full_travel(hand: InspireHand, clock: ManualClock, speed: int, seconds: float) -> None:
    hand.write_words(1522, [speed] * 6)
    hand.write_words(1486, [0] * 6)
    run(hand, clock, 0.5 * seconds)
    assert np.allclose(angles(hand, clock), 500, atol=40)
    run(hand, clock, 0.55 * seconds)
    assert angles(hand, clock) == [0] * 6


def test_speed_zero_does_not_move(hand: InspireHand, clock: ManualClock) -> None:
    hand.write_words(1522, [0] * 6)
    hand.write_words(1486, [0] * 6)
    run(hand, clock, 0.5)
    assert angles(hand, clock) == OPEN


def test_minus_one_leaves_a_finger_alone(hand: InspireHand, clock: ManualClock) -> None:
    hand.write_words(1486, [0xFFFF, 300, 0xFFFF, 0xFFFF, 0xFFFF, 0])
    run(hand, clock, 1.0)
    assert angles(hand, clock) == [1000, 300, 1000, 1000, 1000, 0]


@pytest.mark.parametrize("count", range(0, 1001, 37))
def test_every_angle_is_reached_and_read_back(hand: InspireHand, clock: ManualClock, count: int) -> None:
    hand.write_words(1486, [count] * 6)
    run(hand, clock, 0.8)
    assert angles(hand, clock) == [count] * 6
    assert hand.read_words(1612, 3) == [0x0202] * 3
    assert not hand.step()


def test_status_tells_opening_from_closing(hand: InspireHand, clock: ManualClock) -> None:
    hand.write_words(1486, [0, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF])
    run(hand, clock, 0.3)
    assert angles(hand, clock)[2] == 1000
    assert hand.read_words(1612, 3)[0] == 0x0101
    hand.write_words(1486, [1000, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF])
    run(hand, clock, 0.05)
    clock.advance_s(0.01)
    assert hand.read_words(1612, 3)[0] == 0x0001


def test_force_set_stops_a_closing_finger(cell: CellConfig, clock: ManualClock) -> None:
    interface = cell.interface("left_hand")
    hand = InspireHand(interface, Spring(interface.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)
    hand.write_words(1486, [0, 1000, 1000, 1000, 1000, 1000])
    run(hand, clock, 1.5)
    stopped = angles(hand, clock)[0]
    assert 500 < stopped < 540  # the object is at 0.7 rad
    assert hand.read_words(1612, 1)[0] >> 8 == 3
    assert hand.read_words(1606, 3) == [0, 0, 0]  # a force stop is no error
    hand.write_words(1486, [1000] + [0xFFFF] * 5)
    run(hand, clock, 0.8)
    assert angles(hand, clock)[0] == 1000


def test_a_finger_that_cannot_follow_is_a_stall(cell: CellConfig, clock: ManualClock) -> None:
    interface = cell.interface("left_hand")
    hand = InspireHand(interface, Jam(interface.names, np.zeros(6), time_constant_s=1e-4, clock=clock), clock=clock)
    hand.write_words(1486, [0] + [0xFFFF] * 5)
    run(hand, clock, 2.0)
    angles(hand, clock)
    assert hand.read_words(1606, 1)[0] >> 8 == STALL
    assert hand.read_words(1612, 1)[0] >> 8 == 6
    before = angles(hand, clock)
    hand.write_words(1486, [1000] + [0xFFFF] * 5)  # refused while the error stands
    run(hand, clock, 0.5)
    assert angles(hand, clock) == before
    hand.write_words(1004, [1])
    run(hand, clock, 0.5)
    assert angles(hand, clock) == before  # clearing alone does not move
    hand.write_words(1486, [1000] + [0xFFFF] * 5)
    run(hand, clock, 1.0)
    assert angles(hand, clock)[0] == 1000


def test_over_temperature_clears_only_by_cooling(hand: InspireHand, clock: ManualClock) -> None:
    hand.set_temperature("thumb_bend", 75.0)
    hand.inject_error("index", MOTOR)
    assert hand.read_words(1606, 3) == [0, MOTOR, OVER_TEMPERATURE << 8]
    assert hand.read_words(1612, 3) == [0x0202, 0x0207, 0xFF02]
    hand.write_words(1004, [1])
    angles(hand, clock)
    assert hand.read_words(1606, 3) == [0, 0, OVER_TEMPERATURE << 8]
    hand.set_temperature("thumb_bend", 40.0)
    hand.write_words(1004, [1])
    angles(hand, clock)
    assert hand.read_words(1606, 3) == [0, 0, 0]


def test_reset_forgets_targets_and_errors(hand: InspireHand, clock: ManualClock) -> None:
    hand.write_words(1486, [0] * 6)
    run(hand, clock, 0.2)
    hand.inject_error("pinky", MOTOR)
    hand.reset()
    before = angles(hand, clock)
    run(hand, clock, 0.5)
    assert angles(hand, clock) == before
    assert hand.read_words(1606, 3) == [0, 0, 0]


def test_pos_set_is_the_other_scale(hand: InspireHand, clock: ManualClock) -> None:
    hand.write_words(1474, [500] + [0xFFFF] * 5)
    run(hand, clock, 0.8)
    assert angles(hand, clock)[0] == 750
    assert hand.read_words(1534, 1) == [500]
