# SPDX-License-Identifier: Apache-2.0
"""Writes a LeRobot dataset (v3.0): one parquet file and one video per camera and episode, and the tables about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError
from dex_eval.lerobot.stats import Colours, of_vectors
from dex_eval.lerobot.video import CODECS, png_bytes, require, write_video

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH, VIDEO_PATH = f"data/{PLACE}.parquet", f"videos/{{video_key}}/{PLACE}.mp4"
STATE, ACTION, PICTURES = "observation.state", "action", "observation.images."
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Layout:
    """What every episode of a dataset holds.

    Attributes:
        fps: frames per second. robot_type: a word for the robot.
        columns: names of the numbers of state and action, with their unit, e.g. ``left_joint1.pos_rad``.
        cameras: camera -> (height, width) [px].
        pictures: av1, h264 or png; png keeps every pixel and lies in the parquet files.
    """

    fps: int
    robot_type: str
    columns: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]]
    pictures: str = "av1"

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """As info.json lists them."""
        vector = {"dtype": "float32", "shape": [len(self.columns)], "names": list(self.columns)}
        kind = "image" if self.pictures == "png" else "video"
        cameras = {
            PICTURES + name: {"dtype": kind, "shape": [*hw, 3], "names": ["height", "width", "channels"], **self._video_info(hw)}
            for name, hw in self.cameras.items()
        }
        counters = {name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None} for name in _COUNTERS}
        return {STATE: vector, ACTION: vector, **cameras, **counters}

    def _video_info(self, hw: tuple[int, int]) -> dict[str, Any]:
        if self.pictures == "png":
            return {}
        info = {"height": hw[0], "width": hw[1], "codec": self.pictures, "pix_fmt": "yuv420p", "is_depth_map": False, "fps": self.fps, "channels": 3}
        return {"info": {**{f"video.{key}": value for key, value in info.items()}, "has_audio": False}}


@dataclass
class DatasetWriter:
    """A new dataset. ``add`` episodes, then ``close``; without ``close`` there is no info.json, and nobody takes it for whole.

    Args:
        root: must not exist. layout: of every episode.

    Raises:
        DexError: the folder exists. ConfigError: pyarrow or av is not installed.
    """

    root: Path
    layout: Layout
    tasks: dict[str, int] = field(default_factory=dict)
    _episodes: list[dict[str, Any]] = field(default_factory=list)
    _columns: dict[str, list[NDArray]] = field(default_factory=dict)
    _colours: dict[str, Colours] = field(default_factory=dict)
    _frames: int = 0

    def __post_init__(self) -> None:
        self._arrow, self._parquet = require("pyarrow"), require("pyarrow.parquet")
        if self.layout.pictures in CODECS:
            require("av")
        try:
            self.root.mkdir(parents=True)
        except FileExistsError as error:
            raise DexError(f"{self.root} is there already; a dataset is never written over", code="file_exists") from error
        self._colours = {name: Colours() for name in self.layout.cameras}

    def add(self, task: str, state: NDArray, action: NDArray, pictures: Mapping[str, Iterator[NDArray[np.uint8]]]) -> int:
        """Writes one episode; returns its index.

        Args:
            task: the instruction.
            state, action: (k, n) in the order of the layout's columns.
            pictures: camera -> its k pictures, taken one after the other.

        Raises:
            DexError: other shapes than the layout's, or a number that is not finite.
        """
        number, length = len(self._episodes), len(state)
        for name, rows in ((STATE, state), (ACTION, action)):
            if rows.shape != (length, len(self.layout.columns)) or not np.isfinite(rows).all():
                wanted = (length, len(self.layout.columns))
                raise DexError(f"{name} of episode {number} has shape {rows.shape}; needed are finite numbers of shape {wanted}")
        place = {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}
        columns = self._counters(number, length, self.tasks.setdefault(task, len(self.tasks)))
        columns |= {STATE: state.astype(np.float32), ACTION: action.astype(np.float32)}
        shown = {name: Colours() for name in self.layout.cameras}
        images = {camera: self._pictures(camera, pictures[camera], place, length, shown[camera]) for camera in self.layout.cameras}
        self._write_rows(self.root / DATA_PATH.format(**place), columns, images)
        self._episodes.append(self._row(number, task, length, place, columns, shown))
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(values)
        for name, colours in shown.items():
            self._colours[name].merge(colours)
        self._frames += length
        return number

    def close(self, notes: Mapping[str, str]) -> None:
        """Writes the tables about the episodes, and ``notes`` (file name -> text) beside them. Raises DexError without a single episode."""
        if not self._episodes:
            raise DexError(f"{self.root}: no episode was written", code="dataset_empty")
        meta = self.root / "meta"
        table = self._arrow.Table.from_pylist(self._episodes)
        self._save(table, meta / "episodes" / f"{PLACE.format(chunk_index=0, file_index=0)}.parquet")
        self._save(self._task_table(), meta / "tasks.parquet")
        stats = {name: of_vectors(_two_axes(np.concatenate(parts))) for name, parts in self._columns.items()}
        stats |= {PICTURES + name: colours.stats() for name, colours in self._colours.items()}
        _write_json(meta / "stats.json", stats)
        for name, text in notes.items():
            (meta / name).write_text(text, encoding="utf-8")
        layout = self.layout
        _write_json(meta / "info.json", {
            "codebase_version": VERSION, "robot_type": layout.robot_type, "total_episodes": len(self._episodes), "total_frames": self._frames,
            "total_tasks": len(self.tasks), "chunks_size": FILES_PER_CHUNK, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
            "fps": layout.fps, "splits": {"train": f"0:{len(self._episodes)}"}, "data_path": DATA_PATH,
            "video_path": None if layout.pictures == "png" else VIDEO_PATH, "features": layout.features,
        })

    def _counters(self, episode: int, length: int, task: int) -> dict[str, NDArray]:
        frame = np.arange(length, dtype=np.int64)
        return {
            "timestamp": (frame / self.layout.fps).astype(np.float32), "frame_index": frame, "episode_index": np.full(length, episode, np.int64),
            "index": self._frames + frame, "task_index": np.full(length, task, np.int64),
        }

    def _pictures(self, camera: str, images: Iterator[NDArray[np.uint8]], place: Mapping[str, int], length: int, shown: Colours) -> list[bytes]:
        """PNGs of one episode, or none when they went into a video."""

        def seen() -> Iterator[NDArray[np.uint8]]:
            for image in images:
                if image.shape != (*self.layout.cameras[camera], 3):
                    raise DexError(f"a picture of camera {camera!r} is {image.shape}; the dataset's are {(*self.layout.cameras[camera], 3)}")
                shown.add(image)
                yield image

        pngs: list[bytes] = []
        if self.layout.pictures == "png":
            pngs = [png_bytes(image) for image in seen()]
        else:
            write_video(self.root / VIDEO_PATH.format(video_key=PICTURES + camera, **place), seen(), self.layout.fps, self.layout.pictures)
        if shown.pictures != length:
            raise DexError(f"camera {camera!r} gave {shown.pictures} pictures for {length} frames")
        return pngs

    def _write_rows(self, path: Path, columns: Mapping[str, NDArray], images: Mapping[str, list[bytes]]) -> None:
        arrow = self._arrow
        arrays = {
            name: arrow.array(values) if values.ndim == 1 else arrow.FixedSizeListArray.from_arrays(arrow.array(values.ravel()), values.shape[1])
            for name, values in columns.items()
        }
        kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        for name, pngs in images.items():
            if pngs:
                arrays[PICTURES + name] = arrow.array([{"bytes": data, "path": None} for data in pngs], type=kind)
        self._save(arrow.table(arrays), path)

    def _row(
        self, number: int, task: str, length: int, place: Mapping[str, int], columns: Mapping[str, NDArray], shown: Mapping[str, Colours],
    ) -> dict[str, Any]:
        """What meta/episodes says of one."""
        row: dict[str, Any] = {
            "episode_index": number, "tasks": [task], "length": length, **{f"data/{key}": value for key, value in place.items()},
            "dataset_from_index": self._frames, "dataset_to_index": self._frames + length,
        }
        if self.layout.pictures != "png":
            for name in self.layout.cameras:
                video = {**place, "from_timestamp": 0.0, "to_timestamp": length / self.layout.fps}
                row |= {f"videos/{PICTURES}{name}/{key}": value for key, value in video.items()}
        stats = {name: of_vectors(_two_axes(values)) for name, values in columns.items()}
        stats |= {PICTURES + name: colours.stats() for name, colours in shown.items()}
        row |= {f"stats/{feature}/{name}": value for feature, found in stats.items() for name, value in found.items()}
        return {**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}

    def _task_table(self) -> Any:
        """Task -> index, the task being what pandas calls the index of the table."""
        index, text = "__index_level_0__", {"pandas_type": "unicode", "numpy_type": "object"}
        number = {"pandas_type": "int64", "numpy_type": "int64"}
        pandas = {
            "index_columns": [index],
            "columns": [
                {"name": "task_index", "field_name": "task_index", "metadata": None, **number},
                {"name": None, "field_name": index, "metadata": None, **text},
            ],
            "column_indexes": [{"name": None, "field_name": None, "metadata": {"encoding": "UTF-8"}, **text}],
            "creator": {"library": "dex_eval", "version": "1"}, "pandas_version": "2.0.0",
        }
        table = self._arrow.table({"task_index": self._arrow.array(list(self.tasks.values()), type=self._arrow.int64()), index: list(self.tasks)})
        return table.replace_schema_metadata({"pandas": json.dumps(pandas)})

    def _save(self, table: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._parquet.write_table(table, path, compression="snappy")


def _two_axes(values: NDArray) -> NDArray:
    return values if values.ndim == 2 else values[:, None]


def _write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=4) + "\n", encoding="utf-8")
