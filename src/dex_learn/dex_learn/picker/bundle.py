# SPDX-License-Identifier: Apache-2.0
"""Exports a picker as a bundle: ONNX, golden cases, what it knows and what it does not."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dex_core import text
from dex_core.bundle.picker import GRAPH, LOGIT, THINGS, TOKENS
from dex_core.bundle.write import write_bundle
from dex_learn.export import IR_VERSION, OPSET, Case, check_parity, run_torch, session_of, to_onnx
from dex_learn.picker.net import PickerNet
from dex_learn.picker.sentences import say, words_known, words_plural
from dex_learn.picker.tables import Table
from dex_learn.picker.train import Training
from dex_perception.segment.candidates import FEATURES, VERSION
from dex_perception.segment.picker import Chances

NAME = "tabletop_picker"
PARITY = 1e-4
BUDGET_MS = 20.0
MARGIN = 0.15
GOLDEN_TABLES = (1, 3)
LIMITS = (
    "Knows only the words listed in picker.words and the simulator's families of things; no open vocabulary. Things that touch are one candidate "
    "and cannot be told apart; what is lower than 8 mm or shows fewer than 40 pixels is no candidate. Colours are those of rendered pictures with "
    "moderate light. Left, right, near and far are seen from the robot (world +y is left, +x is away). Of an instruction with a place ('put the "
    "lemon into the bowl') it picks what is moved."
)
LICENCE = (
    "Weights of this folder: Apache-2.0, as the code that made them. Trained on rendered scenes and made-up sentences only; no third-party data.\n"
)


def export(net: PickerNet, tables: list[Table], seed: int = 7) -> tuple[bytes, list[Case], float]:
    """ONNX, golden cases, and the largest difference between ONNX and torch. Raises DexError ``parity_failed``."""
    cases = []
    for count in GOLDEN_TABLES:
        tokens, things = _rows(tables, count, seed)
        inputs = {TOKENS: tokens, THINGS: things}
        cases.append((inputs, run_torch(net, inputs, [LOGIT])))
    example = cases[-1][0]
    graph = to_onnx(net, {name: torch.from_numpy(value) for name, value in example.items()}, [LOGIT])
    return graph, cases, check_parity(graph, cases, PARITY, GRAPH)


def _rows(tables: list[Table], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng, said = np.random.default_rng((seed, count)), []
    while len(said) < count:
        table = tables[rng.integers(len(tables))]
        one = say(rng, table)
        if one is not None and len(table.features) >= 2:
            said.append((one, table))
    tokens = np.concatenate([np.repeat(text.tokenize(s.text), len(t.features), axis=0) for s, t in said])
    return tokens, np.concatenate([t.features for _, t in said])


def chances_of(graph: bytes) -> Chances:
    """The exported picker as a function; scores are of what is shipped."""
    session = session_of(graph)

    def chances(words: str, features: np.ndarray) -> np.ndarray:
        tokens = np.repeat(text.tokenize(words), len(features), axis=0)
        return 1.0 / (1.0 + np.exp(-session.run([LOGIT], {TOKENS: tokens, THINGS: features})[0][:, 0].astype(np.float64)))

    return chances


def write(
    folder: Path, graph: bytes, cases: list[Case], training: Training, *, scenes: int, scores: dict[str, Any], code: str, notes: str,
) -> str:
    """Writes the bundle; returns its hash."""
    spec = {
        "inputs": [
            {"name": TOKENS, "dtype": "int64", "shape": ["B", text.LENGTH]}, {"name": THINGS, "dtype": "float32", "shape": ["B", FEATURES]},
        ],
        "outputs": [{"name": LOGIT, "dtype": "float32", "shape": ["B", 1]}],
        "dynamic": {"B": [1, 64]}, "golden": {"atol": PARITY, "rtol": 1e-4},
    }
    manifest = {
        "name": folder.name, "version": "0.1.0", "kind": "picker", "created": datetime.date.today().isoformat(),
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {
            "trained_here": True, "steps": training.steps, "seed": training.seed, "code": code,
            "data": f"{scenes} rendered tabletop scenes of split train (dex_learn.tabletop), sentences made up by dex_learn.picker, instructions of "
            "push_cans and reorganize_lemons",
            "notes": f"{notes}; " + ", ".join(f"{k} {v}" for k, v in asdict(training).items()) + f". Limits: {LIMITS}",
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 10}, "embodiments": [],
        "graphs": {GRAPH: spec},
        "picker": {"features": VERSION, "words": list(words_known()), "plural": list(words_plural()), "margin": MARGIN},
    }
    return write_bundle(folder, manifest, graphs={GRAPH: graph}, golden={GRAPH: cases}, embodiments={}, scores=scores, licence_text=LICENCE)
