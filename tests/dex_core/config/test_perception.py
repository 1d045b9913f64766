# SPDX-License-Identifier: Apache-2.0
"""The optional block ``perception`` of a cell."""
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from dex_core.config import CellConfig, PerceptionConfig, load_cell
from dex_core.errors import ConfigError

CELL = load_cell("xarm_bimanual")


def loaded(tmp_path: Path, perception: Any, depth: bool = True) -> CellConfig:
    CELL.save(tmp_path / "cell.yaml")
    data = yaml.safe_load((tmp_path / "cell.yaml").read_text())
    data["perception"] = perception
    data["cameras"]["front"]["depth"] = depth
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(data))
    return load_cell(tmp_path / "cell.yaml")


def test_cells_have_none_of_their_own() -> None:
    assert all(load_cell(name).perception is None for name in ("xarm_bimanual", "franka", "g1"))


def test_an_empty_block_takes_every_default_and_survives_saving(tmp_path: Path) -> None:
    cell = loaded(tmp_path, {})
    assert cell.perception == PerceptionConfig()
    cell.save(tmp_path / "again.yaml")
    assert load_cell(tmp_path / "again.yaml").perception == PerceptionConfig()


def test_none_survives_saving(tmp_path: Path) -> None:
    assert loaded(tmp_path, None).perception is None


@pytest.mark.parametrize(("block", "text"), [
    ({"camera": "rear"}, "camera 'rear' is not in cell .* it has"), ({"budget_s": 0.5, "max_age_s": 0.2}, "budget_s 0.5 is above max_age_s 0.2"),
    ({"workspace_low_m": [1.0, 0.0, 0.0]}, "workspace along x goes from 1.0 to 1.0"), ({"world_frame": "/"}, "world_frame is empty"),
    ({"rate_hz": 0.0}, "rate_hz is 0.0; allowed 0.1 to 60"), ({"colour": "red"}, "unknown key 'colour'"), ({"provider": "tpu"}, "allowed.*'cuda'"),
    ({"min_confidence": float("nan")}, "must be finite"),
])
def test_what_is_wrong_is_named(tmp_path: Path, block: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        loaded(tmp_path, block)


def test_it_needs_a_camera_with_depth(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="camera 'front' has depth: false"):
        loaded(tmp_path, {}, depth=False)
    with pytest.raises(ConfigError, match="perception needs depth"):
        dataclasses.replace(CELL, perception=PerceptionConfig(camera="front"))
