# SPDX-License-Identifier: Apache-2.0
"""Exports the click network as a bundle: three ONNX graphs, golden cases, manifest, scores."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dex_core.bundle.segmentation import CLICKS, COLORS, LABELS, MASK, POINTS
from dex_core.bundle.write import write_bundle
from dex_learn.export import Case, check_parity, run_torch
from dex_learn.points import IR_VERSION, OPSET, to_onnx
from dex_learn.segmentation.clouds import cloud_of, things_in
from dex_learn.segmentation.graphs import AXES, BOUNDS, graphs_of, tensor_of
from dex_learn.segmentation.net import UNIT_M, ClickNet
from dex_learn.tabletop.store import Scenes

NAME = "tabletop_segmentation"
PARITY = 2e-3
"""Of logits of some tens: sums over cells are added in another order."""
BUDGET_MS = 60.0
GOLDEN_POINTS = (700, 1500)
POINTS_AT_MOST = 80_000
"""A picture of 320 x 240 goes in whole."""
MIN_IOU = 0.3
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained on rendered scenes only; no third-party data.\n"


def golden_cases(net: ClickNet, scenes: Scenes) -> dict[str, list[Case]]:
    """Two cases of each graph on clouds cut from scenes: one cloud with one click, two clouds with two."""
    found: dict[str, list[Case]] = {name: [] for name in graphs_of(net)}
    for clouds, count in enumerate(GOLDEN_POINTS, 1):
        known = _inputs(scenes, clouds, count, clicks=clouds)
        for name, (module, inputs, outputs) in graphs_of(net).items():
            given = {key: known[key] for key in inputs}
            made = {key: np.ascontiguousarray(value) for key, value in run_torch(module, given, outputs).items()}
            found[name].append((given, made))
            known |= made
            if "masks" in made:
                known[MASK] = np.ascontiguousarray(made["masks"][:, 0])
    return found


def _inputs(scenes: Scenes, clouds: int, count: int, clicks: int) -> dict[str, NDArray]:
    """Clouds about a thing of the first scenes: the points nearest to it, and clicks on it, the second one beside it."""
    rows: dict[str, list[NDArray]] = {POINTS: [], COLORS: [], CLICKS: [], LABELS: []}
    chosen = [number for number in range(len(scenes)) if len(things_in(scenes, number))][:clouds]
    for number in chosen:
        cloud = cloud_of(scenes, number)
        on = np.flatnonzero(cloud.labels == things_in(scenes, number)[0])
        click = cloud.points_m[on[len(on) // 2]]
        distance = np.linalg.norm(cloud.points_m - click, axis=1)
        near = np.sort(np.argsort(distance)[: 4 * count])[::4]
        beside = cloud.points_m[near[np.argmax(distance[near])]]
        rows[POINTS].append(cloud.points_m[near] / UNIT_M)
        rows[COLORS].append(cloud.colors[near])
        rows[CLICKS].append(np.stack([click, beside])[:clicks] / UNIT_M)
        rows[LABELS].append(np.array([1, 0])[:clicks])
    arrays = {name: np.stack(parts) for name, parts in rows.items()}
    return {name: value.astype(np.int64 if name == LABELS else np.float32) for name, value in arrays.items()}


def write(folder: Path, net: ClickNet, scenes: Scenes, provenance: Mapping[str, Any], scores: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Writes (or replaces) the bundle; returns its hash and the largest difference between ONNX and torch by graph.

    Args:
        folder: of the bundle.
        net: in eval mode.
        scenes: to cut golden cases from.
        provenance: as in the manifest.
        scores: what was measured, with definitions.

    Raises:
        DexError: ``parity_failed``, ``export_failed``.
    """
    golden, graphs, specs, parity = golden_cases(net, scenes), {}, {}, {}
    for name, (module, inputs, outputs) in graphs_of(net).items():
        used = {axis for key in (*inputs, *outputs) for axis in AXES[key].values()}
        bounds = {axis: span for axis, span in BOUNDS.items() if axis in used}
        example = {key: torch.from_numpy(value) for key, value in golden[name][-1][0].items()}
        graphs[name] = to_onnx(module, example, outputs, {k: AXES[k] for k in (*inputs, *outputs)}, bounds)
        parity[name] = check_parity(graphs[name], golden[name], PARITY, name)
        specs[name] = {
            "inputs": [tensor_of(key) for key in inputs], "outputs": [tensor_of(key) for key in outputs],
            "dynamic": {axis: list(span) for axis, span in bounds.items()}, "golden": {"atol": PARITY, "rtol": 1e-3},
        }
    manifest = {
        "name": folder.name, "version": "0.1.0", "kind": "segmentation", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True}, "provenance": dict(provenance),
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10},
        "embodiments": [], "graphs": specs, "segmentation": {"coords": "lens", "unit_m": UNIT_M, "points": POINTS_AT_MOST, "min_iou": MIN_IOU},
    }
    text = write_bundle(
        folder, manifest, graphs=graphs, golden=golden, embodiments={}, scores={**scores, "onnx_parity": parity}, licence_text=LICENCE
    )
    return text, parity
