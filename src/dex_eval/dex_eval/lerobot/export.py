# SPDX-License-Identifier: Apache-2.0
"""`dex export lerobot`: recordings into one LeRobot dataset, an episode per goal and stretch without a gap."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dex_core.config import CellConfig
from dex_core.config.strict import to_plain
from dex_core.errors import DexError
from dex_eval.bag import Recording
from dex_eval.lerobot.align import Gap, Run, runs_of
from dex_eval.lerobot.source import COMMANDS, Goal, Source, read_source
from dex_eval.lerobot.writing import DatasetWriter, Layout

UNIT = "pos_rad"
CELL_FILE, SOURCES_FILE = "dex_cell.yaml", "dex_episodes.json"
LIMIT_FRAMES = 0.6
NS = 10**9


@dataclass(frozen=True)
class Choices:
    """How recordings become episodes.

    Attributes:
        fps: frames per second; 0: the rate of the cell's first camera.
        limit_s: how far a sample may be from its frame [s]; 0: 0.6 of a frame, so that one missing picture is a gap.
        task: instruction for the whole recording, instead of those of its goals.
        pictures: av1, h264 or png.
        min_s: shorter stretches are left out [s].
        strict: a gap refuses instead of ending an episode.
    """

    fps: int = 0
    limit_s: float = 0.0
    task: str = ""
    pictures: str = "av1"
    min_s: float = 1.0
    strict: bool = False


@dataclass
class Report:
    """What was written: per episode where it came from and how well its samples fitted; and what was left out."""

    root: str
    fps: int
    frames: int = 0
    episodes: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    too_short: int = 0


def export(bags: Iterable[Path], out: Path, choices: Choices = Choices()) -> Report:
    """Writes a dataset.

    Frames lie on a fixed rate from a picture on; each takes of every stream the sample nearest in time. State is what was measured, action what the
    gate commanded at that time, both in the cell's order of joints.

    Args:
        bags: recordings of one cell.
        out: folder that does not exist.

    Raises:
        BagError: something is wrong with a recording. DexError: ``cells_differ``, ``gap`` (strict), ``dataset_empty``, ``file_exists``.
        ConfigError: pyarrow or av is not installed.
    """
    started: tuple[DatasetWriter, Report, CellConfig] | None = None
    for bag in bags:
        source = read_source(Recording(bag), choices.task)
        if started is None:
            layout = _layout(source.cell, choices)
            started = DatasetWriter(out, layout), Report(str(out), layout.fps), source.cell
        writer, report, cell = started
        _require_same(cell, source.cell, bag)
        _add_recording(writer, report, source, choices)
    if started is None:
        raise DexError("no recording was named", code="dataset_empty")
    writer, report, cell = started
    writer.close({CELL_FILE: yaml.safe_dump(to_plain(cell), sort_keys=False), SOURCES_FILE: json.dumps(asdict(report), indent=1) + "\n"})
    return report


def _layout(cell: CellConfig, choices: Choices) -> Layout:
    first = next(iter(cell.cameras.values()))
    sizes = {name: (camera.output_wh[1], camera.output_wh[0]) for name, camera in cell.cameras.items()}
    return Layout(choices.fps or round(first.rate_hz), f"dex_{cell.name}", tuple(f"{j}.{UNIT}" for j in cell.joint_names), sizes, choices.pictures)


def _require_same(cell: CellConfig, other: CellConfig, bag: Path) -> None:
    for what, a, b in (("joints", cell.joint_names, other.joint_names), ("cameras", list(cell.cameras), list(other.cameras))):
        if a != b:
            raise DexError(f"{bag} has {what} {list(b)}; the recordings before have {list(a)}", code="cells_differ")


def _add_recording(writer: DatasetWriter, report: Report, source: Source, choices: Choices) -> None:
    fps, streams, lead = writer.layout.fps, source.streams, next(iter(source.cell.cameras))
    path = str(source.recording.path)
    for goal in source.goals:
        runs, gaps = runs_of(streams, lead, goal.begin_ns, goal.end_ns, fps, choices.limit_s or LIMIT_FRAMES / fps)
        if gaps and choices.strict:
            at_s = _since_start(gaps[0], source)
            raise DexError(f"{path}: nothing of {gaps[0].stream!r} near {at_s} s; without --strict the episode ends there", code="gap")
        report.gaps += [{"recording": path, "at_s": _since_start(gap, source), "stream": gap.stream} for gap in gaps]
        for run in runs:
            if len(run.stamps_ns) < max(2.0, choices.min_s * fps):
                report.too_short += 1
                continue
            state = np.concatenate([joints.position_rad[run.picks[name]] for name, joints in source.measured.items()], axis=1)
            action = source.commanded.position_rad[run.picks[COMMANDS]]
            pictures = {name: source.pictures(name, run.picks[name]) for name in source.cell.cameras}
            index = writer.add(goal.task, state, action, pictures)
            report.frames += len(state)
            report.episodes.append({"episode": index, "recording": path, **_entry(goal, run, source, lead)})


def _entry(goal: Goal, run: Run, source: Source, lead: str) -> dict[str, Any]:
    return {
        "goal_id": goal.goal_id, "task": goal.task, "start_ns": int(run.stamps_ns[0]), "frames": len(run.stamps_ns),
        "repeated_pictures": int((np.diff(run.picks[lead]) == 0).sum()),
        "farthest_ms": {name: round(ns * 1e-6, 3) for name, ns in run.farthest_ns(source.streams).items()},
    }


def _since_start(gap: Gap, source: Source) -> float:
    return round((gap.stamp_ns - source.recording.first_ns) / NS, 3)
