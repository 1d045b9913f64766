# SPDX-License-Identifier: Apache-2.0
"""One joint's commands under every schedule, drawn: the same scene, the same policy, the same latency.

    python -m dex_bringup.bench.chunking_trajectories --out docs/chunking_trajectories.png
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dex_bringup.bench.chunking_cell import ChunkingCell, Setting
from dex_bringup.bench.chunking_gate import Commanded
from dex_core.chunks import SCHEDULES
from dex_core.config import load_cell
from dex_sim.executor import CONTROL_HZ, INTERFACES

FIRST_S = 0.8
"""The way to the first chunk is the same for all, much faster than the rest, and not drawn."""


def play(cell_name: str, latency_s: float, seed: int, task: str, duration_s: float) -> tuple[dict[str, Commanded], tuple[str, ...]]:
    """Schedule -> commands of the first ``duration_s`` of one scene; and the names of their joints."""
    config = load_cell(cell_name)
    cell, found = ChunkingCell(config), {}
    try:
        for schedule in SCHEDULES:
            cell.play(Setting(schedule, latency_s), seed, task, duration_s)
            found[schedule] = cell.commanded()
    finally:
        cell.close()
    return found, tuple(joint for interface in INTERFACES for joint in config.interface(interface).names)


def draw(path: Path, commands: Mapping[str, Commanded], joints: Sequence[str], title: str) -> None:
    """Writes a PNG: the position of the joint that moves furthest, all schedules over each other, and its speed, one below the other.

    What came within ``FIRST_S`` of the first command is left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = {}
    for schedule, (time_s, position_rad, seams_s) in commands.items():
        keep = time_s >= time_s[0] + FIRST_S
        drawn[schedule] = Commanded(time_s[keep], position_rad[keep], seams_s[seams_s >= time_s[0] + FIRST_S])
    joint = int(np.argmax(np.ptp(next(iter(drawn.values())).position_rad, axis=0)))
    figure = Figure(figsize=(10, 12), layout="constrained")
    axes = figure.subplots(len(commands) + 1, 1, sharex=True, height_ratios=[2.0] + [1.0] * len(commands))
    axes[0].set_title(f"{title}: {joints[joint]}", fontsize=10, loc="left")
    axes[0].set_ylabel("rad")
    for k, (schedule, (time_s, position_rad, seams_s)) in enumerate(drawn.items()):
        axes[0].plot(time_s, position_rad[:, joint], color=f"C{k}", linewidth=1.2, label=schedule)
        speed = np.diff(position_rad[:, joint]) * CONTROL_HZ
        axes[k + 1].plot(time_s[1:], speed, color=f"C{k}", linewidth=1.0)
        for seam_s in seams_s:
            axes[k + 1].axvline(seam_s, color="black", alpha=0.3, linewidth=0.7)
        axes[k + 1].set_title(f"{schedule}: speed, and where chunks meet or run out", fontsize=9, loc="left")
        axes[k + 1].set_ylabel("rad/s")
        axes[k + 1].set_ylim(*_speeds(drawn, joint))
    axes[0].legend(fontsize=8)
    axes[-1].set_xlabel("simulated time [s]")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def _speeds(commands: Mapping[str, Commanded], joint: int) -> tuple[float, float]:
    """Lowest and highest speed of a joint under any schedule, with a margin [rad/s]."""
    speeds = np.concatenate([np.diff(c.position_rad[:, joint]) for c in commands.values()]) * CONTROL_HZ
    margin = 0.1 * max(float(np.ptp(speeds)), 0.01)
    return float(speeds.min()) - margin, float(speeds.max()) + margin


def main() -> int:
    """Plays and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    parser.add_argument("--cell", default="xarm_bimanual", help="cell (default %(default)s)")
    parser.add_argument("--task", default="push_cans", help="task (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="scene (default %(default)s)")
    parser.add_argument("--latency-ms", type=float, default=200.0, help="from an observation to its chunk (default %(default)s)")
    parser.add_argument("--duration-s", type=float, default=6.0, help="simulated time (default %(default)s)")
    options = parser.parse_args()
    commands, joints = play(options.cell, 1e-3 * options.latency_ms, options.seed, options.task, options.duration_s)
    draw(options.out, commands, joints, f"{options.task}, scene {options.seed}, chunks {options.latency_ms:g} ms after their observation")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
