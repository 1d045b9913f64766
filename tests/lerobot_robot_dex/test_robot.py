# SPDX-License-Identifier: Apache-2.0
"""The cell as a LeRobot robot: our own policy client on one side, lerobot's loop on the other."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tests.dex_policy.foreign.made import observation_of

from dex_bringup.cli import main
from dex_core.config import CellConfig, load_cell
from dex_policy.foreign import open_foreign
from dex_policy.foreign.describe import describe_cell, write_description

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "lerobot_robot_dex" / "lerobot_robot_dex"
WAIT_S = 10.0


def part(name: str) -> ModuleType:
    """One module of the plugin, without lerobot."""
    spec = importlib.util.spec_from_file_location(f"plugin_{name}", PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cell() -> CellConfig:
    """Two arms with hands and a camera."""
    return load_cell("xarm_bimanual")


@pytest.fixture
def mailbox(cell: CellConfig) -> Iterator:
    """Where the cell calls."""
    box = part("mailbox").Mailbox("127.0.0.1", 0, f"lerobot_{cell.name}", 9, 2.0)
    yield box
    box.close()


@pytest.fixture
def folder(cell: CellConfig, mailbox, tmp_path: Path) -> Path:
    """The description that calls it."""
    write_description(describe_cell(cell, f"ws://127.0.0.1:{mailbox.port}"), tmp_path / "robot")
    return tmp_path / "robot"


@pytest.mark.parametrize("name", ["xarm_bimanual", "franka", "g1"])
def test_every_cell_is_described_in_its_own_order(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "lerobot-robot", "--cell", name, "--out", str(tmp_path / "robot")]) == 0
    assert "--robot.type=dex" in capsys.readouterr().out
    description, cell = part("description").read_description(tmp_path / "robot" / "robot"), load_cell(name)
    calling = load_cell(tmp_path / "robot" / "cell.yaml")
    assert calling.policy.bundle == str(tmp_path / "robot" / "robot") and calling.policy.replan_period_s == pytest.approx(1 / 15)
    assert calling.interfaces == cell.interfaces
    assert description.columns == tuple(f"{joint}.pos_rad" for joint in cell.joint_names)
    assert description.cameras == {key: (c.output_wh[1], c.output_wh[0]) for key, c in cell.cameras.items()} and description.port == 8765
    assert main(["export", "lerobot-robot", "--cell", name, "--out", str(tmp_path / "robot")]) == 1  # never written over


@pytest.mark.parametrize("words", [["lerobot"], ["lerobot-robot"], ["lerobot-robot", "bag"], ["lerobot", "bag", "--cell", "g1"]])
def test_the_two_forms_are_not_mixed(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["export", *words, "--out", str(tmp_path / "out")])


def test_a_cell_gets_the_action_that_belongs_to_its_observation(cell: CellConfig, mailbox, folder: Path) -> None:
    policy = open_foreign(folder, cell)
    try:
        assert policy.health() is None and mailbox.has_cell and mailbox.take(0.0) is None  # the made-up observation is nobody's
        seen, home = observation_of(cell), np.array([q for i in cell.interfaces.values() for q in i.home])
        answered: list = []

        def loop() -> None:
            found = mailbox.take(WAIT_S)
            answered.append(found)
            mailbox.put(np.asarray(found["state"]) + 0.01)

        thread = threading.Thread(target=loop)
        thread.start()
        chunk = policy.infer(seen, "g", 1).chunk
        thread.join(WAIT_S)
        assert np.array_equal(answered[0]["front"], seen.images["front"]) and answered[0]["task"] == seen.instruction
        found = np.concatenate([chunk.slice_of(name).data for name in cell.interfaces], axis=1)
        np.testing.assert_allclose(found, np.tile(home + 0.01, (9, 1)), atol=1e-6)
    finally:
        policy.close()


def test_a_loop_that_stands_still_makes_the_cell_stay_where_it_is(cell: CellConfig, mailbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_answer_s", 0.01)
    policy = open_foreign(folder, cell)
    try:
        mailbox.put(np.full(len(cell.joint_names), 0.3))
        mailbox._acted_s -= 1.0  # a second ago
        chunk = policy.infer(observation_of(cell)).chunk
        for name, interface in cell.interfaces.items():
            np.testing.assert_allclose(chunk.slice_of(name).data[0], interface.home, atol=1e-6)
    finally:
        policy.close()


def test_a_wild_action_is_refused_before_the_gate(cell: CellConfig, mailbox, folder: Path) -> None:
    policy = open_foreign(folder, cell)
    try:
        for wild in (50.0, np.nan):
            mailbox.put(np.full(len(cell.joint_names), wild))
            mailbox._acted_on = 10**9
            with pytest.raises(Exception, match="training range|not finite"):
                policy.infer(observation_of(cell))
    finally:
        policy.close()


def test_a_description_of_another_kind_is_refused(cell: CellConfig, tmp_path: Path) -> None:
    description = describe_cell(cell, "ws://127.0.0.1:1")
    description["action"]["parts"].reverse()
    write_description(description, tmp_path / "robot")
    with pytest.raises(ValueError, match="same joints"):
        part("description").read_description(tmp_path / "robot")


def test_lerobot_makes_and_drives_the_robot(cell: CellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = pytest.importorskip("lerobot.robots.utils", reason="the package lerobot is not installed (see docs/lerobot.md)")
    monkeypatch.syspath_prepend(str(PACKAGE.parent))
    plugin = importlib.import_module("lerobot_robot_dex")
    port = part("mailbox").Mailbox("127.0.0.1", 0, "x", 2, 0.1)
    free = port.port
    port.close()
    write_description(describe_cell(cell, f"ws://127.0.0.1:{free}"), tmp_path / "robot")
    config = plugin.DexRobotConfig(description=tmp_path / "robot", calibration_dir=tmp_path / "none", connect_timeout_s=WAIT_S, answer_s=2.0)
    assert config.type == "dex"
    robot = utils.make_robot_from_config(config)
    assert set(robot.observation_features) == {*robot.action_features, "front"} and robot.is_calibrated and not robot.is_connected
    with pytest.raises(ConnectionError):
        robot.get_observation()
    policies: list = []
    caller = threading.Thread(target=lambda: policies.append(open_foreign(tmp_path / "robot", cell)))
    caller.start()
    robot.connect()
    caller.join(WAIT_S)
    chunks: list = []
    asker = threading.Thread(target=lambda: chunks.append(policies[0].infer(observation_of(cell)).chunk))
    asker.start()
    observation = robot.get_observation()
    sent = robot.send_action({name: observation[name] + 0.02 for name in robot.action_features})
    asker.join(WAIT_S)
    assert observation["front"].shape == (240, 320, 3) and set(sent) == set(robot.action_features)
    np.testing.assert_allclose(chunks[0].slice_of("left_arm").data[0], np.array(cell.interface("left_arm").home) + 0.02, atol=1e-6)
    with pytest.raises(ValueError, match="not finite"):
        robot.send_action(dict.fromkeys(robot.action_features, float("nan")))
    with pytest.raises(ValueError, match="lacks"):
        robot.send_action({})
    robot.disconnect()
    policies[0].close()
    assert not robot.is_connected
