# SPDX-License-Identifier: Apache-2.0
"""Small bundles without training, for tests and dry runs: an exact linear latent space, and a policy that stays where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dex_core import text
from dex_core.bundle.manifest import Embodiment, Graph
from dex_core.bundle.session import GraphSession
from dex_core.bundle.stats import Statistic
from dex_core.bundle.write import write_bundle
from dex_core.config.cell import CellConfig, Interface
from dex_core.config.strict import build

DIM = 32
OPSET = 18
IR_VERSION = 8
_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


def onnx_model(nodes: list, inputs: list[dict], outputs: list[dict], constants: dict[str, NDArray]) -> bytes:
    """An ONNX file from operator nodes; ``inputs`` and ``outputs`` as tensors of a manifest."""

    def info(t: dict) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(t["name"], _TYPES[t["dtype"]], list(t["shape"]))

    graph = helper.make_graph(
        nodes,
        "fixture",
        [info(t) for t in inputs],
        [info(t) for t in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model.SerializeToString()


def common_manifest(name: str, kind: str) -> dict[str, Any]:
    """The keys every fixture shares."""
    return {
        "name": name,
        "version": "0.1.0",
        "kind": kind,
        "created": "2026-01-01",
        "licence": {"weights": "Apache-2.0", "commercial_use": True},
        "provenance": {"trained_here": True, "data": "none: made by dex_core.bundle.testing"},
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION},
        "latency": {"budget_ms": 500.0, "warmup_runs": 5},
    }


def _golden(spec: dict, model: bytes, cases: list[dict[str, NDArray]]) -> list:
    graph = build(Graph, {**spec, "file": "x.onnx", "golden": {"file": "x.npz"}}, "fixture")
    session = GraphSession("fixture", graph, model)
    return [(inputs, session.run(inputs)) for inputs in cases]


def write_latent_fixture(folder: Path, cell: CellConfig, *, seed: int = 0, residual_q99: float = 0.05) -> str:
    """A latent space for the cell's hands: z = W u with orthonormal columns, u the limits-normalised joints; round trip exact.

    Returns:
        The bundle's hash.
    """
    rng = np.random.default_rng(seed)
    data = common_manifest(folder.name, "latent_space")
    data["spaces"] = {"latent": {"dim": DIM, "residual_q99": residual_q99}}
    graphs, golden, embodiments = {}, {}, {}
    data["graphs"] = {}
    for interface in (i for i in cell.interfaces.values() if i.robot.kind == "hand"):
        e = Embodiment.of(interface.robot.name, interface.side, interface.robot.actuated, interface.limits)
        embodiments[e.name] = e
        for part, (spec, model) in _autoencoder(e, rng).items():
            graph = f"{e.name}/{part}"
            data["graphs"][graph], graphs[graph] = spec, model
            golden[graph] = _golden(spec, model, _cases(spec, e, rng))
    data["embodiments"] = list(embodiments)
    return write_bundle(folder, data, graphs=graphs, golden=golden, embodiments=embodiments, scores={"fixture": True}, licence_text="Apache-2.0\n")


def _autoencoder(e: Embodiment, rng: np.random.Generator) -> dict[str, tuple[dict, bytes]]:
    n = len(e.joints)
    low, high = np.array(e.lower_rad), np.array(e.upper_rad)
    middle, half = ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
    w = np.linalg.qr(rng.standard_normal((DIM, n)))[0].astype(np.float32)  # (dim, n)
    q = {"name": "q", "dtype": "float32", "shape": ["B", n], "space": "joint_position", "unit": "rad", "names": list(e.joints)}
    z = {"name": "z", "dtype": "float32", "shape": ["B", DIM], "space": "latent"}
    encoder = [
        helper.make_node("Sub", ["q", "middle"], ["d"]),
        helper.make_node("Div", ["d", "half"], ["u"]),
        helper.make_node("MatMul", ["u", "wt"], ["z"]),
    ]
    decoder = [
        helper.make_node("MatMul", ["z", "w"], ["v"]),
        helper.make_node("Clip", ["v", "minus", "plus"], ["u"]),
        helper.make_node("Mul", ["u", "half"], ["d"]),
        helper.make_node("Add", ["d", "middle"], ["q"]),
    ]
    unit = {"minus": np.array(-1, np.float32), "plus": np.array(1, np.float32)}
    scale = {"middle": middle, "half": half}
    dynamic = {"B": [1, 64]}
    return {
        "encoder": ({"inputs": [q], "outputs": [z], "dynamic": dynamic}, onnx_model(encoder, [q], [z], {**scale, "wt": w.T.copy()})),
        "decoder": ({"inputs": [z], "outputs": [q], "dynamic": dynamic}, onnx_model(decoder, [z], [q], {**scale, **unit, "w": w})),
    }


def _cases(spec: dict, e: Embodiment, rng: np.random.Generator) -> list[dict[str, NDArray]]:
    tensor = spec["inputs"][0]
    if tensor["name"] == "q":
        return [{"q": rng.uniform(e.lower_rad, e.upper_rad, (b, len(e.joints))).astype(np.float32)} for b in (1, 3)]
    return [{"z": rng.standard_normal((b, DIM)).astype(np.float32)} for b in (1, 3)]


def write_policy_fixture(
    folder: Path,
    cell: CellConfig,
    space_name: str,
    anchors: dict[str, str],
    *,
    ramp_rad: NDArray | None = None,
    chunk: int = 64,
    dt: float = 0.05,
) -> str:
    """A policy that keeps arms where they are measured (plus ``ramp_rad``, (chunk, arm joints) [rad]) and hands at their previous latents.

    Args:
        space_name, anchors: the latent bundle it pins (graph -> sha256).
    """
    arms = [(n, i) for n, i in cell.interfaces.items() if i.robot.kind == "arm"]
    hands = [(n, i) for n, i in cell.interfaces.items() if i.robot.kind == "hand"]
    joint_slices = _slices(arms, 0, lambda i: {"space": "joint_position", "unit": "rad", "names": list(i.robot.actuated)})
    dofs = joint_slices[-1]["at"][1]
    latent_slices = [
        {"at": [dofs + k * DIM, dofs + (k + 1) * DIM], "interface": n, "space": "latent", "anchor": f"{i.side}_{i.robot.name}/decoder"}
        for k, (n, i) in enumerate(hands)
    ]
    width = dofs + len(hands) * DIM
    inputs = [
        {"name": "image", "dtype": "uint8", "shape": ["B", 224, 224, 3]},
        {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": "joints", "dtype": "float32", "shape": ["B", dofs], "slices": joint_slices},
        {
            "name": "previous_latents",
            "dtype": "float32",
            "shape": ["B", len(hands), chunk, DIM],
            "space": "latent",
            "interfaces": [n for n, _ in hands],
        },
    ]
    outputs = [{"name": "chunk", "dtype": "float32", "shape": ["B", chunk, width], "slices": joint_slices + latent_slices}]
    ramp = np.zeros((chunk, dofs), np.float32) if ramp_rad is None else np.asarray(ramp_rad, np.float32)
    model = onnx_model(_hold_nodes(), inputs, outputs, _hold_constants(ramp, chunk, len(hands)))
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 4]}}
    data = common_manifest(folder.name, "chunk_policy")
    data.update(
        embodiments=[f"{i.side}_{i.robot.name}" for _, i in arms],
        graphs={"policy": spec},
        requires=[{"bundle": space_name, "kind": "latent_space", "anchors": anchors}],
        timing={"rate_hz": 1.0 / dt, "dt": dt, "chunk": chunk, "first_action_offset": 1.0},
        image={"input": "image", "height": 224, "width": 224, "camera": next(iter(cell.cameras), "front")},
        instruction={"input": "tokens", "trained": ["Push the two tomato cans together", "Return to the rest pose"]},
    )
    cases = [_policy_case(arms, len(hands), chunk, b) for b in (1, 2)]
    return write_bundle(
        folder,
        data,
        graphs={"policy": model},
        golden={"policy": _golden(spec, model, cases)},
        embodiments={f"{i.side}_{i.robot.name}": Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits) for _, i in arms},
        stats=_policy_stats(arms, latent_slices),
        scores={"fixture": True},
        licence_text="Apache-2.0\n",
    )


def _slices(parts: list[tuple[str, Interface]], start: int, describe: Any) -> list[dict]:
    out = []
    for name, interface in parts:
        end = start + len(interface.robot.actuated)
        out.append({"at": [start, end], "interface": name, **describe(interface)})
        start = end
    return out


def _hold_nodes() -> list:
    make = helper.make_node
    return [
        make("Unsqueeze", ["joints", "one"], ["held"]),
        make("Add", ["held", "ramp"], ["moved"]),
        make("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        make("ReduceMean", ["pixels", "image_axes"], ["brightness"], keepdims=0),
        make("Cast", ["tokens"], ["words"], to=TensorProto.FLOAT),
        make("ReduceMean", ["words", "token_axes"], ["gist"], keepdims=0),
        make("Add", ["brightness", "gist"], ["seen"]),
        make("Mul", ["seen", "nothing"], ["none"]),
        make("Reshape", ["none", "scalar_shape"], ["none3"]),
        make("Add", ["moved", "none3"], ["arms"]),
        make("Transpose", ["previous_latents"], ["turned"], perm=[0, 2, 1, 3]),
        make("Reshape", ["turned", "latent_shape"], ["latents"]),
        make("Concat", ["arms", "latents"], ["chunk"], axis=2),
    ]


def _hold_constants(ramp: NDArray, chunk: int, hands: int) -> dict[str, NDArray]:
    return {
        "one": np.array([1], np.int64),
        "ramp": ramp[None],
        "image_axes": np.array([1, 2, 3], np.int64),
        "token_axes": np.array([1], np.int64),
        "nothing": np.array(0.0, np.float32),
        "scalar_shape": np.array([-1, 1, 1], np.int64),
        "latent_shape": np.array([-1, chunk, hands * DIM], np.int64),
    }


def _policy_case(arms: list[tuple[str, Interface]], hands: int, chunk: int, batch: int) -> dict[str, NDArray]:
    rng = np.random.default_rng(batch)
    home = np.concatenate([i.home for _, i in arms])
    return {
        "image": rng.integers(0, 255, (batch, 224, 224, 3), dtype=np.uint8),
        "tokens": np.repeat(text.tokenize("push the two cans"), batch, axis=0),
        "joints": (home + rng.uniform(-0.1, 0.1, (batch, home.size))).astype(np.float32),
        "previous_latents": rng.standard_normal((batch, hands, chunk, DIM)).astype(np.float32),
    }


def _policy_stats(arms: list[tuple[str, Interface]], latent_slices: list[dict]) -> dict[str, Statistic]:
    rng = np.random.default_rng(0)
    out = {}
    for name, i in arms:
        low, high = np.array([[m.lower_rad, m.upper_rad] for m in i.limits]).T
        record = Statistic.of(np.concatenate([rng.uniform(low, high, (200, low.size)), [low, high]]))
        out[f"joints/{name}"] = out[f"chunk/{name}"] = record
    for s in latent_slices:
        out[f"chunk/{s['interface']}"] = Statistic.of(rng.uniform(-2.5, 2.5, (200, DIM)))
    return out


def write_fixture_pair(root: Path, cell: CellConfig, **policy: Any) -> tuple[Path, Path]:
    """``root/<latent>`` and ``root/<policy>`` named as the cell's config names them; returns (latent folder, policy folder)."""
    from dex_core.bundle.manifest import parse_manifest

    latent, chosen = root / Path(cell.policy.latent_bundle).name, root / Path(cell.policy.bundle).name
    write_latent_fixture(latent, cell)
    manifest = parse_manifest(latent / "manifest.yaml")
    anchors = {n: manifest.files[g.file].sha256 for n, g in manifest.graphs.items()}
    write_policy_fixture(chosen, cell, latent.name, anchors, **policy)
    return latent, chosen
