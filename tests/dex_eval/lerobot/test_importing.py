# SPDX-License-Identifier: Apache-2.0
"""An episode of a dataset is a recording again: the same joints and pictures, and the same score; what does not fit the cell is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.dex_policy.foreign.made import changed, openpi_description, running

from dex_bringup.cli import main
from dex_core.config import CellConfig, load_cell
from dex_core.errors import ConfigError, DexError, JointNameError
from dex_eval.bag import Recording
from dex_eval.lerobot import Choices, export
from dex_eval.lerobot.importing import cell_of, to_recording
from dex_eval.lerobot.reading import Dataset, DatasetError, open_dataset
from dex_eval.lerobot.source import read_source

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -c constraints.txt -r requirements-lerobot.txt")
FPS = 20


@pytest.fixture(scope="module")
def dataset(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small recording as a lossless dataset."""
    root = tmp_path_factory.mktemp("dataset") / "set"
    export([recording], root, Choices(fps=FPS, pictures="png"))
    return open_dataset(root)


@pytest.fixture
def edited(dataset: Dataset, tmp_path: Path) -> Callable[[Callable[[dict], Any]], Dataset]:
    """A dataset with another info.json, its data where they were."""

    def edit(change: Callable[[dict], Any]) -> Dataset:
        root = tmp_path / "edited"
        (root / "meta").mkdir(parents=True)
        for name in ("episodes", "tasks.parquet", "dex_cell.yaml"):
            (root / "meta" / name).symlink_to(dataset.root / "meta" / name)
        (root / "data").symlink_to(dataset.root / "data")
        info = json.loads((dataset.root / "meta" / "info.json").read_text())
        change(info)
        (root / "meta" / "info.json").write_text(json.dumps(info))
        return open_dataset(root)

    return edit


def test_an_episode_is_the_recording_again(dataset: Dataset, recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    assert cell_of(dataset).joint_names == small_cell.joint_names
    frames = to_recording(dataset, 0, cell_of(dataset), tmp_path / "bag")
    before, after = read_source(Recording(recording)), read_source(Recording(tmp_path / "bag"), "x")
    assert frames == len(after.stamps_ns["front"]) == len(before.stamps_ns["front"])
    np.testing.assert_allclose(after.stamps_ns["front"], before.stamps_ns["front"], atol=100)  # timestamps are float32
    for name in small_cell.interfaces:
        np.testing.assert_allclose(after.measured[name].position_rad[0], before.measured[name].position_rad[0], atol=1e-6)
    one = np.array([7])
    assert np.array_equal(next(after.pictures("front", one)), next(before.pictures("front", one)))


def test_it_is_scored_as_a_recording_is(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "lerobot", str(dataset.root), "--episode", "0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["replayed"] == result["instants"] == 5 and not result["refused"]
    assert result["mean_error_rad"]["arm_commanded"] == pytest.approx(0.0119, rel=0.3)  # the ramp of the fixture


def test_a_policy_behind_a_server_is_scored_too(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        folder = tmp_path / "description"
        folder.mkdir()
        (folder / "manifest.yaml").write_text(yaml.safe_dump(openpi_description(server.url)))
        assert main(["import", "lerobot", str(dataset.root), "--bundle", str(folder), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["bundle"] == "pi_tabletop" and result["replayed"] == 5 and not result["refused"]
        assert result["mean_error_rad"]["arm_measured"] < 1e-6 and len(server.requests) == 6  # the server's answer stands still
        gone = changed(openpi_description("ws://127.0.0.1:9"), "server.connect_timeout_s", 0.2)
        (folder / "manifest.yaml").write_text(yaml.safe_dump(gone))
    assert main(["import", "lerobot", str(dataset.root), "--bundle", str(folder)]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_it_can_be_kept_as_a_recording(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "lerobot", str(dataset.root), "--keep", str(tmp_path / "bag")]) == 0
    assert "frames of episode 0" in capsys.readouterr().out and Recording(tmp_path / "bag").counts["/joint_command"] > 0


def _renamed(info: dict, change: Callable[[str], str]) -> None:
    for key in ("observation.state", "action"):
        info["features"][key]["names"] = [change(name) for name in info["features"][key]["names"]]


def test_names_without_a_unit_need_one(dataset: Dataset, edited: Callable, small_cell: CellConfig, tmp_path: Path) -> None:
    other = edited(lambda info: _renamed(info, lambda name: name.replace(".pos_rad", ".pos")))
    with pytest.raises(DatasetError, match="--unit"):
        to_recording(other, 0, small_cell, tmp_path / "bag")
    rows = dataset.rows(0)["observation.state"]
    np.testing.assert_allclose(other.joints("observation.state", small_cell.joint_names, "deg", rows), np.radians(rows))


def test_another_order_of_joints_is_put_right(dataset: Dataset, edited: Callable, small_cell: CellConfig) -> None:
    other = edited(lambda info: info["features"]["observation.state"]["names"].reverse())
    rows = dataset.rows(0)["observation.state"]
    np.testing.assert_allclose(other.joints("observation.state", small_cell.joint_names, "", rows), rows[:, ::-1])


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda info: _renamed(info, lambda name: name.replace("joint1", "shoulder")), JointNameError, "left_shoulder"),
    (lambda info: info["features"]["observation.images.front"].update(shape=[480, 640, 3]), ConfigError, "640 x 480"),
    (lambda info: info["features"].pop("observation.images.front"), ConfigError, "missing"),
    (lambda info: info.update(codebase_version="v2.1"), DatasetError, "v2.1"),
    (lambda info: info.pop("fps"), DatasetError, "fps"),
    (lambda info: info["features"].pop("action"), DatasetError, "action"),
    (lambda info: info.update(data_path="data/other.parquet"), DatasetError, "other.parquet"),
])
def test_what_does_not_fit_is_refused(edited: Callable, small_cell: CellConfig, tmp_path: Path, change: Callable, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        to_recording(edited(change), 0, small_cell, tmp_path / "bag")


def test_an_episode_that_is_not_there_is_refused(dataset: Dataset, small_cell: CellConfig, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="0 to 0"):
        to_recording(dataset, 1, small_cell, tmp_path / "bag")


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no LeRobot dataset"):
        open_dataset(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{")
    with pytest.raises(DexError):
        open_dataset(tmp_path)


def test_a_dataset_of_somebody_else_needs_a_cell(edited: Callable, dataset: Dataset) -> None:
    other = edited(lambda info: None)
    (other.root / "meta" / "dex_cell.yaml").unlink()
    with pytest.raises(DatasetError, match="--cell"):
        cell_of(other)
    assert cell_of(other, "xarm_bimanual").joint_names == load_cell("xarm_bimanual").joint_names
