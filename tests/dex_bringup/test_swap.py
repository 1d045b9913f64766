# SPDX-License-Identifier: Apache-2.0
"""What a swap of hands decides before anything is stopped, and what it writes."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest
import yaml

from dex_bringup import swap
from dex_bringup.claim import AlreadyRunningError, Claim, claim_cell
from dex_bringup.cli.swap import main
from dex_bringup.resolve import Resolution, resolve
from dex_bringup.supervisor import Supervisor
from dex_bringup.swap import resolution_with
from dex_bringup.testing import private_cell
from dex_core.bundle.testing import write_latent_fixture
from dex_core.config import find_share, load_cell
from dex_core.errors import ConfigError, DexError

REAL = "left_arm=10.0.0.1,right_arm=10.0.0.2,left_hand=10.0.0.3:6000,right_hand=10.0.0.4:6000"


@pytest.fixture
def running(tmp_path: Path) -> Resolution:
    return resolve(private_cell(tmp_path, 61, host=71), {}, tmp_path / "run")


def test_only_the_named_hand_changes(running: Resolution) -> None:
    after = resolution_with(running, "left", "paxini")
    assert after.cell.interface("left_hand").robot.name == "dexh13" == after.arguments["left_hand"]
    back = {**after.cell.interfaces, "left_hand": running.cell.interface("left_hand")}
    assert dataclasses.replace(after.cell, interfaces=back) == running.cell
    assert after.processes is running.processes and load_cell(running.cell_file) == running.cell, "nothing is written yet"
    host = running.cell.address_of("left_hand").partition(":")[0]
    assert after.cell.address_of("left_hand") == f"{host}:6001"


@pytest.mark.parametrize(("side", "hand", "words"), [
    ("middle", "leap", r"side is 'middle'; allowed: \['left', 'right'\]"), ("left", "claw", "hand 'claw' is not known; allowed: .*'leap'.*'xhand'"),
    ("left", "", "hand '' is not known"), ("left", "../leap", "is not known"), ("right", "inspire", "right_hand is inspire already"),
    ("left", "shadow", "no device simulator is known for 'shadow'"), ("left", "xarm7", "is not known"),
])
def test_what_cannot_be_is_refused_with_what_is_allowed(running: Resolution, side: str, hand: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolution_with(running, side, hand)


def test_a_side_without_a_hand_is_named(tmp_path: Path) -> None:
    data = yaml.safe_load(private_cell(tmp_path, 61, host=81).read_text())
    del data["interfaces"]["left_hand"]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="no interface 'left_hand'; it has .*right_hand"):
        resolution_with(resolve(tmp_path / "one.yaml", {}, tmp_path / "run"), "left", "leap")


def test_a_latent_space_that_does_not_know_the_hand_is_refused_first(running: Resolution, tmp_path: Path) -> None:
    space = tmp_path / "space"
    write_latent_fixture(space, load_cell("xarm_bimanual"))
    cell = dataclasses.replace(running.cell, policy=dataclasses.replace(running.cell.policy, latent_bundle=str(space)))
    cell.save(running.cell_file)
    with pytest.raises(ConfigError, match="has no decoder for left_leap; it has: .*left_inspire"):
        resolution_with(dataclasses.replace(running, cell=cell), "left", "leap")


def real_cell(tmp_path: Path) -> Resolution:
    data = yaml.safe_load(find_share("config", "cells", "xarm_bimanual.yaml").read_text())
    data["cameras"]["front"]["driver"] = "realsense"
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(data))
    return resolve(tmp_path / "real.yaml", {"sim": "false", "addresses": REAL}, tmp_path / "run")


def test_real_hardware_needs_a_driver_and_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = real_cell(tmp_path)
    with pytest.raises(ConfigError, match="needs the hand driver 'svh_serial', which there is not"):
        resolution_with(running, "left", "schunk_svh", "/dev/ttyUSB0")
    monkeypatch.setattr(swap, "check_real_drivers", lambda _cell: None)
    with pytest.raises(ConfigError, match="left_hand has no real address"):
        resolution_with(running, "left", "leap")
    after = resolution_with(running, "left", "leap", "/dev/ttyUSB0")
    assert after.cell.address_of("left_hand") == "/dev/ttyUSB0" and after.cell.driver_of("left_hand") == "leap_dynamixel"
    assert "left_hand=/dev/ttyUSB0" in after.arguments["addresses"] and "right_arm=10.0.0.2" in after.arguments["addresses"]


def test_only_what_depends_on_the_hand_is_touched(running: Resolution, tmp_path: Path) -> None:
    resolution = resolve(tmp_path / "private_cell.yaml", {"record": "true"}, tmp_path / "run")
    exchange = swap.HandSwap(Supervisor(resolution), "left", "leap")
    ending, staying = {child.name for child in exchange._ending()}, set(exchange._staying())
    assert "left_hand" in ending and len(ending) >= 2 and all(name.startswith("left_") for name in ending) and "left_arm" not in ending
    assert {"gate", "sim", "camera", "left_arm", "right_arm", "right_hand"} == staying
    assert not {"policy", "task"} & (ending | staying)


def test_real_arms_and_cameras_have_nothing_to_do_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "check_real_drivers", lambda _cell: None)
    exchange = swap.HandSwap(Supervisor(real_cell(tmp_path)), "left", "leap", "/dev/ttyUSB0")
    assert exchange._staying() == ["gate"] and "left_hand" in {child.name for child in exchange._ending()}


def test_the_old_cell_is_kept_and_the_new_one_replaced_whole(running: Resolution) -> None:
    after = resolution_with(running, "left", "leap")
    first, second = swap._keep(running.cell_file), swap._keep(running.cell_file)
    assert [path.name for path in (first, second)] == ["cell.1.yaml", "cell.2.yaml"] and load_cell(first) == running.cell
    swap._write(after)
    assert load_cell(running.cell_file) == after.cell
    assert sorted(path.name for path in running.run_folder.iterdir()) == ["cell.1.yaml", "cell.2.yaml", "cell.yaml"]


def test_the_address_of_the_new_hand_is_claimed_and_given_back(running: Resolution) -> None:
    hand = resolution_with(running, "left", "paxini").cell.interface("left_hand")
    hand = dataclasses.replace(hand, address=dataclasses.replace(hand.address, stand_in=True))  # one that listens at a port
    after = dataclasses.replace(running.cell, interfaces={**running.cell.interfaces, "left_hand": hand})
    mine, other = claim_cell(running.cell, "swap"), Claim()
    try:
        mine.take_device(after, "left_hand")
        with pytest.raises(AlreadyRunningError, match="left_hand at .* is in use by process"):
            other.take_device(after, "left_hand")
        mine.give_device(after.address_of("left_hand"))
        mine.give_device(after.address_of("left_hand"))
        other.take_device(after, "left_hand")
        other.release()
        host, port = after.address_of("left_hand").split(":")
        with socket.create_server((host, int(port))), pytest.raises(AlreadyRunningError, match="a simulator of this cell would listen there"):
            other.take_device(after, "left_hand")
        other.take_device(after, "left_hand")
    finally:
        mine.release()
        other.release()


@pytest.mark.parametrize("words", ["", "left", "up leap", "left leap --timeout 0", "left leap --timeout nan", "left leap more"])
def test_wrong_words_are_wrong_use(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2 and "usage: dex swap" in capsys.readouterr().err


@pytest.mark.ros
def test_without_a_supervisor_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dex_bringup.client.FIND_S", 0.3)
    with pytest.raises(DexError, match="not started by dex up; one started by ros2 launch is ended and started again with left_hand:=leap") as caught:
        main(["left", "leap", "--namespace", "nobody/here"])
    assert caught.value.code == "no_supervisor"
