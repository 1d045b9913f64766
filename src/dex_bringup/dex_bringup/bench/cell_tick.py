# SPDX-License-Identifier: Apache-2.0
"""One control tick of a whole cell, and a chunk of 64: both arms, both hands, filter and limits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import CellConfig, Interface, load_cell
from dex_core.kinematics import load_arm
from dex_core.kinematics.arm_ik import ArmIk
from dex_core.kinematics.arm_ik_dual import DualArmIk, load_dual_arm
from dex_core.kinematics.chunk_ik import solve_chunk
from dex_core.kinematics.hand_ik import HandIk, load_hand_model
from dex_core.limits import JointLimits, LimitPipeline, Moment, Motion
from dex_core.types import Array

TICK_MS = 0.1
CHUNK_MS = 4.0
STEPS = 64
SMOOTHING = 0.6
"""Share of the new target that the filter lets through in a tick."""
SPEED = 0.4
SEED = 3


class Part(NamedTuple):
    """One arm, pair of arms or hand of the cell: its columns in the cell's joints, its rest posture, its IK, and targets along a track."""

    columns: slice | np.ndarray
    home: Array
    ik: ArmIk | DualArmIk | HandIk
    targets: Array


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--ticks", type=int, default=2000, help="how many (default %(default)s)")
    parser.add_argument("--chunks", type=int, default=40, help="of 64 steps (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Ticks at 100 Hz along a smooth track that every part of the cell can reach."""
    cell = load_cell(options.cell)
    say(f"{options.ticks} ticks and {options.chunks} chunks of {cell.name}")
    parts = _parts(cell, options.ticks)
    figures: dict[str, Any] = {"joints": len(cell.joint_names), "compiled": str(all(part.ik.compiled for part in parts))}
    figures |= _ticks(cell, parts, options.ticks) | _chunks(parts, options.chunks)
    return Report("cell-tick", figures, (Goal("tick_p50_ms", at_most=TICK_MS, unit="ms"), Goal("chunk_p50_ms", at_most=CHUNK_MS, unit="ms")))


def _parts(cell: CellConfig, ticks: int) -> list[Part]:
    parts, at = [], 0
    for number, interface in enumerate(cell.interfaces.values()):
        n = len(interface.names)
        parts.append(_part(interface, slice(at, at + n), ticks, np.random.default_rng(SEED + number)))
        at += n
    return parts


def _part(interface: Interface, columns: slice, ticks: int, rng: np.random.Generator) -> Part:
    home, robot = np.array(interface.home), interface.robot
    lower, upper = (np.array([getattr(limit, side) for limit in interface.limits]) for side in ("lower_rad", "upper_rad"))
    reach = np.minimum(0.3, 0.8 * np.minimum(home - lower, upper - home))
    joints = home + reach * np.sin(0.01 * np.arange(ticks)[:, None] * rng.uniform(0.3, 1.0, len(home)) * SPEED / 0.3)
    if robot.kind == "arm" and not robot.tool_links:
        arm = load_arm(robot.name)
        return Part(columns, home, ArmIk(arm, rest_rad=home), np.array([arm.flange_pose(q) for q in joints]))
    if robot.kind == "arm":
        body, wrists = load_dual_arm(robot.name)
        own = np.array([robot.actuated.index(name) for name in body.names])
        poses = np.array([[body.pose(q, wrist) for wrist in wrists] for q in joints[:, own]])
        return Part(columns.start + own, home[own], DualArmIk(body, wrists, rest_rad=home[own]), poses)
    ik = HandIk(load_hand_model(robot.name, interface.side), rest_rad=home)
    targets = np.empty((ticks, len(ik.fingers), 3))
    for group in ik.groups:
        targets[:, group.fingers] = group.forward.tips(joints[:, group.columns])
    return Part(columns, home, ik, targets)


def _ticks(cell: CellConfig, parts: list[Part], ticks: int) -> dict[str, float]:
    pipeline = LimitPipeline(JointLimits.of_cell(cell))
    home = np.concatenate([interface.home for interface in cell.interfaces.values()])
    wanted, smooth, motion, dt_s = home.copy(), home.copy(), Motion.at_rest(home.copy()), 1.0 / cell.control.rate_hz
    took, ik_took, limits_took, moved = [], [], [], []
    for tick in range(ticks):
        started = time.perf_counter()
        for columns, _, ik, targets in parts:
            wanted[columns] = ik.solve(targets[tick], previous_rad=wanted[columns]).position_rad
        solved = time.perf_counter()
        smooth += SMOOTHING * (wanted - smooth)
        filtered = time.perf_counter()
        motion = pipeline.apply(smooth, Moment(motion, motion.position_rad, dt_s)).motion
        took.append(time.perf_counter() - started)
        limits_took.append(time.perf_counter() - filtered)
        ik_took.append(solved - started)
        moved.append(np.abs(motion.position_rad - wanted).max())
    return {
        "tick_p50_ms": 1e3 * percentile(took, 50), "tick_p99_ms": 1e3 * percentile(took, 99), "tick_ik_p50_ms": 1e3 * percentile(ik_took, 50),
        "tick_limits_p50_ms": 1e3 * percentile(limits_took, 50), "tick_behind_p50_rad": percentile(moved, 50),
    }


def _chunks(parts: list[Part], chunks: int) -> dict[str, float]:
    took, missed = [], 0
    for number in range(chunks):
        started = time.perf_counter()
        for _, home, ik, targets in parts:
            steps = targets[number * STEPS % max(1, len(targets) - STEPS):][:STEPS]
            track = solve_chunk(ik, steps, start_rad=home) if isinstance(ik, HandIk) else ik.solve_chunk(steps, start_rad=home)
            missed += int(np.count_nonzero(track.status))
        took.append(time.perf_counter() - started)
    return {"chunk_p50_ms": 1e3 * percentile(took, 50), "chunk_p99_ms": 1e3 * percentile(took, 99), "chunk_steps_missed": missed}
