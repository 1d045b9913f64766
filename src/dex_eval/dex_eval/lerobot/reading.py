# SPDX-License-Identifier: Apache-2.0
"""Reads one episode of a LeRobot dataset (v3), its numbers as joints of a cell."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dex_core.errors import DexError, JointNameError
from dex_eval.lerobot.video import read_video, require
from dex_eval.lerobot.writing import ACTION, PICTURES, STATE, VERSION

MAX_JSON_BYTES = 64 << 20
UNITS = {"pos_rad": 1.0, "pos_deg": math.pi / 180.0}


class DatasetError(DexError):
    """A dataset cannot be used; names the file and what is wrong."""

    code = "dataset_invalid"


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Attributes:
        root: its folder. info: its info.json. episodes: rows of meta/episodes. tasks: index -> instruction.
    """

    root: Path
    info: dict[str, Any]
    episodes: list[dict[str, Any]]
    tasks: dict[int, str]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.info["fps"])

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """Camera -> (height, width) [px]."""
        found = {key: feature for key, feature in self.info["features"].items() if key.startswith(PICTURES)}
        return {key.removeprefix(PICTURES): tuple(feature["shape"][:2]) for key, feature in found.items()}

    def joints(self, key: str, names: Sequence[str], unit: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k, n) positions of the joints ``names`` [rad] from rows of a feature, in whatever order the dataset has them.

        Args:
            key: observation.state or action.
            names: of the cell.
            unit: rad or deg, for a dataset whose names (``left_joint1.pos``) do not say it; those that do (``left_joint1.pos_rad``) need none.
            rows: (k, m).

        Raises:
            DatasetError: no unit is said. JointNameError: the dataset has other joints than the cell.
        """
        told = self.info["features"][key].get("names")
        columns = told if isinstance(told, list) else [name for group in (told or {}).values() for name in group]
        parts = [str(column).partition(".") for column in columns]
        if sorted(name for name, _, _ in parts) != sorted(names) or len(parts) != rows.shape[1]:
            raise JointNameError(f"{self.root}: {key}", [name for name, _, _ in parts], names)
        unsaid = [column for column, (_, _, suffix) in zip(columns, parts, strict=True) if suffix not in UNITS]
        if unsaid and unit not in ("rad", "deg"):
            raise DatasetError(f"{self.root}: {key} names {unsaid[0]!r}, which says no unit; give --unit rad or --unit deg")
        scale = np.array([UNITS[suffix if suffix in UNITS else f"pos_{unit}"] for _, _, suffix in parts])
        order = {name: k for k, (name, _, _) in enumerate(parts)}
        return (rows * scale)[:, [order[name] for name in names]]

    def rows(self, episode: int) -> dict[str, NDArray]:
        """Column -> values of one episode: timestamps, state, action. Raises DatasetError."""
        row = self._row(episode)
        path = self.root / self.info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        wanted = [key for key in ("timestamp", STATE, ACTION, "episode_index", "task_index") if key in self.info["features"]]
        table = self._read(path, wanted)
        keep = np.asarray(table["episode_index"]) == episode
        out = {key: np.array(table[key].to_pylist())[keep] for key in wanted}
        if len(out["timestamp"]) != row["length"] or not all(np.isfinite(values).all() for values in out.values()):
            raise DatasetError(f"{path}: {len(out['timestamp'])} frames of episode {episode}, {row['length']} are announced; all must be finite")
        return out

    def task(self, episode: int) -> str:
        """The instruction of one episode."""
        return self.tasks[int(self.rows(episode)["task_index"][0])]

    def pictures(self, episode: int, camera: str) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB of one episode, frame by frame. Raises DatasetError, DexError."""
        row, key = self._row(episode), PICTURES + camera
        if self.info["features"][key]["dtype"] == "image":
            path = self.root / self.info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
            table = self._read(path, [key, "episode_index"])
            for stored, number in zip(table[key], table["episode_index"], strict=True):
                if number.as_py() == episode:
                    yield np.asarray(Image.open(io.BytesIO(stored.as_py()["bytes"])).convert("RGB"))
            return
        place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        path = self.root / self.info["video_path"].format(video_key=key, **place)
        yield from read_video(path, float(row[f"videos/{key}/from_timestamp"]), float(row[f"videos/{key}/to_timestamp"]))

    def _row(self, episode: int) -> dict[str, Any]:
        found = next((row for row in self.episodes if row["episode_index"] == episode), None)
        if found is None:
            raise DatasetError(f"{self.root} has no episode {episode}; it has 0 to {len(self.episodes) - 1}", code="episode_missing")
        return found

    def _read(self, path: Path, columns: list[str]) -> Any:
        return _table(path, columns)


def open_dataset(root: Path) -> Dataset:
    """Opens a dataset folder. Raises DatasetError: not there, of another version, or a table that cannot be read; ConfigError: pyarrow is missing."""
    path = root / "meta" / "info.json"
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DatasetError(f"{path}: more than {MAX_JSON_BYTES} bytes")
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{root} is no LeRobot dataset: {error}") from error
    missing = [key for key in ("codebase_version", "fps", "features", "data_path") if key not in info] if isinstance(info, dict) else ["everything"]
    if missing or STATE not in info["features"] or ACTION not in info["features"]:
        raise DatasetError(f"{path} lacks {missing or [STATE, ACTION]}")
    if info["codebase_version"] != VERSION:
        raise DatasetError(f"{path}: codebase_version is {info['codebase_version']!r}; this reads {VERSION!r} (lerobot converts older ones)")
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    episodes = [row for file in files for row in _table(file, None).to_pylist()]
    tasks = _table(root / "meta" / "tasks.parquet", None)
    index = next((name for name in tasks.column_names if name != "task_index"), "")
    if not episodes or not index:
        raise DatasetError(f"{root} holds no episode, or no task")
    return Dataset(root, info, episodes, dict(zip(tasks["task_index"].to_pylist(), tasks[index].to_pylist(), strict=True)))


def _table(path: Path, columns: list[str] | None) -> Any:
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    try:
        return parquet.read_table(path, columns=columns)
    except (OSError, arrow.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
