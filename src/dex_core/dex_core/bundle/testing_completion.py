# SPDX-License-Identifier: Apache-2.0
"""A completion bundle without training, for tests and dry runs: the seen points, and their mirror image behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from dex_core.bundle.completion import GRAPH, PARTIAL
from dex_core.bundle.manifest import Graph
from dex_core.bundle.testing import common_manifest, onnx_model
from dex_core.bundle.write import write_bundle
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession

POINTS = 64


def write_completion_fixture(folder: Path, *, spec: dict[str, Any] | None = None, gain: float = 1.0) -> str:
    """Writes a bundle whose cloud is every seen point p and (-1 - p_x, p_y, p_z): mirrored behind x = -0.5. Returns its hash.

    Args:
        spec: keys of ``completion`` in place of the tabletop frame's. gain: multiplies what comes out.
    """
    inputs = [{"name": PARTIAL, "dtype": "float32", "shape": ["B", POINTS, 3]}]
    outputs = [{"name": name, "dtype": "float32", "shape": ["B", count, 3]} for name, count in (("coarse", POINTS), ("cloud", 2 * POINTS))]
    nodes = [
        helper.make_node("Mul", [PARTIAL, "gain"], ["coarse"]), helper.make_node("Mul", ["coarse", "flip"], ["turned"]),
        helper.make_node("Add", ["turned", "behind"], ["mirrored"]), helper.make_node("Concat", ["coarse", "mirrored"], ["cloud"], axis=1),
    ]
    constants = {
        "gain": np.array(gain, np.float32), "flip": np.array([-1, 1, 1], np.float32), "behind": np.array([-1, 0, 0], np.float32),
    }
    model = onnx_model(nodes, inputs, outputs, constants)
    graph = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 8]}}
    session = OnnxSession(GRAPH, build(Graph, {**graph, "file": "x.onnx", "golden": {"file": "x.npz"}}, "fixture"), model)
    rng = np.random.default_rng(0)
    cases = [({PARTIAL: rng.normal(size=(n, POINTS, 3)).astype(np.float32)},) for n in (1, 3)]
    data = common_manifest(folder.name, "completion") | {
        "embodiments": [], "graphs": {GRAPH: graph}, "completion": {"frame": "tabletop", "points": POINTS} | (spec or {}),
    }
    golden = {GRAPH: [(given, session.run(given)) for (given,) in cases]}
    return write_bundle(folder, data, graphs={GRAPH: model}, golden=golden, embodiments={}, scores={"fixture": True}, licence_text="Apache-2.0\n")
