# SPDX-License-Identifier: Apache-2.0
"""A recording becomes a dataset that the lerobot package itself loads, frame by frame what was recorded."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dex_bringup.cli import main
from dex_core.config import CellConfig, load_cell
from dex_core.errors import DexError
from dex_eval.bag import BagError, Recording
from dex_eval.lerobot import Choices, export
from dex_eval.lerobot.source import read_source
from dex_eval.lerobot.video import read_video, write_video
from dex_eval.testing import START_NS, fixture_cell, write_episode
from dex_ros import names

arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install -c constraints.txt -r requirements-lerobot.txt")
av = pytest.importorskip("av", reason="av is not installed: pip install -c constraints.txt -r requirements-lerobot.txt")
FPS = 20
LOSSLESS = Choices(fps=FPS, pictures="png")


def info_of(root: Path) -> dict[str, Any]:
    """info.json."""
    return json.loads((root / "meta" / "info.json").read_text())


def test_every_frame_is_what_was_recorded(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    report = export([recording], tmp_path / "set", LOSSLESS)
    source = read_source(Recording(recording))
    table = arrow.read_table(tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet")
    assert report.frames == table.num_rows and len(report.episodes) == 1 and not report.gaps
    home = [q for i in small_cell.interfaces.values() for q in i.home]
    np.testing.assert_allclose(np.array(table["observation.state"].to_pylist()), np.tile(home, (table.num_rows, 1)), atol=1e-6)
    np.testing.assert_allclose(table["timestamp"].to_numpy(), np.arange(table.num_rows) / FPS, atol=1e-6)
    first = next(source.pictures("front", np.array([0])))
    stored = np.asarray(Image.open(io.BytesIO(table["observation.images.front"][0].as_py()["bytes"])))
    assert np.array_equal(stored, first)  # to the pixel


def test_names_carry_joints_and_units(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    export([recording], tmp_path / "set", LOSSLESS)
    info = info_of(tmp_path / "set")
    assert info["codebase_version"] == "v3.0" and info["fps"] == FPS and info["robot_type"] == "dex_xarm_bimanual"
    wanted = [f"{joint}.pos_rad" for joint in small_cell.joint_names]
    assert info["features"]["observation.state"]["names"] == info["features"]["action"]["names"] == wanted


def test_the_cell_and_the_sources_lie_beside_it(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    export([recording], tmp_path / "set", LOSSLESS)
    meta = tmp_path / "set" / "meta"
    assert load_cell(meta / "dex_cell.yaml").joint_names == small_cell.joint_names
    (entry,) = json.loads((meta / "dex_episodes.json").read_text())["episodes"]
    assert entry["start_ns"] >= START_NS and entry["farthest_ms"]["front"] < 1.0


def _without(topic: str, begin_ms: int, end_ms: int) -> Callable[[str, int, object], object | None]:
    return lambda name, at_ns, message: None if name == topic and begin_ms <= (at_ns - START_NS) / 1e6 < end_ms else message


@pytest.mark.parametrize("topic", [names.IMAGE, names.device_states("left_arm"), names.JOINT_COMMAND])
def test_a_gap_splits_an_episode_or_refuses(small_cell: CellConfig, tmp_path: Path, topic: str) -> None:
    bag = write_episode(tmp_path / "bag", small_cell, edit=_without(topic, 1500, 2000))
    report = export([bag], tmp_path / "set", LOSSLESS)
    assert len(report.episodes) == 2 and len(report.gaps) == 1 and 1.4 < report.gaps[0]["at_s"] < 1.6
    assert info_of(tmp_path / "set")["total_episodes"] == 2
    with pytest.raises(DexError) as refused:
        export([bag], tmp_path / "strict", Choices(fps=FPS, pictures="png", strict=True))
    assert refused.value.code == "gap" and not (tmp_path / "strict" / "meta" / "info.json").exists()


def test_short_stretches_are_left_out_and_told(small_cell: CellConfig, tmp_path: Path) -> None:
    bag = write_episode(tmp_path / "bag", small_cell, edit=_without(names.IMAGE, 500, 700))
    report = export([bag], tmp_path / "set", LOSSLESS)
    assert report.too_short == 1 and len(report.episodes) == 1


def test_several_recordings_make_one_dataset(recording: Path, tmp_path: Path) -> None:
    report = export([recording, recording], tmp_path / "set", LOSSLESS)
    assert [e["episode"] for e in report.episodes] == [0, 1] and info_of(tmp_path / "set")["total_tasks"] == 1
    rows = arrow.read_table(tmp_path / "set" / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pylist()
    assert rows[1]["dataset_from_index"] == rows[0]["dataset_to_index"] == rows[0]["length"]


def test_another_cell_is_not_mixed_in(recording: Path, small_cell: CellConfig, tmp_path: Path) -> None:
    leap = fixture_cell(load_cell("xarm_bimanual", left_hand="leap"), tmp_path / "bundles")
    with pytest.raises(DexError) as refused:
        export([recording, write_episode(tmp_path / "bag", leap, duration_s=1.7)], tmp_path / "set", LOSSLESS)
    assert refused.value.code == "cells_differ"


def test_nothing_is_written_over(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DexError) as refused:
        export([recording], tmp_path / "set", LOSSLESS)
    assert refused.value.code == "file_exists" and not list((tmp_path / "set").iterdir())


def test_who_does_not_say_the_task_is_asked_for_it(small_cell: CellConfig, tmp_path: Path) -> None:
    bag = write_episode(tmp_path / "bag", small_cell, edit=lambda name, _, message: None if name == names.POLICY_STATUS else message)
    with pytest.raises(BagError, match="--task"):
        export([bag], tmp_path / "set", LOSSLESS)
    export([bag], tmp_path / "set", Choices(fps=FPS, pictures="png", task="stand still"))
    assert arrow.read_table(tmp_path / "set" / "meta" / "tasks.parquet")["__index_level_0__"].to_pylist() == ["stand still"]


def _smooth(count: int) -> list[np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 1, 320), np.linspace(0, 1, 240))
    return [np.stack([255 * x, 255 * y, 128 + 100 * np.sin(6 * (x + y) + 0.2 * k)], axis=-1).astype(np.uint8) for k in range(count)]


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_a_video_shows_its_pictures_again_at_their_times(tmp_path: Path, codec: str) -> None:
    pictures = _smooth(25)
    assert write_video(tmp_path / "v.mp4", iter(pictures), FPS, codec) == 25
    found = list(read_video(tmp_path / "v.mp4", 0.0, 25 / FPS))
    assert len(found) == 25
    for shown, picture in zip(found, pictures, strict=True):
        assert np.abs(shown.astype(int) - picture).mean() < 4.0
    part = list(read_video(tmp_path / "v.mp4", 10 / FPS, 13 / FPS))
    assert len(part) == 3 and np.array_equal(part[0], found[10])


def test_a_picture_of_odd_size_makes_no_video(tmp_path: Path) -> None:
    with pytest.raises(DexError, match="--pictures png"):
        write_video(tmp_path / "v.mp4", iter([np.zeros((31, 40, 3), np.uint8)]), FPS, "av1")


@pytest.mark.parametrize("pictures", ["av1", "png"])
def test_the_lerobot_package_loads_it(small_cell: CellConfig, tmp_path: Path, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="the package lerobot is not installed (see docs/lerobot.md)")
    scenes = iter(_smooth(200))

    def draw(name: str, _at_ns: int, message: Any) -> Any:
        if name == names.IMAGE:
            message.data = next(scenes).tobytes()
        return message

    bag = write_episode(tmp_path / "bag", small_cell, edit=draw)
    out = tmp_path / "set"
    assert main(["export", "lerobot", str(bag), str(bag), "--out", str(out), "--fps", str(FPS), "--pictures", pictures]) == 0
    assert "2 episodes" in capsys.readouterr().out
    dataset = datasets.LeRobotDataset("dex/test", root=out, video_backend="pyav")
    assert dataset.num_episodes == 2 and dataset.fps == FPS and len(dataset) == info_of(out)["total_frames"]
    frame = dataset[len(dataset) - 1]
    assert frame["task"] and int(frame["episode_index"]) == 1 and frame["observation.state"].shape == (len(small_cell.joint_names),)
    source = read_source(Recording(bag))
    count = len(dataset) // 2
    wanted = list(source.pictures("front", np.arange(count)))
    for k in (0, count // 2, count - 1):
        image = np.round(dataset[count + k]["observation.images.front"].numpy() * 255).transpose(1, 2, 0)
        error = np.abs(image - wanted[k]).max() if pictures == "png" else np.abs(image - wanted[k]).mean()
        assert error < (0.5 if pictures == "png" else 4.0)
    assert dataset.meta.stats["observation.images.front"]["mean"].shape == (3, 1, 1)
