# SPDX-License-Identifier: Apache-2.0
"""F40: a second start of the same cell is refused, whoever owns the first."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dex_bringup.claim import AlreadyRunningError, Claim, claim_cell
from dex_bringup.testing import private_cell
from dex_core.config import CellConfig, load_cell

DOMAIN = 58


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CellConfig]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    yield load_cell(private_cell(tmp_path, DOMAIN, host=200))


def test_second_claim_is_refused_and_names_the_owner(cell: CellConfig) -> None:
    first = claim_cell(cell, "")
    with pytest.raises(AlreadyRunningError, match=f"ROS_DOMAIN_ID {DOMAIN}.*process {os.getpid()}") as caught:
        claim_cell(cell, "")
    assert caught.value.pid == os.getpid()
    first.release()
    claim_cell(cell, "").release()


def test_another_namespace_may_not_take_the_same_devices(cell: CellConfig) -> None:
    first = claim_cell(cell, "a")
    with pytest.raises(AlreadyRunningError, match="left_arm at"):
        claim_cell(cell, "b")
    first.release()


def test_a_refused_claim_holds_nothing(cell: CellConfig) -> None:
    blocker = Claim()
    blocker.take(f"device/{cell.address_of('right_hand')}", "right_hand")
    with pytest.raises(AlreadyRunningError):
        claim_cell(cell, "")
    blocker.release()
    claim_cell(cell, "").release()


def test_a_port_in_use_is_named(cell: CellConfig) -> None:
    host, port = cell.sim.state_server.rsplit(":", 1)
    with socket.create_server((host, int(port))), pytest.raises(AlreadyRunningError, match=cell.sim.state_server):
        claim_cell(cell, "")


def test_real_hardware_binds_no_port(cell: CellConfig) -> None:
    interfaces = {
        n: dataclasses.replace(i, address=dataclasses.replace(i.address, real=f"10.9.8.7:{k}")) for k, (n, i) in enumerate(cell.interfaces.items())
    }
    claim_cell(dataclasses.replace(cell, simulated=False, interfaces=interfaces), "real").release()


def test_a_humanoid_and_its_hands_share_a_dds_domain_and_another_cell_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    cell = load_cell("g1", simulated=False, addresses={name: "dds:232" for name in ("body", "left_hand", "right_hand")})
    first, other = claim_cell(cell, "a"), Claim()
    for name in ("left_hand", "right_hand"):
        first.give_device(cell.address_of(name))
        with pytest.raises(AlreadyRunningError, match="body at dds:232 is in use"):
            other.take_device(cell, "body")
    first.give_device("dds:232")
    other.take_device(cell, "body")
    other.release()
    first.release()


def test_however_often_one_asks_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.claim.ASKERS", 2)
    owner = Claim()
    owner.take("device/asked", "a device")
    for _ in range(9):
        with pytest.raises(AlreadyRunningError, match="a device is in use by process"):
            Claim().take("device/asked", "a device")
    owner.release()
