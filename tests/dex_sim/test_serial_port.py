# SPDX-License-Identifier: Apache-2.0
"""A simulated serial line behaves as an adapter does: any bytes, any baud rate, unplugged and plugged in again."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from dex_core.errors import DeviceError
from dex_sim.serial_port import SerialPort
from dex_sim.xarm_controller_loop import SocketLoop


class Line:
    """A port that keeps what it gets, and sends on the loop's thread."""

    def __init__(self, loop: SocketLoop, path: Path, **options: int) -> None:
        self.heard: queue.Queue[bytes] = queue.Queue()
        self.loop = loop
        self.port = SerialPort(loop, str(path), self.heard.put, **options)

    def expect(self, wanted: bytes, timeout_s: float = 5.0) -> None:
        got, deadline = b"", time.monotonic() + timeout_s
        while got != wanted:
            assert time.monotonic() < deadline, f"only {got!r} of {wanted!r} came"
            got += self.heard.get(timeout=timeout_s)

    def send(self, *parts: bytes) -> None:
        self.loop.call_and_wait(lambda: [self.port.send(part) for part in parts] and None)


@pytest.fixture
def loop() -> Iterator[SocketLoop]:
    loop = SocketLoop("serial")
    yield loop
    loop.stop()


@pytest.mark.parametrize("baud", [0, 115200, 460800, 4_000_000])
def test_every_byte_passes_both_ways(loop: SocketLoop, tmp_path: Path, baud: int) -> None:
    line = Line(loop, tmp_path / "port", baud=baud)
    every = bytes(range(256))
    with serial.Serial(str(tmp_path / "port"), baud or 115200, timeout=5) as client:
        client.write(every)
        line.expect(every)
        line.send(every[:100], every[100:])
        assert client.read(256) == every
    line.port.close()


def test_a_reply_takes_its_time_on_the_wire(loop: SocketLoop, tmp_path: Path) -> None:
    line = Line(loop, tmp_path / "port", baud=9600)
    with serial.Serial(str(tmp_path / "port"), 9600, timeout=5) as client:
        before = time.monotonic()
        line.send(bytes(96))
        assert len(client.read(96)) == 96 and time.monotonic() - before >= 0.1  # 960 bits
    line.port.close()


def test_a_pulled_cable_is_an_error_and_plugging_it_in_again_a_new_line(loop: SocketLoop, tmp_path: Path) -> None:
    line = Line(loop, tmp_path / "port")
    client = serial.Serial(str(tmp_path / "port"), 115200, timeout=0.2)
    line.port.hang_up()
    with pytest.raises((serial.SerialException, OSError)):
        for _ in range(20):
            client.write(b"x")
            client.read(1)
    client.close()
    assert not os.path.lexists(tmp_path / "port") and not line.port.plugged
    line.send(b"lost")
    line.port.plug()
    with serial.Serial(str(tmp_path / "port"), 115200, timeout=5) as again:
        line.send(b"back")
        assert again.read(4) == b"back"
    line.port.close()
    line.port.close()


def test_a_path_has_one_server(loop: SocketLoop, tmp_path: Path) -> None:
    line = Line(loop, tmp_path / "port")
    with pytest.raises(DeviceError, match="served by another") as refused:
        SerialPort(loop, str(tmp_path / "port"), lambda _data: None)
    assert refused.value.code == "address_unavailable"
    line.port.close()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DeviceError, match="no simulated serial line"):
        SerialPort(loop, str(tmp_path / "file"), lambda _data: None)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("number", ["987654", "taken again"])
def test_a_link_that_a_killed_process_left_is_replaced(loop: SocketLoop, tmp_path: Path, number: str) -> None:
    master, slave = os.openpty()
    (tmp_path / "port").symlink_to(os.ttyname(slave) if number == "taken again" else f"/dev/pts/{number}")
    line = Line(loop, tmp_path / "port")
    with serial.Serial(str(tmp_path / "port"), 115200, timeout=5) as client:
        client.write(b"alive")
        line.expect(b"alive")
    line.port.close()
    os.close(master)
    os.close(slave)
