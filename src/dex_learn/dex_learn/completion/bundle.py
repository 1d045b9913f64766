# SPDX-License-Identifier: Apache-2.0
"""The trained completion network as a bundle: one ONNX graph with farthest-point sampling in it, golden values, scores."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core.bundle.completion import GRAPH, PARTIAL, CompletionSpec
from dex_core.bundle.write import write_bundle
from dex_core.config.strict import to_plain
from dex_learn.completion.data import SPEC, Pairs
from dex_learn.completion.net import SEEDS, UNFOLDED, Completer, Exported
from dex_learn.completion.scores import DEFINITIONS, Run
from dex_learn.completion.train import Training
from dex_learn.export import Case, check_parity, run_torch, session_of
from dex_learn.points import IR_VERSION, OPSET, to_onnx

NAME = "tabletop_completion"
OUTPUTS = ("coarse", "cloud", "normals")
PARITY = 1e-4
BUDGET_MS = 150.0
GOLDEN_BATCHES = (1, 3)
LARGEST_BATCH = 64
LICENCE = "Weights of this folder: Apache-2.0, as the code that made them. Trained on rendered procedural things only; no third-party data.\n"


def export(net: Completer, pairs: Pairs) -> tuple[bytes, list[Case], float]:
    """The ONNX file, its golden cases from torch, and the largest difference between both. Raises DexError ``parity_failed``."""
    module, cases = Exported(net).eval(), []
    for number, batch in enumerate(GOLDEN_BATCHES):
        seen = pairs.seen[number : number + batch]
        given = {PARTIAL: np.concatenate([seen] * (SPEC.points // seen.shape[1]), axis=1)}
        cases.append((given, run_torch(module, given, OUTPUTS)))
    example = {PARTIAL: torch.from_numpy(cases[1][0][PARTIAL])}
    axes = {name: {0: "B"} for name in (PARTIAL, *OUTPUTS)}
    graph = to_onnx(module, example, OUTPUTS, axes, {"B": (1, LARGEST_BATCH)})
    return graph, cases, check_parity(graph, cases, PARITY, GRAPH)


def runner(graph: bytes) -> Run:
    """The graph in onnxruntime, one thing at a time."""
    session = session_of(graph)

    def run(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = seen[np.arange(SPEC.points) % len(seen)]
        _, cloud, normals = session.run(list(OUTPUTS), {PARTIAL: given[None]})
        return np.asarray(cloud[0]), np.asarray(normals[0])

    return run


def graph_spec(spec: CompletionSpec, clouds: dict[str, int], budget: tuple[float, float] = (PARITY, 1e-3)) -> dict[str, Any]:
    """The graph's entry in a manifest; ``clouds``: output -> points, normals of the spec's name as many as the last."""
    counts = dict(clouds) | ({spec.normals: list(clouds.values())[-1]} if spec.normals else {})
    outputs = [{"name": name, "dtype": "float32", "shape": ["B", count, 3]} for name, count in counts.items()]
    inputs = [{"name": PARTIAL, "dtype": "float32", "shape": ["B", spec.points, 3]}]
    return {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, LARGEST_BATCH]}, "golden": {"atol": budget[0], "rtol": budget[1]}}


def write(folder: Path, net: Completer, pairs: Pairs, training: Training, steps: int, data: str, scores: dict[str, Any], code: str) -> str:
    """Writes the bundle; returns its hash.

    Args:
        pairs: a few things for the golden values. steps: really taken. data: what it was trained on, in words.
    """
    graph, cases, parity = export(net, pairs)
    manifest = {
        "name": NAME, "version": "0.1.0", "kind": "completion", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "data": data, "steps": steps, "seed": training.seed, "code": code,
            "notes": "dex learn completion; " + ", ".join(f"{k} {v}" for k, v in asdict(training).items()),
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10}, "embodiments": [],
        "graphs": {GRAPH: graph_spec(SPEC, {"coarse": SEEDS, "cloud": SEEDS * UNFOLDED})}, "completion": _without_defaults(SPEC),
    }
    found = {"definitions": DEFINITIONS, "parity": parity, "scores": scores}
    return write_bundle(folder, manifest, graphs={GRAPH: graph}, golden={GRAPH: cases}, embodiments={}, scores=found, licence_text=LICENCE)


def _without_defaults(spec: CompletionSpec) -> dict[str, Any]:
    return {key: value for key, value in to_plain(spec).items() if key in ("frame", "unit_m", "points", "normals", "observed_m")}
