# SPDX-License-Identifier: Apache-2.0
"""What a cell file may say of its cameras."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError

CELL = load_cell("xarm_bimanual")
FRONT = CELL.cameras["front"]


def with_cameras(**cameras: dict) -> CellConfig:
    """The cell whose cameras are the front one with these changes."""
    return dataclasses.replace(CELL, cameras={name: dataclasses.replace(FRONT, **changes) for name, changes in cameras.items()})


def test_options_survive_saving(tmp_path: Path) -> None:
    options = {"preset": "high_accuracy", "spatial": True, "depth_wh": [848, 480], "min_m": 0.2}
    cell = with_cameras(front={"driver": "realsense", "address": "serial:123", "depth_encoding": "16UC1", "options": options})
    cell.save(tmp_path / "cell.yaml")
    assert load_cell(tmp_path / "cell.yaml").cameras["front"] == cell.cameras["front"]


@pytest.mark.parametrize("key, value, allowed", [
    ("depth_encoding", "mono16", "16UC1"), ("jpeg_quality", 0, "1 to 100"), ("options", ["spatial"], "mapping"), ("exposure", 3, "depth_encoding"),
])
def test_a_wrong_setting_is_refused_with_what_is_allowed(tmp_path: Path, key: str, value: object, allowed: str) -> None:
    CELL.save(tmp_path / "cell.yaml")
    data = yaml.safe_load((tmp_path / "cell.yaml").read_text())
    data["cameras"]["front"][key] = value
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=f"front.*{key}.*{allowed}"):
        load_cell(tmp_path / "cell.yaml")


def test_the_only_camera_needs_no_name() -> None:
    assert (CELL.camera(), CELL.camera_scope("front"), CELL.camera_nodes) == ("front", "", {"camera": "front"})


def test_of_several_cameras_the_first_keeps_its_names_and_the_others_carry_theirs() -> None:
    cell = with_cameras(front={}, left_wrist={}, head={"driver": "external"})
    assert cell.camera_nodes == {"camera": "front", "left_wrist_camera": "left_wrist"}
    assert [cell.camera_scope(name) for name in cell.cameras] == ["", "left_wrist", "head"]
    assert cell.camera("head") == "head"
    with pytest.raises(ConfigError, match=r"camera '' is not in cell .*\['front', 'left_wrist', 'head'\]"):
        cell.camera()


def test_a_camera_that_somebody_else_drives_has_no_node() -> None:
    assert with_cameras(front={"driver": "external"}).camera_nodes == {}


@pytest.mark.parametrize("name", ["Front", "left-wrist", "2nd", "a/b", ""])
def test_a_name_that_no_topic_may_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="its name becomes part of topics"):
        with_cameras(**{name: {}})
