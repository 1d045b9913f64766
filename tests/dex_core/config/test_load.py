# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from dex_core.config import find_share, load_cell, load_robot, load_task
from dex_core.config.load import aliases_in, allowed_names, default_home, names_in
from dex_core.config.robot import Wire
from dex_core.errors import ConfigError


@pytest.mark.parametrize("name", names_in("cells"))
def test_every_cell_survives_saving(name: str, tmp_path: Path) -> None:
    cell = load_cell(name)
    cell.save(tmp_path / "cell.yaml")
    assert load_cell(tmp_path / "cell.yaml") == cell
    assert len(set(cell.joint_names)) == len(cell.joint_names)


@pytest.mark.parametrize("name", names_in("arms") + names_in("hands"))
def test_every_robot_names_its_sources(name: str) -> None:
    robot = load_robot(name)
    assert robot.sources and {"position", "velocity"} <= set(robot.sources)


@pytest.mark.parametrize("name", names_in("tasks"))
def test_every_task_loads(name: str) -> None:
    assert load_task(name).name == name


HANDS = names_in("hands")


@pytest.mark.parametrize("side", ("left", "right"))
@pytest.mark.parametrize("name", HANDS)
def test_any_hand_goes_on_any_arm(name: str, side: str, tmp_path: Path) -> None:
    other = "leap" if name == "ability" else "ability"
    robot = load_robot(name)
    for arm in ("xarm7", "fr3", "panda"):
        hand = load_cell("xarm_bimanual", arm=arm, **{f"{side}_hand": name}).interface(f"{side}_hand")
        assert (hand.robot, hand.side, hand.mounted_on) == (robot.for_side(side), side, f"{side}_{load_robot(arm).tip_link}")
        assert hand.mount == robot.mounts[arm][side] or (arm, name) == ("xarm7", "inspire")  # that one the cell file mounts
    cell = load_cell("xarm_bimanual", hand=other, **{f"{side}_hand": name})
    cell.save(tmp_path / "cell.yaml")
    assert load_cell(tmp_path / "cell.yaml") == cell


@pytest.mark.parametrize("name", HANDS)
def test_any_hand_goes_on_the_body(name: str) -> None:
    cell = load_cell("g1", hand=name)
    assert list(cell.interfaces) == ["body", "left_hand", "right_hand"]
    assert cell.interface("right_hand").mount == load_robot(name).mounts["g1"]["right"]
    assert cell.interface("body").names == load_robot("g1").actuated, "a body's joints carry no prefix"


@pytest.mark.parametrize("name", HANDS + names_in("arms"))
def test_a_default_home_is_well_inside_the_limits(name: str) -> None:
    robot = load_robot(name)
    for joint, position in default_home(robot).items():
        limit = robot.limits[joint]
        margin = 0.0999 * (limit.upper_rad - limit.lower_rad)
        assert limit.lower_rad + margin <= position <= limit.upper_rad - margin


def test_aliases_are_names() -> None:
    assert aliases_in("hands") == {alias: name for name in HANDS for alias in load_robot(name).aliases}
    for alias, name in {"xhand": "xhand1", "paxini": "dexh13", "svh": "schunk_svh"}.items():
        assert load_robot(alias) == load_robot(name)
        assert load_cell("xarm_bimanual", hand=alias) == load_cell("xarm_bimanual", hand=name)
    with pytest.raises(ConfigError, match="xhand1.*paxini"):
        load_robot("claw")


def test_no_name_and_no_alias_is_given_twice() -> None:
    every = [word for folder in ("arms", "hands") for word in allowed_names(folder)]
    assert len(every) == len(set(every))


def test_what_is_exchanged_keeps_its_place_and_the_rest_stays() -> None:
    plain, mixed = load_cell("xarm_bimanual"), load_cell("xarm_bimanual", left_hand="ability", right_hand="inspire", left_arm="fr3")
    for name in ("right_arm", "right_hand"):
        assert mixed.interface(name) == plain.interface(name)
    assert mixed.interface("left_arm").mount == plain.interface("left_arm").mount
    assert list(mixed.interfaces) == list(plain.interfaces)
    assert (mixed.control, mixed.policy, mixed.cameras) == (plain.control, plain.policy, plain.cameras)
    assert load_cell("xarm_bimanual", hand="inspire", arm="xarm7") == plain


def test_a_side_alone_wins_over_both() -> None:
    cell = load_cell("xarm_bimanual", hand="leap", left_hand="shadow")
    assert (cell.interface("left_hand").robot.name, cell.interface("right_hand").robot.name) == ("shadow", "leap")


def test_addresses_follow_the_robot() -> None:
    cell = load_cell("xarm_bimanual", left_hand="ability", addresses={"left_hand": "/dev/ttyUSB0"})
    address = cell.interface("left_hand").address
    assert (address.transport, address.simulated, address.real, address.baud) == (
        "ability_serial", "/tmp/dex-sim/left_ability", "/dev/ttyUSB0", 460_800)
    back = load_cell("franka", hand="inspire").interface("right_hand").address
    assert (back.transport, back.simulated) == ("modbus_tcp", "127.0.0.22:6000")
    assert all(load_robot(name).wire.transport != "none" for name in HANDS + names_in("arms")), "every robot says how it is reached"


def test_a_hand_without_device_simulator_is_simulated_by_a_stand_in_and_real_by_its_own_driver() -> None:
    cells = []
    for simulated in (True, False):
        cell = load_cell("xarm_bimanual", left_hand="ability", right_hand="inspire", addresses={"left_hand": "/dev/ttyUSB0"}, simulated=simulated)
        hand = cell.interface("left_hand")
        without = dataclasses.replace(hand, address=dataclasses.replace(hand.address, simulated="127.0.0.21:6001", stand_in=True))
        cells.append(dataclasses.replace(cell, interfaces={**cell.interfaces, "left_hand": without}))
    found = [(cell.driver_of("left_hand"), cell.transport_of("left_hand"), cell.address_of("left_hand")) for cell in cells]
    assert found == [("simulated", "simulated", "127.0.0.21:6001"), ("ability_serial", "ability_serial", "/dev/ttyUSB0")]
    assert {(cell.driver_of("right_hand"), cell.transport_of("right_hand")) for cell in cells} == {("inspire_modbus", "modbus_tcp")}


@pytest.mark.parametrize(("hand", "driver", "transport"), [
    ("ability", "ability_serial", "ability_serial"), ("xhand", "xhand_serial", "xhand_serial"), ("dexh13", "dexh13_sdk", "paxini_serial"),
    ("leap", "leap_dynamixel", "dynamixel"),
])
def test_a_hand_with_a_device_simulator_is_simulated_by_its_own_driver(hand: str, driver: str, transport: str) -> None:
    cell = load_cell("xarm_bimanual", hand=hand)
    sides = ("left_hand", "right_hand")
    assert {(cell.driver_of(name), cell.transport_of(name)) for name in sides} == {(driver, transport)}
    assert len({cell.address_of(name) for name in cell.interfaces}) == 4


def test_an_exchanged_robot_is_simulated_on_the_host_of_the_one_before(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    hand = cell.interface("left_hand")
    moved = dataclasses.replace(hand, address=dataclasses.replace(hand.address, simulated="127.0.7.7:6000"))
    dataclasses.replace(cell, interfaces={**cell.interfaces, "left_hand": moved}).save(tmp_path / "cell.yaml")
    assert load_cell(tmp_path / "cell.yaml", hand="dexh13").address_of("left_hand") == "127.0.7.7:6001"
    assert load_cell(tmp_path / "cell.yaml", hand="dexh13").address_of("right_hand") == "127.0.0.22:6001"
    load_cell(tmp_path / "cell.yaml", hand="dexh13").save(tmp_path / "other.yaml")
    assert load_cell(tmp_path / "other.yaml", hand="inspire").address_of("left_hand") == "127.0.7.7:6000"


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ({"simulated": {"left": "a:1"}, "stand_in": {"left": "a:2"}}, "'left' has a device simulator and a stand_in"),
        ({"stand_in": {"up": "a:1"}}, "'up'"),
    ],
)
def test_a_side_is_simulated_in_one_way(wire: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Wire("serial", **wire)


def test_the_simulated_driver_drives_nothing_real() -> None:
    cell = load_cell("xarm_bimanual", left_hand="leap", simulated=False, addresses={"left_hand": "a:1"})
    hand = cell.interface("left_hand")
    wrong = dataclasses.replace(hand, robot=dataclasses.replace(hand.robot, driver="simulated"))
    with pytest.raises(ConfigError, match=r"left_hand \(leap\) has the driver 'simulated', which drives no real hardware"):
        dataclasses.replace(cell, interfaces={**cell.interfaces, "left_hand": wrong}).driver_of("left_hand")


def test_overrides_reach_the_cell() -> None:
    cell = load_cell("xarm_bimanual", hand="inspire", simulated=False, seed=7, bundle="mine", addresses={"left_arm": "10.0.0.2"})
    assert (cell.simulated, cell.sim.seed, cell.policy.bundle) == (False, 7, "mine")
    assert cell.address_of("left_arm") == "10.0.0.2"
    with pytest.raises(ConfigError, match="right_arm has no real address"):
        cell.address_of("right_arm")


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("xarm", {}, "no cell is called 'xarm'; there is"),
        ("xarm_bimanual", {"hand": "claw"}, "'claw' is not known; allowed"),
        ("xarm_bimanual", {"arm": "inspire"}, "arm 'inspire' is not known; allowed"),
        ("xarm_bimanual", {"left_arm": "g1"}, "g1 is a body with two arms"),
        ("franka", {"left_hand": "leap"}, "this cell has no left_hand; it has"),
        ("g1", {"arm": "fr3"}, "this cell has no arm to exchange"),
        ("xarm_bimanual", {"left_hnad": "inspire"}, "unknown override 'left_hnad'"),
        ("xarm_bimanual", {"addresses": {"tail": "x"}}, "no interface 'tail'"),
    ],
)
def test_bad_arguments_are_refused(name: str, overrides: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_cell(name, **overrides)


def _broken(change: str, value: object, tmp_path: Path) -> Path:
    data = yaml.safe_load(find_share("config", "cells", "xarm_bimanual.yaml").read_text(encoding="utf-8"))
    *path, last = change.split("/")
    node = data
    for key in path:
        node = node[key]
    node[last] = value
    out = tmp_path / "broken.yaml"
    out.write_text(yaml.safe_dump(data), encoding="utf-8")
    return out


@pytest.mark.parametrize(
    ("change", "value", "words"),
    [
        ("interfaces/left_arm/side", "up", "allowed: \\['left', 'right', 'both'\\]"),
        ("interfaces/left_arm/side", "right", "must be called right_arm"),
        ("interfaces/left_arm/robot", "xarm9", "no arm or hand is called 'xarm9'"),
        ("interfaces/left_arm/home_rad", {"joint1": 0.0}, "home_rad must name exactly"),
        ("interfaces/left_arm/mount", None, "'mount' is missing"),
        ("interfaces/left_arm/address", {"transport": "smoke"}, "transport is 'smoke'; allowed"),
        ("interfaces/left_hand", {"side": "left", "robot": "leap", "mounted_on": "left_link7"}, "'left_link7', which is no flange"),
        ("control", {"rate_hz": -5.0}, "rate_hz is -5.0; allowed"),
        ("control", {"rate": 5.0}, "unknown key 'rate'"),
        ("control", {"hand_approach_rad_s": 0.0}, "hand_approach_rad_s is 0.0; allowed 0.05 to 10"),
        ("control", {"hand_approach_rad_s": -1.5}, "hand_approach_rad_s is -1.5; allowed 0.05 to 10"),
        ("control", {"hand_approach_rad_s": float("nan")}, "hand_approach_rad_s"),
        ("control", {"hand_approach_rad_s": "slowly"}, "hand_approach_rad_s"),
        ("extra", 1, "unknown key 'extra'"),
        ("interfaces", {}, "has none; it needs at least one"),
    ],
)
def test_broken_cells_name_file_key_and_allowed_values(change: str, value: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_cell(_broken(change, value, tmp_path))
    assert "broken.yaml" in str(caught.value) or "xarm9" in str(caught.value)


def test_inverted_and_missing_limits_are_refused() -> None:
    from dex_core.config import JointLimit, RobotConfig

    with pytest.raises(ConfigError, match="must be below"):
        JointLimit(1.0, -1.0, 1.0, 1.0, 1.0)
    limit = JointLimit(-1.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="differ in"):
        RobotConfig(name="x", kind="arm", actuated=("a", "b"), limits={"a": limit})
    with pytest.raises(ConfigError, match="once each"):
        RobotConfig(name="x", kind="arm", actuated=("a", "a"), limits={"a": limit})
