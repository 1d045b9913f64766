# SPDX-License-Identifier: Apache-2.0
"""Completion of unseen things on rendered tables: Chamfer distance beside that of what was seen, normals, time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dex_bringup.bench.report import Goal, Report, percentile
from dex_core.errors import DexError

RATIO = 0.5
FIRST_SEED = 20_000_000
NEAR_M = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--bundle", default="tabletop_completion", help="name under models/ or path (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=30, help="tables, about 5 things each (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of one inference (default %(default)s)")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Every thing of unseen tables that shows enough pixels, through the whole run-time path."""
    from dex_perception.complete import Completer

    completer = Completer(options.bundle, options.threads)
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for number in range(options.scenes):
        rows += _table(completer, FIRST_SEED + number, refused)
        if (number + 1) % 10 == 0:
            say(f"{number + 1} tables, {len(rows)} things")
    figures: dict[str, Any] = {"bundle": completer.bundle.manifest.name, "refused": len(refused), **_figures(rows)}
    figures["new_families"] = _figures([r for r in rows if not r["trained"]])
    figures["families"] = {name: _figures([r for r in rows if r["name"] == name]) for name in sorted({r["name"] for r in rows})}
    return Report("completion", figures, (Goal("ratio", at_most=RATIO),))


def _table(completer: Any, seed: int, refused: list[str]) -> list[dict[str, Any]]:
    from dex_core.clouds import from_depth
    from dex_learn.completion.data import FEWEST_SEEN, whole_of
    from dex_learn.tabletop import render

    rng = np.random.default_rng(seed)
    scene = render(rng, "unseen")
    camera = scene.pose_camera_in_world
    cloud = from_depth(scene.depth_m, scene.intrinsics).transformed(camera)
    labels, rows = scene.labels.reshape(-1)[cloud.pixels], []
    for index, name in enumerate(scene.names):
        if np.count_nonzero(labels == index + 1) < FEWEST_SEEN:
            continue
        seen = cloud.select(labels == index + 1)
        points, normals = whole_of(scene, index, rng)
        try:
            rows.append({"name": name, "trained": scene.trained[index], **_row(completer, seen, camera[:3, 3], points, normals)})
        except DexError as error:
            refused.append(f"{name}: {error}")
    return rows


def _row(completer: Any, seen: Any, camera_m: np.ndarray, whole: np.ndarray, normals: np.ndarray) -> dict[str, float]:
    from dex_core.clouds import chamfer_m, f_score, nearest, remove_outliers

    started = time.perf_counter()
    found = completer.complete(seen, camera_m, 0.0)
    took_ms = 1e3 * (time.perf_counter() - started)
    partial, cloud = remove_outliers(seen).points_m, found.cloud.points_m
    cosine = np.einsum("ni,ni->n", found.cloud.normals, normals[nearest(cloud, whole).indices[:, 0]])
    return {
        "ms": took_ms, "partial_mm": 1e3 * chamfer_m(partial, whole), "mm": 1e3 * chamfer_m(cloud, whole),
        "partial_f": f_score(partial, whole, NEAR_M), "f": f_score(cloud, whole, NEAR_M),
        "angle": float(np.degrees(np.median(np.arccos(np.clip(cosine, -1.0, 1.0))))),
        "outwards": float((cosine > 0.0).mean()), "invented": found.invented_share,
    }


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over things; the ratio is one of means."""
    if not rows:
        return {"things": 0}
    mean = {key: float(np.mean([r[key] for r in rows])) for key in ("partial_mm", "mm", "partial_f", "f", "angle", "outwards", "invented")}
    return {
        "things": len(rows), "partial_chamfer_mm": mean["partial_mm"], "chamfer_mm": mean["mm"], "ratio": mean["mm"] / mean["partial_mm"],
        "partial_f_score_10mm": mean["partial_f"], "f_score_10mm": mean["f"], "normals_deg": mean["angle"], "normals_outwards": mean["outwards"],
        "invented_share": mean["invented"], "complete_p50_ms": percentile([r["ms"] for r in rows], 50),
    }
