# SPDX-License-Identifier: Apache-2.0
"""A flow policy without training, for tests and dry runs: every chunk flows to where the arms are measured and the hands were."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dex_core.bundle.flow import GUIDED, PREFIX, STEP, TARGET, TIME, VELOCITY, WEIGHTS, X
from dex_core.bundle.load import Bundle
from dex_core.bundle.probes import unpack_cases
from dex_core.bundle.stats import Statistic
from dex_core.bundle.testing import golden_cases, onnx_model
from dex_core.bundle.write import write_bundle
from dex_core.transforms import tensor_normaliser

SOFT = 0.2
"""Added to the time that is left, so that the velocity stays finite at its end."""


def write_flow_fixture(folder: Path, still: Bundle, *, guided: bool = True, row_times: bool = False, method: str = "zscore") -> str:
    """Makes a flow of a policy fixture (``write_policy_fixture``): velocity = (its chunk - x) / (1 - time + 0.2).

    The Jacobian of the denoised x is 0.2 / (1 - time + 0.2), so that the guided graph is as simple. With ``row_times`` rows at time 1 draw the rest:
    the flow goes to its chunk moved by what the last of them is away from it.

    Args:
        folder: the new bundle's.
        still: the one-graph fixture, loaded.
        guided: it has the graph of guidance.
        method: how ``x`` is normalised, see ``dex_core.bundle.stats``.

    Returns:
        The bundle's hash.
    """
    spec = yaml.safe_load((still.folder / "manifest.yaml").read_text("utf-8"))
    policy = spec["graphs"]["policy"]
    chunk, dynamic = policy["outputs"][0], policy["dynamic"]
    shape = chunk["shape"]
    stats = {key: stat for key, stat in still.stats.items() if not key.startswith("chunk/")}
    stats |= {f"{X}/{s['interface']}": dataclasses.replace(still.stats[f"chunk/{s['interface']}"], method=method) for s in chunk["slices"]}
    goal, velocity = _tensor("goal", shape), _tensor(VELOCITY, shape)
    x, time = {**_tensor(X, shape), "slices": chunk["slices"]}, _tensor(TIME, ["B", shape[1]] if row_times else ["B"])
    inputs, outputs = {PREFIX: policy["inputs"], STEP: [x, time, goal]}, {PREFIX: [goal], STEP: [velocity]}
    models = {PREFIX: _prefix(still, goal, stats), STEP: onnx_model(_step_nodes(row_times), inputs[STEP], [velocity], _CONSTANTS)}
    if guided and not row_times:
        inputs[GUIDED] = [_tensor(X, shape), time, _tensor(TARGET, shape), _tensor(WEIGHTS, ["B", shape[1]]), goal]
        outputs[GUIDED], models[GUIDED] = [velocity], onnx_model(_guided_nodes(), inputs[GUIDED], [velocity], _CONSTANTS)
    graphs = {name: {"inputs": inputs[name], "outputs": outputs[name], "dynamic": dynamic} for name in inputs}
    data: dict[str, Any] = {key: value for key, value in spec.items() if key not in ("schema", "files")}
    return write_bundle(
        folder, {**data, "name": folder.name, "flow": {"steps": 10}, "graphs": graphs}, graphs=models,
        golden={name: golden_cases(graphs[name], models[name], _cases(still, inputs[name])) for name in inputs},
        embodiments=still.embodiments, stats=stats, scores={"fixture": True}, licence_text="Apache-2.0\n",
    )


_CONSTANTS = {
    "one": np.array(1.0, np.float32), "soft": np.array(SOFT, np.float32), "behind": np.array([1, 2], np.int64), "last": np.array([2], np.int64),
    "rows": np.array([1], np.int64), "nearly": np.array(0.999, np.float32),
}


def _tensor(name: str, shape: list) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape}


def _prefix(still: Bundle, goal: dict[str, Any], stats: Mapping[str, Statistic]) -> bytes:
    """The one graph, its chunk brought into the flow's numbers."""
    model = onnx.load_from_string(still.contents[still.manifest.graphs["policy"].file])
    tensor = dataclasses.replace(still.manifest.chunk_tensor, name=X)
    normaliser, columns = tensor_normaliser(tensor, stats), int(tensor.shape[-1])
    offset = normaliser.inverse(np.zeros((1, columns)))
    scale = normaliser.inverse(np.ones((1, columns))) - offset
    nodes = [helper.make_node("Sub", ["chunk", "offset"], ["centred"]), helper.make_node("Div", ["centred", "scale"], ["goal"])]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([numpy_helper.from_array(v.astype(np.float32), k) for k, v in (("offset", offset), ("scale", scale))])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("goal", TensorProto.FLOAT, goal["shape"]))
    return model.SerializeToString()


def _step_nodes(row_times: bool) -> list:
    """velocity = (goal - x) / (1 - time + soft); with a time of each row, goal is moved by the mean of x - goal over the rows at time 1."""
    make = helper.make_node
    if not row_times:
        return [*_left_nodes("behind"), make("Sub", ["goal", "x"], ["gap"]), make("Div", ["gap", "left"], ["velocity"])]
    return [
        *_left_nodes("last"), make("Sub", ["goal", "x"], ["gap"]),
        make("Greater", ["time", "nearly"], ["there"]), make("Cast", ["there"], ["held"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["held", "last"], ["mask"]), make("Mul", ["gap", "mask"], ["off"]), make("ReduceSum", ["off", "rows"], ["sum"], keepdims=1),
        make("ReduceSum", ["mask", "rows"], ["count"], keepdims=1), make("Max", ["count", "one"], ["most"]), make("Div", ["sum", "most"], ["mean"]),
        make("Sub", ["gap", "mean"], ["bound"]), make("Div", ["bound", "left"], ["velocity"]),
    ]


def _left_nodes(axes: str) -> list:
    make = helper.make_node
    return [make("Sub", ["one", "time"], ["rest"]), make("Add", ["rest", "soft"], ["eased"]), make("Unsqueeze", ["eased", axes], ["left"])]


def _guided_nodes() -> list:
    """The same and soft / (1 - time + soft) * weights * (target - (x + (1 - time) * velocity))."""
    make = helper.make_node
    return [
        *_left_nodes("behind"), make("Sub", ["goal", "x"], ["gap"]), make("Div", ["gap", "left"], ["free"]),
        make("Unsqueeze", ["rest", "behind"], ["go"]), make("Mul", ["free", "go"], ["way"]), make("Add", ["x", "way"], ["end"]),
        make("Sub", ["target", "end"], ["error"]), make("Unsqueeze", ["weights", "last"], ["mask"]), make("Mul", ["error", "mask"], ["weighed"]),
        make("Div", ["soft", "left"], ["slope"]), make("Mul", ["weighed", "slope"], ["pull"]), make("Add", ["free", "pull"], ["velocity"]),
    ]


def _cases(still: Bundle, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray]]:
    """Inputs of one row and of two: those of the fixture's own golden cases, random numbers for the rest."""
    known = [case for case, _ in unpack_cases(still.golden("policy"), "policy")]
    rng, cases = np.random.default_rng(0), []
    for batch, case in enumerate(known, 1):
        shapes = {t["name"]: tuple(batch if axis == "B" else axis for axis in t["shape"]) for t in inputs}
        cases.append({n: case[n] if n in case else rng.uniform(0.0, 0.9, shape).astype(np.float32) for n, shape in shapes.items()})
    return cases
