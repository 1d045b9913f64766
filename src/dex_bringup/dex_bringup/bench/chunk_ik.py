# SPDX-License-Identifier: Apache-2.0
"""A chunk of fingertip targets solved as one: time, residual, jumps; with the compiled kernel and without."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dex_bringup.bench.hand_ik import JUMP_RAD, track
from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.kinematics.chunk_ik import solve_chunk
from dex_core.kinematics.hand_ik import HandIk, load_hand_model
from dex_core.types import Array

FIVE = ("inspire", "ability", "xhand1", "sharpa_wave")
STEPS = 64
MOST_MS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--hands", nargs="+", default=[*FIVE, "leap", "dexh13"], metavar="HAND", help="which (default: %(default)s)")
    parser.add_argument("--chunks", type=int, default=60, help="of each hand (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Chunks of 64 steps, half of them from a previous solution and half from nothing."""
    figures: dict[str, Any] = {}
    for name in options.hands:
        say(f"{name}: {options.chunks} chunks of {STEPS} steps")
        hand = load_hand_model(name, "right")
        for label, engine, chunks in (("ours", "", options.chunks), ("numpy", "numpy", 2)):
            figures |= {f"{name}_{label}_{key}": value for key, value in _measure(HandIk(hand, engine=engine), hand, chunks).items()}
    return Report("chunk-ik", figures, [Goal(f"{name}_ours_p50_ms", at_most=MOST_MS, unit="ms") for name in options.hands if name in FIVE])


def _measure(ik: HandIk, hand: Any, chunks: int) -> dict[str, float]:
    took, missed, steps = [], [], []
    for seed in range(chunks):
        joints = track(hand, seed, STEPS)
        targets = _tips(ik, joints)
        started = time.perf_counter()
        solved = solve_chunk(ik, targets, previous_rad=joints[0] if seed % 2 else None)
        took.append(time.perf_counter() - started)
        missed.append(solved.residual_m)
        steps.append(np.abs(np.diff(solved.position_rad, axis=0)).max(axis=1))
    return {
        "p50_ms": 1e3 * percentile(took, 50), "p99_ms": 1e3 * percentile(took, 99), "residual_mean_mm": 1e3 * float(np.mean(missed)),
        "within_1mm_percent": 100.0 * float(np.mean(np.array(missed) <= 1e-3)), "jumps_per_1000": 1e3 * float(np.mean(np.array(steps) > JUMP_RAD)),
    }


def _tips(ik: HandIk, joints: Array) -> Array:
    out = np.empty((len(joints), len(ik.fingers), 3))
    for group in ik.groups:
        out[:, group.fingers] = group.forward.tips(joints[:, group.columns])
    return out
