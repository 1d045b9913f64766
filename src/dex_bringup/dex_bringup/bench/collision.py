# SPDX-License-Identifier: Apache-2.0
"""Distances of a whole cell, with the gradient, and of a chunk of 64 steps; in the compiled kernel and in NumPy."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.config import CellConfig, load_cell
from dex_core.kinematics.collision import CollisionModel
from dex_core.types import Array

QUERY_MS = 0.2
CHUNK_MS = 10.0
STEPS = 64
SEED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--queries", type=int, default=2000, help="how many postures (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Postures spread over the whole range of every joint, and chunks around the rest posture."""
    cell = load_cell(options.cell)
    model, build_s = _model(cell, "")
    say(f"{cell.name}: {len(model.links)} links, {len(model.pairs)} pairs")
    home = np.concatenate([interface.home for interface in cell.interfaces.values()])
    postures = _postures(cell, options.queries)
    figures: dict[str, Any] = {"compiled": str(model.compiled), "links": len(model.links), "pairs": len(model.pairs), "build_ms": 1e3 * build_s}
    figures |= _times("query", [_timed(model.query, q) for q in postures])
    figures |= _times("query_parts", [_timed(model.query_parts, q) for q in postures[:500]])
    rng = np.random.default_rng(SEED)
    chunks = [home + np.cumsum(rng.normal(0.0, 0.02, (STEPS, len(home))), axis=0) for _ in range(60)]
    figures |= _times("chunk", [_timed(model.check_chunk, chunk) for chunk in chunks])
    errors = [_gradient_error(model, q) for q in postures[:100]]
    figures |= {f"gradient_error_p{share}": percentile(errors, share) for share in (50, 95)}  # beyond: at kinks, where the nearest shapes change
    reference, _ = _model(cell, "numpy")
    figures |= _times("numpy_query", [_timed(reference.query, q) for q in postures[:30]])
    figures["numpy_difference_largest_m"] = max(abs(reference.query(q).distance_m - model.query(q).distance_m) for q in postures[:30])
    return Report("collision", figures, (Goal("query_p50_ms", at_most=QUERY_MS, unit="ms"), Goal("chunk_p50_ms", at_most=CHUNK_MS, unit="ms")))


def _model(cell: CellConfig, engine: str) -> tuple[CollisionModel, float]:
    from dex_description.compose import compose_cell_urdf

    parts = {interface.prefix + interface.robot.root_link: interface.name for interface in cell.interfaces.values()}
    text, started = compose_cell_urdf(cell), time.perf_counter()
    return CollisionModel(text, cell.joint_names, parts=parts, engine=engine), time.perf_counter() - started


def _postures(cell: CellConfig, count: int) -> Array:
    limits = [limit for interface in cell.interfaces.values() for limit in interface.limits]
    lower, upper = np.array([[limit.lower_rad, limit.upper_rad] for limit in limits]).T
    return np.random.default_rng(SEED).uniform(np.maximum(lower, -np.pi), np.minimum(upper, np.pi), (count, len(lower)))


def _timed(call: Callable[[Array], Any], q: Array) -> float:
    started = time.perf_counter()
    call(q)
    return time.perf_counter() - started


def _times(name: str, took: list[float]) -> dict[str, float]:
    return {f"{name}_p50_ms": 1e3 * percentile(took, 50), f"{name}_p99_ms": 1e3 * percentile(took, 99)}


def _gradient_error(model: CollisionModel, q: Array, step: float = 1e-6) -> float:
    """Largest difference from central differences [m/rad], where both sides see the same pair of links."""
    found = model.query(q)
    worst = 0.0
    for column in range(len(q)):
        move = step * np.eye(len(q))[column]
        ahead, behind = model.query(q + move), model.query(q - move)
        if ahead.links == behind.links == found.links:
            worst = max(worst, abs((ahead.distance_m - behind.distance_m) / (2.0 * step) - found.gradient[column]))
    return worst
