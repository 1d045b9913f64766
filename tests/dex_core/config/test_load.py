# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dex_core.config import find_share, load_cell, load_robot, load_task
from dex_core.config.load import names_in
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
        ("control", {"rate_hz": -5.0}, "rate_hz is -5.0; allowed"),
        ("control", {"rate": 5.0}, "unknown key 'rate'"),
        ("extra", 1, "unknown key 'extra'"),
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
