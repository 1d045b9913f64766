# SPDX-License-Identifier: Apache-2.0
"""`dex bench soak`: the whole simulated cell at rate for a long time; memory, threads, descriptors and latency of each process stay flat."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from dex_bringup.bench.live import LiveCell
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import load_task
from dex_core.errors import DexError

MINUTES = 60.0
SAMPLE_S = 2.0
WARM_UP_SHARE, WARM_UP_MAX_S = 0.3, 300.0
"""What a process takes while its first goals run, and its caches fill, is no growth: the first share of the time is left out."""
MEMORY_KIB_PER_HOUR, MEMORY_STEP_KIB = 8192.0, 4096.0
"""Flat: a slope that adds at most 8 MiB an hour; in a short run at most 4 MiB between its halves, since allocators grow in steps."""
THREADS_STEP, FILES_STEP = 0, 2
LATENCY_SHARE = 0.25
"""Latency drifts when the last third's median is more than so much above the first third's."""
GOAL_S = 20.0


@dataclass
class Track:
    """One process over time: seconds since the start, resident memory [KiB], threads, open files. ``pid`` changes when it was started again."""

    pid: int = 0
    restarts: int = 0
    seconds: list[float] = field(default_factory=list)
    memory_kib: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def add(self, pid: int, seconds: float) -> None:
        """One sample; a process that is gone gives none."""
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                memory, threads, files = process.memory_info().rss / 1024.0, process.num_threads(), process.num_fds()
        except psutil.Error:
            return
        if self.pid not in (0, pid):
            self.restarts += 1
        self.pid = pid
        self.seconds.append(seconds)
        self.memory_kib.append(memory)
        self.threads.append(threads)
        self.files.append(files)


@dataclass(frozen=True)
class Flatness:
    """How a quantity went after the warm-up: slope per hour, and the medians of both halves."""

    per_hour: float
    first: float
    last: float

    @property
    def step(self) -> float:
        """How far the second half's median lies above the first's."""
        return self.last - self.first


def flatness(seconds: Sequence[float], values: Sequence[float], warm_up_s: float) -> Flatness:
    """Slope by the median of all pairs' slopes (Theil-Sen: a step or a spike does not tilt it), over what came after ``warm_up_s``.

    Raises:
        DexError: ``too_short``: fewer than four samples are left.
    """
    t, v = np.asarray(seconds, dtype=np.float64), np.asarray(values, dtype=np.float64)
    keep = t >= warm_up_s
    t, v = t[keep], v[keep]
    if len(t) < 4:
        raise DexError(f"{len(t)} samples after {warm_up_s:.0f} s of warm-up; at least 4 are needed", code="too_short")
    every = max(1, len(t) // 400)
    ts, vs = t[::every], v[::every]
    i, j = np.triu_indices(len(ts), k=1)
    half = len(t) // 2
    slope = float(np.median((vs[j] - vs[i]) / (ts[j] - ts[i])))
    return Flatness(slope * 3600.0, float(np.median(v[:half])), float(np.median(v[half:])))


def memory_is_flat(found: Flatness, minutes: float) -> bool:
    """An hour is judged by its slope, a short run, in which one step of the allocator is a steep slope, by the step."""
    return found.step <= MEMORY_STEP_KIB if minutes < 20.0 else found.per_hour <= MEMORY_KIB_PER_HOUR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Keeps the cell busy, goal after goal, and samples every process."""
    tracks: dict[str, Track] = {}
    instruction = load_task("push_cans").instruction
    goals = {"count": 0, "ended": 0}
    with LiveCell(options.cell, {"monitor": "true"}, notify=say) as cell:
        began = time.monotonic()
        latency: list[tuple[float, float]] = []
        last_s = -SAMPLE_S

        def tick(_feedback: object = None) -> None:
            nonlocal last_s
            now_s = time.monotonic() - began
            if now_s - last_s >= SAMPLE_S:
                last_s = now_s
                for child in cell.supervisor.children:
                    tracks.setdefault(child.name, Track()).add(child.pid, now_s)

        seed = 0
        while time.monotonic() - began < options.minutes * 60.0:
            seed += 1
            seen = len(cell.chunks)
            result = cell.attempt(seed, instruction, min(GOAL_S, options.minutes * 60.0), tick)
            tick()
            goals["count"] += 1
            goals["ended"] += result.outcome not in ("SUCCEEDED", "DEADLINE")
            at_s = time.monotonic() - began
            latency += [(at_s, report.overhead_ms) for report in cell.chunks[seen:] if report.accepted]
            say(f"{at_s / 60.0:.1f} min: goal {seed} {result.outcome} {result.reason}")
        figures = cell.figures()
    return report_of(tracks, latency, goals, options.minutes, figures)


def report_of(
    tracks: dict[str, Track], latency: Sequence[tuple[float, float]], goals: dict[str, int], minutes: float, seen: dict[str, object]
) -> Report:
    """The verdict over what was sampled."""
    warm_up_s = min(WARM_UP_SHARE * minutes * 60.0, WARM_UP_MAX_S)
    figures: dict[str, object] = {"minutes": minutes, "goals": goals["count"], "goals_aborted": goals["ended"], "warm_up_s": warm_up_s}
    growing, threads_grown, files_grown = [], 0, 0
    for name, track in tracks.items():
        found = flatness(track.seconds, track.memory_kib, warm_up_s)
        threads, files = (flatness(track.seconds, values, warm_up_s).step for values in (track.threads, track.files))
        figures[name] = (
            f"{found.last / 1024.0:.1f} MiB, slope {found.per_hour / 1024.0:+.2f} MiB/h, step {found.step:+.0f} KiB, "
            f"threads {track.threads[-1]} ({threads:+.0f}), files {track.files[-1]} ({files:+.0f}), restarts {track.restarts}"
        )
        growing += [name] * (not memory_is_flat(found, minutes))
        threads_grown = max(threads_grown, round(threads))
        files_grown = max(files_grown, round(files))
    figures.update(
        growing_processes=len(growing), grow=", ".join(growing) or "none", threads_grown=threads_grown, files_grown=files_grown,
        restarts=sum(track.restarts for track in tracks.values()), latency_drift=latency_drift(latency, warm_up_s),
        latency_p50_ms=percentile([ms for _, ms in latency], 50), gate_ticks_missed=seen.get("gate_ticks_missed", 0),
    )
    wanted = [
        Goal("growing_processes", at_most=0), Goal("threads_grown", at_most=THREADS_STEP), Goal("files_grown", at_most=FILES_STEP),
        Goal("restarts", at_most=0), Goal("latency_drift", at_most=LATENCY_SHARE),
    ]
    return Report("soak", figures, wanted)


def latency_drift(latency: Sequence[tuple[float, float]], warm_up_s: float) -> float:
    """How much the median of the last third lies above that of the first, as a share of it; NaN with fewer than nine chunks."""
    values = [ms for at_s, ms in latency if at_s >= warm_up_s]
    third = len(values) // 3
    if third < 3:
        return float("nan")
    first, last = np.median(values[:third]), np.median(values[-third:])
    return float(last / first - 1.0) if first > 0.0 else float("nan")
