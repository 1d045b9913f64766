# SPDX-License-Identifier: Apache-2.0
"""The simulated Inspire hand by its own RS-485 frame, seen by a client of twenty lines written from the manual alone."""
from __future__ import annotations

import dataclasses
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_ros.testing import wait_for
from dex_sim.devices import serve_devices
from dex_sim.inspire_modbus_hand import STALL, InspireHand
from dex_sim.inspire_native import NativePort
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller_loop import SocketLoop


class Client:
    """Sends a frame and takes the next answer apart."""

    def __init__(self, path: str) -> None:
        self.port = serial.Serial(path, 115200, timeout=2.0)

    def ask(self, *body: int) -> bytes:
        self.port.write(bytes([0xEB, 0x90, *body, sum(body) & 0xFF]))
        return self.answer()

    def answer(self) -> bytes:
        head = self.port.read(4)
        assert head[:2] == b"\x90\xeb", head
        rest = self.port.read(head[3] + 1)
        assert (sum(head[2:]) + sum(rest[:-1])) & 0xFF == rest[-1]
        return head[2:] + rest[:-1]

    def read(self, address: int, count: int) -> bytes:
        answer = self.ask(1, 4, 0x11, address & 0xFF, address >> 8, count)
        assert answer[1:5] == bytes([count + 3, 0x11, address & 0xFF, address >> 8])
        return answer[5:]

    def write(self, address: int, data: bytes) -> int:
        answer = self.ask(1, len(data) + 3, 0x12, address & 0xFF, address >> 8, *data)
        assert answer[:5] == bytes([1, 4, 0x12, address & 0xFF, address >> 8])
        return answer[5]


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture
def port(cell: CellConfig, tmp_path: Path) -> Iterator[NativePort]:
    interface = cell.interface("right_hand")
    loop = SocketLoop("inspire-test")
    port = NativePort([InspireHand(interface, KinematicPlant(interface.names, np.zeros(6), time_constant_s=0.005))], str(tmp_path / "hand"), loop)
    yield port
    port.close()
    loop.stop()


@pytest.fixture
def client(port: NativePort) -> Iterator[Client]:
    client = Client(str(port.port.path))
    yield client
    client.port.close()


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def test_the_manuals_own_frames(client: Client) -> None:
    client.port.write(bytes.fromhex("EB 90 01 04 11 0A 06 0C 32"))
    assert client.answer()[5:] == words(*[1000] * 6)
    client.port.write(bytes.fromhex("EB 90 01 0F 12 CE 05 FF FF FF FF FF FF FF FF FF FF FF FF E9"))
    assert client.port.read(9) == bytes.fromhex("90 EB 01 04 12 CE 05 01 EB")


def test_angles_are_reached_and_bytes_are_bytes(client: Client) -> None:
    assert client.write(1486, words(900, 800, 700, 600, 500, -1)) == 1
    wait_for(lambda: client.read(1546, 12) == words(900, 800, 700, 600, 500, 1000), "the angles")
    assert client.read(1618, 6) == bytes([32] * 6) and client.read(1000, 1) == b"\x01" and client.read(1487, 2) == bytes([3, 0x20])


def test_errors_lie_byte_by_byte_and_are_cleared_by_one(port: NativePort, client: Client) -> None:
    port.hands[0].inject_error("ring", STALL)
    assert client.read(1606, 6) == bytes([0, STALL, 0, 0, 0, 0])
    assert client.write(1004, b"\x01") == 1
    assert client.read(1606, 6) == bytes(6)


def test_a_save_is_confirmed_a_second_later(client: Client) -> None:
    before = time.monotonic()
    assert client.write(1005, b"\x01") == 1
    assert client.answer() == bytes([1, 4, 0x12, 0xED, 0x03, 0]) and time.monotonic() - before > 0.9


@pytest.mark.parametrize("address, data", [(1546, words(5)), (1486, words(1001)), (1486, b"\x01"), (2320, b"\x03")])
def test_writes_it_does_not_take_are_refused(client: Client, address: int, data: bytes) -> None:
    before = client.read(1486, 12)
    assert client.write(address, data) == 0 and client.read(1486, 12) == before


def test_frames_for_others_damaged_ones_and_noise_get_no_answer(port: NativePort, client: Client) -> None:
    for noise in (b"\xeb\x90\x05\x04\x11\x0a\x06\x0c\x36", b"\xeb\x90\x01\x04\x11\x0a\x06\x0c\x33", b"\x00\xeb", b"\xeb\x90\x01\x00\x01",
                  bytes([0xEB, 0x90, 1, 4, 0x11, 0x88, 0x13, 0xFF, (1 + 4 + 0x11 + 0x88 + 0x13 + 0xFF) & 0xFF])):
        client.port.write(noise)
    assert client.read(1000, 1) == b"\x01" and port.damaged >= 1, "it answers the next good frame, and only that"


def test_fingertips_feel_the_force_of_their_finger(port: NativePort, client: Client) -> None:
    hand = port.hands[0]
    state = hand._plant.read()
    hand._plant.read = lambda: dataclasses.replace(state, effort_nm=np.array([0.0, 0.0, 0.0, 0.5, 0.0, 0.0]))  # type: ignore[method-assign]
    time.sleep(0.005)
    cells = np.frombuffer(client.read(4128, 192), dtype="<i2")
    assert 400 < cells.max() < 700 and cells.argmax() // 8 in (7, 8) and np.frombuffer(client.read(3018, 192), dtype="<i2").max() == 0


def test_the_port_says_which_faults_there_are(port: NativePort) -> None:
    assert port.hands[0].port is port
    with pytest.raises(ConfigError, match="allowed"):
        port.fault = "tired"


def test_a_cell_serves_its_hands_at_their_paths(cell: CellConfig, tmp_path: Path) -> None:
    hands = {name: cell.interface(name) for name in ("left_hand", "right_hand")}
    interfaces = {
        name: dataclasses.replace(i, address=dataclasses.replace(i.address, transport="inspire_rs485", simulated=str(tmp_path / name)))
        for name, i in hands.items()
    }
    moved = dataclasses.replace(cell, interfaces={**cell.interfaces, **interfaces})
    (served,) = serve_devices(moved, list(hands), lambda name: KinematicPlant(moved.interface(name).names, moved.interface(name).home))
    assert set(served.devices) == set(hands) and all((tmp_path / name).is_symlink() for name in hands)
    with pytest.raises(DeviceError, match="served by another"):
        serve_devices(moved, list(hands), lambda name: KinematicPlant(moved.interface(name).names, moved.interface(name).home))
    for reset in served.resets:
        reset()
    served.close()
    assert not any((tmp_path / name).exists() for name in hands)
