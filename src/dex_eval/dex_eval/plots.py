# SPDX-License-Identifier: Apache-2.0
"""One picture of a run: joint tracks with the predicted chunks, latencies per chunk, seams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dex_eval.episode import Episode
from dex_eval.replay import Predicted
from dex_ros.convert import time_from_msg, timing_from_msg

matplotlib.use("Agg")
_STAGES = (
    ("observed", "inference_started", "collect"),
    ("inference_started", "inferred", "inference"),
    ("inferred", "decoded", "decode"),
    ("decoded", "first_command", "gate"),
)


def run_picture(episode: Episode, path: Path, predictions: list[Predicted] | None = None) -> None:
    """Writes the picture of a recording as PNG; with predictions, their chunks are drawn over what was commanded."""
    figure = Figure(figsize=(12, 14), layout="constrained")
    interfaces = list(episode.cell.interfaces)
    axes = figure.subplots(len(interfaces) + 2, 1, height_ratios=[1.0] * len(interfaces) + [0.8, 0.8])
    origin_ns = int(episode.measured.stamp_ns[0])
    offset = 0
    for axis, name in zip(axes, interfaces, strict=False):
        count = len(episode.cell.interface(name).names)
        _tracks(axis, episode, name, slice(offset, offset + count), origin_ns, predictions or [])
        offset += count
        axis.sharex(axes[0])
    _latency(axes[-2], episode, origin_ns)
    _seams(axes[-1], episode, origin_ns)
    for axis in axes[-2:]:
        axis.sharex(axes[0])
    if episode.chunks:  # the run, not the waiting around it
        first, last = (_seconds(episode.chunks[i].stamp_ns, origin_ns) for i in (0, -1))
        axes[0].set_xlim(max(0.0, first - 1.0), last + 4.0)
    axes[-1].set_xlabel("time [s]")
    success = f", task {'done' if episode.tasks[-1].success else 'not done'}" if episode.tasks else ""
    figure.suptitle(f"{episode.cell.name}: {episode.recording.duration_s:.0f} s, {len(episode.chunks)} chunks{success}")
    figure.savefig(path, dpi=80)


def _seconds(stamps_ns: Any, origin_ns: int) -> Any:
    return (np.asarray(stamps_ns, dtype=np.int64) - origin_ns) * 1e-9


def _tracks(axis: Axes, episode: Episode, name: str, columns: slice, origin_ns: int, predictions: list[Predicted]) -> None:
    joints = episode.cell.interface(name).names
    lines = axis.plot(_seconds(episode.measured.stamp_ns, origin_ns), episode.measured.position_rad[:, columns], linewidth=1.3)
    if len(episode.commanded.stamp_ns):
        commanded = axis.plot(
            _seconds(episode.commanded.stamp_ns, origin_ns), episode.commanded.position_rad[:, columns], linewidth=0.8, linestyle="--"
        )
        for line, measured in zip(commanded, lines, strict=True):
            line.set_color(measured.get_color())
    for prediction in predictions:
        stamps = _seconds(prediction.start_ns, origin_ns) + np.arange(len(prediction.position_rad)) * prediction.dt_s
        axis.plot(stamps, prediction.position_rad[:, columns], color="black", alpha=0.15, linewidth=0.6)
    axis.set_ylabel("rad")
    axis.set_title(f"{name}: measured, commanded (dashed)" + (", predicted chunks (grey)" if predictions else ""), fontsize=9, loc="left")
    axis.legend(lines, [j.split("_", 1)[1].replace("_joint", "") for j in joints], fontsize=6, ncols=len(joints), loc="upper right")
    axis.grid(alpha=0.3)


def _latency(axis: Axes, episode: Episode, origin_ns: int) -> None:
    reports = [r for r in episode.chunk_reports if r.accepted]
    timings = [timing_from_msg(r.timing) for r in reports]
    base = np.zeros(len(timings))
    times = _seconds([time_from_msg(r.header.stamp) for r in reports], origin_ns) if reports else np.zeros(0)
    for before, after, label in _STAGES:
        own = np.array([max(0.0, (t[after] - t[before]) * 1e-6) if before in t and after in t else 0.0 for t in timings])
        axis.bar(times, own, bottom=base, width=0.2, label=label)
        base += own
    axis.set_ylabel("ms")
    axis.set_title("each chunk: from camera stamp to first command", fontsize=9, loc="left")
    axis.legend(fontsize=7, ncols=4, loc="upper right")
    axis.grid(alpha=0.3)


def _seams(axis: Axes, episode: Episode, origin_ns: int) -> None:
    reports = [r for r in episode.chunk_reports if r.accepted]
    times = _seconds([time_from_msg(r.header.stamp) for r in reports], origin_ns) if reports else np.zeros(0)
    lines = [
        *axis.plot(times, [r.position_jump for r in reports], "o-", color="C0", markersize=3, alpha=0.4, label="position jump of the plans [rad]"),
        *axis.plot(times, [r.velocity_step for r in reports], "s-", color="C1", markersize=3, alpha=0.4, label="velocity step of the plans [rad/s]"),
        *axis.plot(times, [r.command_velocity_step for r in reports], "s-", color="C1", markersize=3, label="of the commands [rad/s]"),
    ]
    jerk = axis.twinx()
    lines += jerk.plot(times, [r.jerk for r in reports], "^-", color="C2", markersize=3, alpha=0.4, label="jerk of the plans [rad/s^3]")
    lines += jerk.plot(times, [r.command_jerk for r in reports], "^-", color="C2", markersize=3, label="of the commands [rad/s^3]")
    jerk.set_yscale("symlog", linthresh=10.0)
    for report in (r for r in episode.chunk_reports if not r.accepted):
        axis.axvline(_seconds(time_from_msg(report.header.stamp), origin_ns), color="red", linewidth=0.8)
    axis.set_title("chunk seams: of the plans, and what the schedule left of them; red: chunk refused", fontsize=9, loc="left")
    axis.legend(handles=lines, fontsize=7, ncols=5, loc="upper right")
    axis.grid(alpha=0.3)
