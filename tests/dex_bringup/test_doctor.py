# SPDX-License-Identifier: Apache-2.0
"""The doctor looks at whatever hands a cell has."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from dex_bringup.device.machine import LIBRARIES, NEEDED, SerialPort, in_dialout, libraries, limits, port_problem, round_trip, serial_ports
from dex_bringup.doctor import _compiled, _devices, _ping, _running
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DeviceError
from dex_core.native import compiler


def cell_at(address: str) -> CellConfig:
    """A cell with an Ability hand at a real address, everything else simulated only."""
    return load_cell("xarm_bimanual", left_hand="ability", addresses={"left_hand": address})


@pytest.mark.parametrize(("address", "level", "words"), [
    ("/dev/no_such_port", "missing", "/dev/no_such_port is not there"), ("/dev/null", "ok", "/dev/null is there"),
    ("hand:serial", "missing", "is no HOST, HOST:PORT or serial port"), ("127.0.0.1:9", "missing", "does not answer"),
])
def test_a_serial_hand_is_looked_for_where_it_is(address: str, level: str, words: str) -> None:
    found = {finding.topic: finding for finding in _devices(cell_at(address))}
    assert found["left_hand"].level == level and words in found["left_hand"].text
    assert found["right_hand"].level == "note"


def test_hands_without_device_simulator_have_ports_too(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual", left_hand="ability", right_hand="leap")
    moved = {
        name: dataclasses.replace(i, address=dataclasses.replace(i.address, simulated=f"127.0.61.{101 + n}:26{n}00"))
        for n, (name, i) in enumerate(cell.interfaces.items(), start=1)
    }
    finding = _running(dataclasses.replace(cell, interfaces=moved, sim=dataclasses.replace(cell.sim, state_server="127.0.61.101:26900")))
    assert finding.level == "ok" and "its ports are free" in finding.text


def test_serial_ports_are_told_with_their_lasting_names_and_latency(tmp_path: Path) -> None:
    dev, sys_class = tmp_path / "dev", tmp_path / "sys"
    (dev / "serial" / "by-id").mkdir(parents=True)
    for name in ("ttyUSB0", "ttyUSB1", "ttyACM0", "ttyS0"):
        (dev / name).touch()
    (dev / "serial" / "by-id" / "usb-FTDI_LEAP-if00-port0").symlink_to("../../ttyUSB0")
    (sys_class / "ttyUSB0" / "device").mkdir(parents=True)
    (sys_class / "ttyUSB0" / "device" / "latency_timer").write_text("16\n", encoding="ascii")
    found = {Path(port.device).name: port for port in serial_ports(dev, sys_class)}
    assert set(found) == {"ttyUSB0", "ttyUSB1", "ttyACM0"}  # ttyS0 is no adapter and has no name
    assert found["ttyUSB0"].names[0].endswith("usb-FTDI_LEAP-if00-port0") and found["ttyUSB0"].latency_ms == 16
    assert found["ttyACM0"].latency_ms is None


@pytest.mark.parametrize(("port", "words"), [
    (SerialPort("/dev/ttyUSB0", ("/dev/serial/by-id/a",), False, "dialout", 1), "usermod -aG dialout"),
    (SerialPort("/dev/ttyUSB0", ("/dev/serial/by-id/a",), True, "dialout", 16), "sudo tee /sys/bus/usb-serial/devices/ttyUSB0/latency_timer"),
    (SerialPort("/dev/ttyUSB0", (), True, "dialout", 1), "no name under /dev/serial/by-id"),
])
def test_what_is_wrong_with_a_port_comes_with_what_to_do(port: SerialPort, words: str) -> None:
    assert words in port_problem(port)
    assert not port_problem(SerialPort("/dev/ttyUSB0", ("/dev/serial/by-id/a",), True, "dialout", 1))


def test_rights_and_libraries_are_told() -> None:
    assert set(limits()) == {"rtprio", "memlock"} and in_dialout() in (True, False)
    versions = {name: version for name, version, _use in libraries()}
    assert set(versions) == set(LIBRARIES) and all(versions[name] for name in NEEDED)


def test_a_round_trip_needs_an_address_and_an_answer() -> None:
    with socket.create_server(("127.0.58.41", 0)) as listener:
        port = listener.getsockname()[1]
        there = round_trip(f"127.0.58.41:{port}", count=5)
    assert there.open and 0.0 < there.median_ms <= there.worst_ms and not there.lost
    refused = round_trip(f"127.0.58.41:{port}", count=5)
    assert not refused.open and "nothing listens" in _ping(f"127.0.58.41:{port}").text
    with pytest.raises(ConfigError, match="no HOST"):
        round_trip(":502")
    with pytest.raises(DeviceError, match="does not answer"):
        round_trip("no-such-host.invalid:502", count=1)


def test_compiled_parts_are_told_and_so_is_their_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEX_KERNEL", raising=False)
    monkeypatch.setenv("DEX_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CC", "")
    found = {finding.topic: finding for finding in _compiled()}
    assert set(found) == {"compiled kernel", "compiled clouds"}
    assert all(finding.level == "note" and "slower: no C compiler" in finding.text for finding in found.values())
    assert "clouds are computed without" in found["compiled clouds"].text


def test_a_kernel_that_is_not_wanted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler() is None:
        pytest.skip("needs a C compiler")
    monkeypatch.setenv("DEX_KERNEL", "numpy")
    assert all(finding.level == "note" and "DEX_KERNEL" in finding.text for finding in _compiled())
    monkeypatch.delenv("DEX_KERNEL")
    assert all(finding.level == "ok" and finding.text.endswith(".so") for finding in _compiled())
