# SPDX-License-Identifier: Apache-2.0
"""The simulated servo line against frames of the manual and against the vendor's SDK, as it is."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dynamixel_sdk as sdk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_core.config import load_cell
from dex_core.errors import ConfigError, DeviceError, JointNameError
from dex_ros.testing import wait_for
from dex_sim.dynamixel import DynamixelHand
from dex_sim.dynamixel_line import ServoLine
from dex_sim.dynamixel_servo import Servo
from dex_sim.dynamixel_table import ITEMS, ControlTable
from dex_sim.dynamixel_wire import MAX_ID, Instruction, RequestReader, crc16, fast_status, pack, status
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop

BAUD = 4_000_000
ALERT = 128
FAIL, INSTRUCTION, CRC, RANGE, LENGTH, LIMIT, ACCESS = 1, 2, 3, 4, 5, 6, 7


def test_packets_are_those_of_the_manual() -> None:
    """ROBOTIS e-manual, Protocol 2.0, the example of each instruction."""
    frames = {
        "FF FF FD 00 01 03 00 01 19 4E": pack(1, Instruction.PING, b""),
        "FF FF FD 00 FE 03 00 01 31 42": pack(0xFE, Instruction.PING, b""),
        "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D": status(1, 0, b"\x06\x04\x26"),
        "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15": pack(1, Instruction.READ, bytes([132, 0, 4, 0])),
        "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0": status(1, 0, b"\xa6\0\0\0"),
        "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89": pack(1, Instruction.WRITE, bytes([116, 0, 0, 2, 0, 0])),
        "FF FF FD 00 01 04 00 55 00 A1 0C": status(1, 0),
        "FF FF FD 00 01 03 00 05 02 CE": pack(1, Instruction.ACTION, b""),
        "FF FF FD 00 01 04 00 06 01 A1 E6": pack(1, Instruction.FACTORY_RESET, b"\x01"),
        "FF FF FD 00 01 03 00 08 2F 4E": pack(1, Instruction.REBOOT, b""),
        "FF FF FD 00 01 08 00 10 01 44 58 4C 22 B1 DC": pack(1, Instruction.CLEAR, b"\x01\x44\x58\x4c\x22"),
        "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA": pack(0xFE, Instruction.SYNC_READ, bytes([132, 0, 4, 0, 1, 2])),
    }
    for frame, packed in frames.items():
        assert packed == bytes.fromhex(frame)


@given(st.lists(st.tuples(st.integers(0, MAX_ID), st.sampled_from(list(Instruction)), st.binary(max_size=60)), max_size=5), st.binary(max_size=9))
def test_packets_survive_stuffing_and_any_cut(sent: list[tuple[int, Instruction, bytes]], junk: bytes) -> None:
    stream = junk + b"".join(pack(identifier, instruction, data + b"\xff\xff\xfd") for identifier, instruction, data in sent)
    reader = RequestReader()
    found = [request for i in range(0, len(stream), 7) for request in reader.feed(stream[i : i + 7], 0)]
    wanted = [(identifier, instruction, data + b"\xff\xff\xfd") for identifier, instruction, data in sent]
    assert [(request.id, request.instruction, request.parameters) for request in found if request.intact][-len(wanted) or len(found):] == wanted


@given(st.binary(max_size=300))
def test_a_reader_takes_any_bytes_and_keeps_few(data: bytes) -> None:
    reader = RequestReader()
    reader.feed(data, 0)
    assert len(reader._buffer) <= 1024 + 7
    reader.feed(b"", 10**12)
    found = reader.feed(pack(3, Instruction.PING, b""), 10**12)
    assert (found[-1].id, found[-1].instruction) == (3, Instruction.PING)


def test_a_fast_status_carries_a_checksum_after_each_servo() -> None:
    packet = fast_status([(3, 0, b"\1\2"), (7, ALERT, b"\3\4")], promised=12)
    assert packet[:8] == bytes.fromhex("FF FF FD 00 FE 0D 00 55") and packet[8:12] == bytes([0, 3, 1, 2]) and packet[14:18] == bytes([ALERT, 7, 3, 4])
    assert packet[12:14] == crc16(packet[:12]).to_bytes(2, "little") and packet[18:] == crc16(packet[:18]).to_bytes(2, "little")


def test_the_table_holds_every_address_once() -> None:
    places = [item.address + i for item in ITEMS.values() for i in range(item.size)]
    assert len(places) == len(set(places))
    table = ControlTable()
    assert all(table.get(name) == item.initial for name, item in ITEMS.items())


# --- against the vendor's SDK --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def loop() -> Iterator[SocketLoop]:
    loop = SocketLoop("dynamixel-test")
    yield loop
    loop.stop()


class Bench:
    """Three servos, ids 1, 2 and 5, and the SDK's own port and packet handler on their line. Motors turn nothing."""

    def __init__(self, loop: SocketLoop, path: str) -> None:
        self.servos = {identifier: Servo(identifier, return_delay=0, secondary_id=100) for identifier in (1, 2, 5)}
        for servo in self.servos.values():
            servo.motor.position = 1000.0 + servo.identifier
            servo.relocated()
        self.line = ServoLine(loop, path, tuple(self.servos.values()), baud=BAUD)
        self.loop = loop
        self.port, self.packets = sdk.PortHandler(path), sdk.PacketHandler(2.0)
        assert self.port.setBaudRate(BAUD)

    def close(self) -> None:
        self.port.closePort()
        self.line.port.close()

    def write(self, identifier: int, address: int, size: int, value: int) -> int:
        """The error byte; -1 without an answer."""
        result, error = self.packets.writeTxRx(self.port, identifier, address, size, list(value.to_bytes(size, "little", signed=value < 0)))
        return error if result == sdk.COMM_SUCCESS else -1

    def read(self, identifier: int, address: int, size: int) -> int:
        data, result, error = self.packets.readTxRx(self.port, identifier, address, size)
        assert (result, error) == (sdk.COMM_SUCCESS, 0)
        return int.from_bytes(bytes(data), "little")

    def ask(self, packet: bytes) -> int:
        """The error byte of the answer to a packet; -1 without one."""
        self.port.clearPort()
        self.port.writePort(packet)
        self.port.setPacketTimeout(11)
        answer, result = self.packets.rxPacket(self.port, False)
        return answer[8] if result == sdk.COMM_SUCCESS else -1

    def error_of_read(self, identifier: int, address: int, size: int) -> int:
        _, result, error = self.packets.readTxRx(self.port, identifier, address, size)
        return error if result == sdk.COMM_SUCCESS else -1


@pytest.fixture
def bench(loop: SocketLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(sdk.port_handler, "LATENCY_TIMER", 60)  # [ms]; the SDK waits for twice as long, also on a busy machine
    bench = Bench(loop, str(tmp_path / "line"))
    yield bench
    bench.close()


def test_ping_and_broadcast_ping(bench: Bench) -> None:
    assert bench.packets.ping(bench.port, 5) == (1240, sdk.COMM_SUCCESS, 0)
    assert bench.packets.ping(bench.port, 6)[1] == sdk.COMM_RX_TIMEOUT
    assert bench.packets.broadcastPing(bench.port) == ({1: [1240, 52], 2: [1240, 52], 5: [1240, 52]}, sdk.COMM_SUCCESS)


def test_read_write_and_refusals(bench: Bench) -> None:
    assert bench.read(1, 132, 4) == 1001
    assert bench.write(1, 65, 1, 1) == 0 and bench.read(1, 65, 1) == 1
    assert bench.write(1, 116, 4, 5000) == LIMIT, "mode 3 keeps to the position limits"
    assert bench.write(1, 102, 2, 3000) == RANGE
    assert bench.write(1, 38, 2, 400) == 0 and bench.write(1, 102, 2, 401) == LIMIT
    assert bench.write(1, 132, 4, 7) == ACCESS, "read only"
    assert bench.write(1, 116, 2, 7) == LENGTH
    assert bench.write(1, 11, 1, 7) == RANGE, "no such mode"
    assert bench.error_of_read(1, 14, 4) == ACCESS and bench.error_of_read(1, 226, 8) == ACCESS


def test_the_eeprom_is_locked_while_torque_is_on(bench: Bench) -> None:
    assert bench.write(1, 64, 1, 1) == 0
    assert bench.write(1, 11, 1, 5) == ACCESS
    assert bench.write(1, 64, 1, 0) == 0 and bench.write(1, 11, 1, 5) == 0
    assert bench.write(1, 84, 2, 33) == 0 and bench.write(1, 11, 1, 4) == 0
    assert bench.read(1, 84, 2) == 1100, "a change of mode resets the gains"


def test_status_return_level(bench: Bench) -> None:
    assert bench.write(1, 68, 1, 1) == 0, "the old level holds for its own answer"
    assert bench.write(1, 65, 1, 1) == -1 and bench.read(1, 65, 1) == 1
    bench.write(1, 68, 1, 0)
    assert bench.error_of_read(1, 65, 1) == -1 and bench.packets.ping(bench.port, 1)[1] == sdk.COMM_SUCCESS


def test_registered_writes_wait_for_action(bench: Bench) -> None:
    for identifier in (1, 2):
        assert bench.packets.regWriteTxRx(bench.port, identifier, 65, 1, [1]) == (sdk.COMM_SUCCESS, 0)
    assert bench.read(1, 65, 1) == 0 and bench.read(1, 69, 1) == 1
    bench.packets.action(bench.port, sdk.BROADCAST_ID)
    assert [bench.read(identifier, 65, 1) for identifier in (1, 2, 5)] == [1, 1, 0] and bench.read(1, 69, 1) == 0


def test_sync_write_and_both_sync_reads(bench: Bench) -> None:
    writer = sdk.GroupSyncWrite(bench.port, bench.packets, 116, 4)
    for identifier, goal in ((1, 1500), (2, 0xFDFFFF), (5, 1700)):  # the second is out of range: one refusal does not touch the others
        writer.addParam(identifier, list(goal.to_bytes(4, "little")))
    assert writer.txPacket() == sdk.COMM_SUCCESS
    reader = sdk.GroupSyncRead(bench.port, bench.packets, 116, 4)
    for identifier in (5, 1, 2):
        reader.addParam(identifier)
    for read in (reader.txRxPacket, reader.fastSyncRead):
        assert read() == sdk.COMM_SUCCESS
        assert [reader.getData(identifier, 116, 4) for identifier in (1, 2, 5)] == [1500, 1002, 1700]


def test_bulk_write_and_both_bulk_reads(bench: Bench) -> None:
    writer = sdk.GroupBulkWrite(bench.port, bench.packets)
    writer.addParam(1, 116, 4, [0, 6, 0, 0])
    writer.addParam(2, 65, 1, [1])
    assert writer.txPacket() == sdk.COMM_SUCCESS
    reader = sdk.GroupBulkRead(bench.port, bench.packets)
    reader.addParam(1, 116, 4)
    reader.addParam(2, 65, 1)
    for read in (reader.txRxPacket, reader.fastBulkRead):
        assert read() == sdk.COMM_SUCCESS
        assert (reader.getData(1, 116, 4), reader.getData(2, 65, 1)) == (1536, 1)


def test_a_dead_servo_ends_a_read_of_many_at_its_place(bench: Bench) -> None:
    bench.servos[2].dead = True
    reader = sdk.GroupSyncRead(bench.port, bench.packets, 132, 4)
    for identifier in (1, 2, 5):
        reader.addParam(identifier)
    assert reader.txRxPacket() == sdk.COMM_RX_TIMEOUT and bytes(reader.data_dict[1]) == b"\xe9\x03\0\0" and not reader.data_dict[5]
    assert reader.fastSyncRead() == sdk.COMM_RX_CORRUPT


def test_bytes_that_look_like_a_header_are_stuffed(bench: Bench) -> None:
    """The SDK stuffs what it sends into a list that it then throws away, so the packet is made here; what it receives it unstuffs."""
    data = [0xFF, 0xFF, 0xFD, 0xFD, 0xFF, 0xFF, 0xFD, 0x00]
    assert bench.ask(pack(1, Instruction.WRITE, bytes([208, 0, *data]))) == 0
    assert bench.packets.readTxRx(bench.port, 1, 208, 8)[0] == data


def test_indirect_addresses_lead_elsewhere(bench: Bench) -> None:
    for i, target in enumerate((116, 117, 118, 119, 65)):
        assert bench.write(1, 168 + 2 * i, 2, target) == 0
    assert bench.packets.writeTxRx(bench.port, 1, 208, 5, [0x00, 0x05, 0, 0, 1]) == (sdk.COMM_SUCCESS, 0)
    assert (bench.read(1, 116, 4), bench.read(1, 65, 1)) == (1280, 1)
    assert bench.packets.readTxRx(bench.port, 1, 208, 5)[0] == [0x00, 0x05, 0, 0, 1]
    assert bench.write(1, 208, 2, 7) == LENGTH, "half of a goal position"


def test_reboot_forgets_the_ram(bench: Bench) -> None:
    bench.write(1, 64, 1, 1)
    bench.write(1, 84, 2, 33)
    assert bench.packets.reboot(bench.port, 1) == (sdk.COMM_SUCCESS, 0)
    assert bench.packets.ping(bench.port, 1)[1] == sdk.COMM_RX_TIMEOUT, "deaf meanwhile"
    wait_for(lambda: bench.packets.ping(bench.port, 1)[1] == sdk.COMM_SUCCESS, "the servo")
    assert (bench.read(1, 64, 1), bench.read(1, 84, 2), bench.read(1, 116, 4)) == (0, 1100, 1001)


def test_factory_reset_keeps_what_it_is_told_and_not_all_ids_are_reset(bench: Bench) -> None:
    bench.write(5, 9, 1, 3)
    assert bench.packets.factoryReset(bench.port, 5, 0x02) == (sdk.COMM_SUCCESS, 0)
    wait_for(lambda: bench.packets.ping(bench.port, 5)[1] == sdk.COMM_SUCCESS, "the servo")
    assert bench.read(5, 9, 1) == 250
    assert bench.packets.factoryReset(bench.port, 5, 0x77)[1] == FAIL
    bench.packets.factoryReset(bench.port, sdk.BROADCAST_ID, 0xFF)
    assert set(bench.packets.broadcastPing(bench.port)[0]) == {1, 2, 5}


def test_turns_are_cleared_at_rest_only(bench: Bench) -> None:
    motor = bench.servos[1].motor
    motor.position, motor.velocity = 3 * 4096 + 50.0, 900.0
    assert bench.packets.clearMultiTurn(bench.port, 1)[1] == FAIL
    motor.velocity = 0.0
    assert bench.packets.clearMultiTurn(bench.port, 1) == (sdk.COMM_SUCCESS, 0)
    assert bench.read(1, 132, 4) == 50


def test_a_group_obeys_in_silence_and_its_eeprom_is_closed(bench: Bench) -> None:
    assert bench.write(100, 65, 1, 1) == -1 and [bench.read(i, 65, 1) for i in (1, 2, 5)] == [1, 1, 1]
    bench.write(100, 31, 1, 50)
    assert bench.read(1, 31, 1) == 70


def test_a_damaged_packet_is_told_and_an_unknown_instruction_too(bench: Bench) -> None:
    assert bench.ask(pack(1, Instruction.WRITE, bytes([65, 0, 1]))[:-1] + b"\0") == CRC
    assert bench.ask(pack(1, 0x33, b"")) == INSTRUCTION
    assert bench.ask(pack(1, Instruction.READ, b"\x41")) == LENGTH
    assert bench.ask(pack(0xFE, Instruction.SYNC_READ, b"\x41")) == -1, "nobody knows who is meant"
    assert bench.ask(pack(1, Instruction.READ, bytes([65, 0, 1, 0]))) == 0


def test_an_alert_stands_in_every_answer(bench: Bench) -> None:
    bench.loop.call_and_wait(lambda: bench.servos[2].inject(0x20))
    assert bench.packets.ping(bench.port, 2)[2] == ALERT and bench.packets.ping(bench.port, 1)[2] == 0
    assert bench.write(2, 64, 1, 1) == ALERT | FAIL, "torque comes back with a reboot only"
    assert bench.packets.readTxRx(bench.port, 2, 70, 1) == ([0x20], sdk.COMM_SUCCESS, ALERT)


def test_answers_wait_for_the_return_delay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.servos[1].table.set("return_delay_time", 250)
    waits: list[float] = []
    every = bench.loop.every
    monkeypatch.setattr(bench.loop, "every", lambda period_s, work: (waits.append(period_s), every(period_s, work)))
    assert bench.read(1, 65, 1) == 0 and 5e-4 in waits


def test_ids_must_differ(loop: SocketLoop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[3, 3\]"):
        ServoLine(loop, str(tmp_path / "line"), (Servo(3), Servo(3)))


# --- a hand --------------------------------------------------------------------------------------------------------------
def test_a_hand_checks_what_it_is_given(loop: SocketLoop, tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual", left_hand="leap", right_hand="inspire")
    leap, path = cell.interface("left_hand"), str(tmp_path / "leap")
    with pytest.raises(JointNameError):
        DynamixelHand(leap, KinematicPlant(leap.names[::-1], np.zeros(16)), path, loop)
    hand = DynamixelHand(leap, KinematicPlant(leap.names, np.zeros(16)), path, loop)
    with pytest.raises(DeviceError, match="another process serves|served by another"):
        DynamixelHand(leap, KinematicPlant(leap.names, np.zeros(16)), path, loop)
    with pytest.raises(ConfigError, match="'right_1'"):
        hand.inject_error("right_1", 1)
    with pytest.raises(ConfigError, match="'loud'"):
        hand.set_fault("loud")
    hand.close()
    hand.close()


def test_fault_words_do_what_they_say(loop: SocketLoop, tmp_path: Path) -> None:
    leap = load_cell("xarm_bimanual", hand="leap").interface("left_hand")
    hand = DynamixelHand(leap, KinematicPlant(leap.names, np.zeros(16)), str(tmp_path / "leap"), loop)
    hooks = hand.fault_hooks()
    assert set(hooks) == {"ok", "off", "stuck", "garbage", "delayed", "wrong"}
    hooks["off"](0.0)
    assert not hand.line.port.plugged
    hooks["delayed"](0.7)
    assert (hand.line.fault, hand.line.delay_s) == ("slow", 0.7)
    hooks["wrong"](0.0)
    assert hand.servo("left_0").table.get("hardware_error_status") == 0x20
    hooks["ok"](0.0)
    assert hand.line.port.plugged and hand.line.fault == "none"
    hand.close()


def test_a_reset_holds_what_is_there_now(loop: SocketLoop, tmp_path: Path) -> None:
    leap = load_cell("xarm_bimanual", hand="leap").interface("right_hand")
    clock = SimpleNamespace(now_ns=lambda: 0)
    plant = KinematicPlant(leap.names, np.zeros(16), clock=clock)
    hand = DynamixelHand(leap, plant, str(tmp_path / "leap"), loop, clock=clock)
    hand.inject_error("right_3", 0x20)
    plant._position[:] = 0.4
    hand.reset()
    servo = hand.servo("right_3")
    assert servo.table.get("hardware_error_status") == 0
    assert servo.table.get("goal_position") == servo.present_position == 2309
    hand.close()
