# SPDX-License-Identifier: Apache-2.0
"""`dex sim` and `dex device`: one device, simulated at its wire, read and moved without a cell."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dex_bringup.claim import Claim
from dex_bringup.cli import main
from dex_bringup.device import care, jog
from dex_bringup.device.choose import Wanted, choose, load_alone, robot_of
from dex_bringup.device.session import ask, enabled, open_device
from dex_bringup.device.simulate import CLIENTS, client_of, simulate, simulated_address
from dex_core.config import load_cell
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.limited import Limited
from dex_core.devices.registry import load_driver
from dex_core.errors import ConfigError, DeviceError
from dex_sim.devices import SIMULATORS
from dex_sim.plant import KinematicPlant
from dex_sim.xarm_controller import XArmController

ADDRESS = "127.0.58.11:25811"
ARM = load_cell("xarm_bimanual").interface("right_arm")
HERE = np.array(ARM.home)


@pytest.fixture
def sim() -> Iterator[XArmController]:
    with XArmController(KinematicPlant(ARM.names, HERE), ADDRESS) as controller:
        yield controller


# -- which device -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("word", "name"), [("xarm", "xarm7"), ("xarm7", "xarm7"), ("leap", "leap"), ("paxini", "dexh13"), ("insp", "inspire")])
def test_a_robot_is_found_by_name_alias_or_beginning(word: str, name: str) -> None:
    assert robot_of(word).name == name


@pytest.mark.parametrize("word", ["", "claw", "s"])
def test_other_words_name_the_robots(word: str) -> None:
    with pytest.raises(ConfigError, match="arms .*xarm7.*hands .*inspire"):
        robot_of(word)


def test_an_interface_is_of_the_cell_and_a_robot_is_alone() -> None:
    left = choose("left_hand", Wanted())
    assert left.name == "left_hand" and left.address == "127.0.0.21:6000"
    alone = choose("inspire", Wanted(side="left", address="10.0.0.1:6000", serial_number="7"))
    assert list(alone.cell.interfaces) == ["left_hand"] and alone.address == "10.0.0.1:6000" and alone.interface.address.serial_number == "7"
    with pytest.raises(ConfigError, match="needs its address"):
        choose("inspire", Wanted(), real=True)
    with pytest.raises(ConfigError, match="has no interface 'inspire'"):
        choose("inspire", Wanted(), cell="xarm_bimanual")
    with pytest.raises(ConfigError, match="no real address"):
        _ = choose("left_hand", Wanted(), real=True).address


@pytest.mark.parametrize("name", ["xarm7", "fr3", "g1", "inspire", "leap", "panda_gripper"])
def test_every_robot_can_stand_alone(name: str) -> None:
    cell = load_alone(robot_of(name))
    assert len(cell.interfaces) == 1 and cell.sim.state_server.endswith(":0")


def test_a_hand_goes_on_an_arm_and_not_on_a_hand() -> None:
    assert list(load_alone(robot_of("xarm7"), "left", "leap").interfaces) == ["left_arm", "left_hand"]
    assert list(load_alone(robot_of("g1"), hand="inspire").interfaces) == ["body", "left_hand", "right_hand"]
    with pytest.raises(ConfigError, match="leap is a hand itself"):
        load_alone(robot_of("leap"), hand="leap")


# -- simulate it --------------------------------------------------------------------------------------------------------
def test_where_it_listens() -> None:
    assert simulated_address("127.0.0.12:20502", "", 50202, "") == "127.0.0.12:50202"
    assert simulated_address("127.0.0.12:20502", "127.0.0.13", None, "") == "127.0.0.13"
    assert simulated_address("/tmp/dex-sim/left_leap", "", None, "/tmp/leap") == "/tmp/leap"
    assert simulated_address("/tmp/dex-sim/left_leap", "", None, "") == "/tmp/dex-sim/left_leap"


@pytest.mark.parametrize(("usual", "port", "path", "words"), [
    ("127.0.0.1:1", 1, "/tmp/a", "--port and --path are given"), ("127.0.0.1:1", None, "/tmp/a", "give --port or --address"),
    ("/tmp/a", 7, "", "give --path"), ("127.0.0.1:1", 70000, "", "allowed 1 to 65535"),
])
def test_a_place_of_the_wrong_kind_is_refused(usual: str, port: int | None, path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        simulated_address(usual, "", port, path)


def test_every_simulated_wire_names_a_client() -> None:
    assert set(SIMULATORS) <= set(CLIENTS)
    chosen = choose("xarm7", Wanted(address=ADDRESS))
    assert "XArmAPI('127.0.58.11')" in client_of(chosen.cell, chosen.name)


def test_a_simulator_alone_says_where_it_listens_and_is_driven_by_the_driver() -> None:
    said: list[str] = []
    chosen = choose("xarm7", Wanted(address="127.0.58.12:25812"))

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("Ctrl-C"):
            with open_device(chosen) as device, enabled(device):
                assert np.abs(device.read().position_rad - chosen.interface.home).max() < 0.02

    assert simulate(chosen, say, run_s=0.0) == 0
    assert "127.0.58.12:25812" in said[0] and "XArmAPI" in said[1] and "of real time" in said[-1]


# -- move it ------------------------------------------------------------------------------------------------------------
@given(st.floats(-0.5, 0.5).filter(lambda d: abs(d) > 1e-3), st.floats(0.01, 0.5))
def test_a_jog_never_exceeds_its_speed_and_ends_where_it_shall(distance: float, speed: float) -> None:
    move = jog.plan(ARM, "joint1", HERE, to_rad=None, by_rad=distance, speed_rad_s=speed)
    times = np.linspace(-0.1, move.duration_s + 0.1, 200)
    places = np.array([move.at(t) for t in times])
    assert places[0] == HERE[0] and abs(places[-1] - HERE[0] - distance) < 1e-9
    assert np.abs(np.diff(places) / np.diff(times)).max() <= speed * 1.001


@pytest.mark.parametrize(("joint", "to", "by", "speed", "words"), [
    ("joint9", 0.0, None, 0.1, "no joint is called 'joint9'"), ("joint1", None, None, 0.1, "one of them"), ("joint1", 0.0, 0.0, 0.1, "one of them"),
    ("joint2", 3.0, None, 0.1, "allowed -2.042 to 2.0245"), ("joint2", float("nan"), None, 0.1, "allowed"),
    ("joint1", 0.0, None, 3.0, "above 0 to 0.5"),
    ("joint1", 0.0, None, float("nan"), "above 0"),
])
def test_a_jog_that_may_not_be_is_refused(joint: str, to: float | None, by: float | None, speed: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        jog.plan(ARM, joint, HERE, to_rad=to, by_rad=by, speed_rad_s=speed)


def test_a_joint_that_does_not_come_is_told_and_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jog, "SETTLE_S", 0.1)
    fake = FakeJointDevice(ARM.names, HERE, speed_rad_s=1e-4)
    device = Limited(fake, ARM.limits)
    device.connect()
    move = jog.plan(ARM, "joint1", HERE, to_rad=None, by_rad=0.05, speed_rad_s=0.5)
    with pytest.raises(DeviceError, match="is something in its way"), enabled(device):
        jog.run(device, ARM, move)
    assert fake.calls[-2:] == ["hold", "disable"]


def test_ctrl_c_holds_and_disables() -> None:
    fake = FakeJointDevice(ARM.names, HERE)
    device = Limited(fake, ARM.limits)
    device.connect()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), enabled(device):
        jog.run(device, ARM, jog.plan(ARM, "joint1", HERE, to_rad=None, by_rad=0.3, speed_rad_s=0.5), interrupt)
    assert fake.calls[-2:] == ["hold", "disable"]


def test_jog_moves_one_joint_over_the_wire(sim: XArmController, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "jog", "xarm7", "joint4", "--by", "0.05", "--speed", "0.5", "--address", ADDRESS, "--yes"]) == 0
    assert "right_joint4: from 0.4183 rad" in capsys.readouterr().out
    moved = sim.controller._plant.read().position_rad - HERE
    assert abs(moved[3] - 0.05) < 0.011 and np.abs(np.delete(moved, 3)).max() < 0.002
    assert sim.controller.state == 4  # disabled


def test_nothing_moves_without_the_joints_name(sim: XArmController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["device", "jog", "xarm7", "joint4", "--by", "0.05", "--address", ADDRESS]
    assert main(words) == 2 and "a script says --yes" in capsys.readouterr().err
    terminal = io.StringIO("joint5\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert main(words) == 1 and "not done" in capsys.readouterr().out
    assert sim.servo_statistics.received == 0


def test_a_typed_name_is_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO("left_hand\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert ask("the device", "left_hand")


# -- read it ------------------------------------------------------------------------------------------------------------
def test_state_moves_and_enables_nothing(sim: XArmController, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "state", "xarm7", "--address", ADDRESS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["code"] == "not_enabled" and found["joints"]["right_joint6"]["position_rad"] == pytest.approx(HERE[5], abs=1e-3)
    assert "current_a" in found["joints"]["right_joint1"] and sim.controller.state == 4
    assert main(["device", "state", "xarm7", "--address", ADDRESS]) == 0
    assert "right_joint6" in capsys.readouterr().out


def test_a_device_of_a_running_cell_is_refused(sim: XArmController, capsys: pytest.CaptureFixture[str]) -> None:
    owner = Claim()
    owner.take(f"device/{ADDRESS}", "right_arm")
    try:
        for words in (["state", "xarm7"], ["jog", "xarm7", "joint1", "--by", "0.1", "--yes"], ["calibrate", "inspire", "force", "--yes"]):
            assert main(["device", *words, "--address", ADDRESS]) == 1
            assert f"{ADDRESS} is in use by process" in capsys.readouterr().err
    finally:
        owner.release()
    assert sim.clients == 0


def test_list_tells_addresses_drivers_and_owners(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["left_arm"]["driver"] == "xarm" and rows["left_arm"]["transport"] == "xarm_tcp" and rows["left_arm"]["owner"]
    assert main(["device", "list", "--real"]) == 0
    assert "no real address" in capsys.readouterr().out


# -- care for it --------------------------------------------------------------------------------------------------------
def test_what_a_vendor_has_no_call_for_is_said() -> None:
    with pytest.raises(ConfigError, match="UFACTORY Studio"):
        care.calibration_of("xarm", "zero")
    with pytest.raises(ConfigError, match="it has side .*force"):
        care.calibration_of("inspire_modbus", "")
    with pytest.raises(ConfigError, match="keep at once"):
        care.save_of("leap_dynamixel")


def test_every_care_is_there_and_of_a_driver_there_is() -> None:
    for driver, cares in {**care.CALIBRATIONS, **{name: {"save": one} for name, one in care.SAVES.items()}}.items():
        assert load_driver("hand", driver)
        for one in cares.values():
            module, _, function = one.action.partition(":")
            assert module == care.__name__ and callable(getattr(care, function))


def test_an_inspire_hand_is_calibrated_and_saved_over_the_wire(capsys: pytest.CaptureFixture[str]) -> None:
    from dex_sim.inspire_modbus import InspireBus
    from dex_sim.inspire_modbus_hand import InspireHand

    interface, address = load_cell("xarm_bimanual").interface("left_hand"), "127.0.58.13:26000"
    hand, bus = InspireHand(interface, KinematicPlant(interface.names, interface.home)), InspireBus()
    bus.serve_tcp(hand, address)
    try:
        for words in (["calibrate", "inspire", "force"], ["calibrate", "inspire", "side"], ["save", "inspire"]):
            assert main(["device", *words, "--side", "left", "--address", address, "--yes"]) == 0
        assert main(["device", "calibrate", "inspire", "force", "--side", "right", "--address", address, "--yes"]) == 1  # the other hand
    finally:
        bus.close()
    out, err = capsys.readouterr()
    assert "force sensors are zeroed" in out and "HAND_ID 2" in out and "flash" in out and "HAND_ID is 2" in err


def test_a_dexh13_is_homed_and_its_pads_zeroed_over_its_sdk(capsys: pytest.CaptureFixture[str]) -> None:
    from dex_sim.dexh13 import DexH13Hand
    from dex_sim.xarm_controller_loop import SocketLoop

    interface, address = load_cell("xarm_bimanual", hand="dexh13").interface("left_hand"), "127.0.58.14:26001"
    loop = SocketLoop("test-dexh13", realtime=False)
    plant = KinematicPlant(interface.names, interface.home, time_constant_s=0.005)
    hand = DexH13Hand(interface, plant, address, loop)
    try:
        hand.power_cycle()
        for what in ("home", "touch"):
            assert main(["device", "calibrate", "dexh13", what, "--side", "left", "--address", address, "--yes"]) == 0
        assert np.abs(plant.read().position_rad).max() < 0.05, "homing moves to the open end"
    finally:
        hand.close()
        loop.stop()
    out = capsys.readouterr().out
    assert "EVERY joint moves" in out and "pads are zeroed" in out
