# SPDX-License-Identifier: Apache-2.0
"""The doctor looks at whatever hands a cell has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dex_bringup.doctor import _devices, _running
from dex_core.config import CellConfig, load_cell


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
