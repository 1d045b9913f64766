# SPDX-License-Identifier: Apache-2.0
"""Segmentation is a process of a cell that asks for it, and of no other."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from dex_bringup.arguments import check_arguments
from dex_bringup.resolve import SEGMENTATION_MODELS, resolve, resolve_cell, with_segmentation
from dex_core.config import PerceptionConfig, find_share, load_cell
from dex_core.errors import ConfigError


def executables(tmp_path: Path, cell: str | Path, **arguments: str) -> list[str]:
    return [process.executable for process in resolve(cell, arguments, tmp_path / "run").processes]


@pytest.mark.parametrize("cell", ["xarm_bimanual", "franka", "g1"])
def test_todays_cells_start_none(tmp_path: Path, cell: str) -> None:
    assert "segmentation_node" not in executables(tmp_path, cell)


def test_one_word_starts_it_with_depth_and_the_models_there_are(tmp_path: Path) -> None:
    found = resolve("xarm_bimanual", {"segmentation": "true"}, tmp_path / "run")
    node = found.process("segmentation")
    assert node.executable == "segmentation_node" and "fastdds_shm" in node.env["FASTDDS_DEFAULT_PROFILES_FILE"]
    kept = load_cell(found.cell_file)
    assert kept.cameras["front"].depth and kept.perception is not None and kept.perception.camera == "front"
    there = {path.name for path in find_share("models").iterdir()}
    for key, name in SEGMENTATION_MODELS.items():
        assert getattr(kept.perception, key) == (name if name in there else "")


def test_the_cells_own_block_stays_and_can_be_switched_off(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    front = dataclasses.replace(cell.cameras["front"], depth=True)
    own = dataclasses.replace(cell, cameras={"front": front}, perception=PerceptionConfig(min_confidence=0.7))
    own.save(tmp_path / "own.yaml")
    assert with_segmentation(own) is own
    assert resolve_cell(tmp_path / "own.yaml", check_arguments({})).perception == PerceptionConfig(min_confidence=0.7)
    assert "segmentation_node" in executables(tmp_path, tmp_path / "own.yaml")
    assert "segmentation_node" not in executables(tmp_path, tmp_path / "own.yaml", segmentation="false")


def test_of_several_cameras_the_first_is_taken_and_none_is_refused(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    two = dataclasses.replace(cell, cameras={"front": cell.cameras["front"], "rear": cell.cameras["front"]})
    both = with_segmentation(two)
    assert both.perception is not None and both.perception.camera == "front" and not both.cameras["rear"].depth
    with pytest.raises(ConfigError, match="camera '' is not in cell"):
        with_segmentation(dataclasses.replace(cell, cameras={}))


def test_a_camera_without_depth_is_named(tmp_path: Path) -> None:
    load_cell("franka").save(tmp_path / "cell.yaml")
    data = yaml.safe_load((tmp_path / "cell.yaml").read_text())
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump({**data, "perception": {}}))
    with pytest.raises(ConfigError, match="camera 'front' has depth: false"):
        executables(tmp_path, tmp_path / "cell.yaml")
