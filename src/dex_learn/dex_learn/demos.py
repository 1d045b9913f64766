# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: disturbed lockstep episodes of the expert, kept as labelled states in files of 20 episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dex_core.config import CellConfig
from dex_learn.collect import Actor, Collector, Disturbance
from dex_learn.progress import progress
from dex_learn.records import Records
from dex_sim.lockstep import LockstepCell

PER_FILE = 20
DEMO_SEEDS = (0, 1000)
DAGGER_SEEDS = (10_000, 20_000)
SCORE_SEEDS = (1000, 2000)
RESERVED_FROM = 100_000


def collect(
    cell: CellConfig, folder: Path, seeds: range, disturbance: Disturbance, actor: Actor | None = None, *, image: bool = False,
    title: str = "episodes", note: Callable[[], str] = lambda: "",
) -> int:
    """Runs the episodes whose file is not there yet; stop and start as you like.

    Returns:
        How many labelled states were added.
    """
    starts = [s for s in range(seeds.start, seeds.stop, PER_FILE) if not _file(folder, s).exists()]
    if not starts:
        return 0
    lockstep = LockstepCell(cell, render=image)
    collector = Collector(lockstep, disturbance)
    added, met, done = 0, 0, 0
    try:
        with progress(title, len(starts) * PER_FILE) as show:
            for start in starts:
                parts = []
                for seed in range(start, min(start + PER_FILE, seeds.stop)):
                    records, success = collector.episode(seed, actor, image=image)
                    parts.append(records)
                    met, done, added = met + success, done + 1, added + len(records)
                    show(done, f"{added} states, cans met in {met} of {done} {note()}")
                Records.join(parts).save(_file(folder, start))
    finally:
        lockstep.close()
    return added


def _file(folder: Path, start: int) -> Path:
    return folder / f"episodes_{start:06d}.npz"
