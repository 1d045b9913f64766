# SPDX-License-Identifier: Apache-2.0
"""Small bundles without training, for tests and dry runs: an exact linear latent space, and policies that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dex_core import text
from dex_core.bundle.manifest import Embodiment, Graph, Slice, parse_manifest
from dex_core.bundle.rotations import turn_wrists
from dex_core.bundle.stats import Statistic
from dex_core.bundle.write import write_bundle
from dex_core.config.cell import CellConfig, Interface
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession
from dex_core.types import POSE_COLUMNS

DIM = 32
OPSET = 18
IR_VERSION = 8
_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


def onnx_model(nodes: list, inputs: list[dict], outputs: list[dict], constants: dict[str, NDArray]) -> bytes:
    """An ONNX file from operator nodes; ``inputs`` and ``outputs`` as tensors of a manifest."""

    def info(t: dict) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(t["name"], _TYPES[t["dtype"]], list(t["shape"]))

    initial = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "fixture", [info(t) for t in inputs], [info(t) for t in outputs], initial)
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


def golden_cases(spec: dict, model: bytes, cases: list[dict[str, NDArray]]) -> list:
    """Inputs with what the graph itself makes of them; a fixture has no trainer."""
    graph = build(Graph, {**spec, "file": "x.onnx", "golden": {"file": "x.npz"}}, "fixture")
    session = OnnxSession("fixture", graph, model)
    return [(inputs, session.run(inputs)) for inputs in cases]


def write_latent_fixture(
    folder: Path, cell: CellConfig, *, seed: int = 0, residual_q99: float = 0.05, others: Sequence[CellConfig] = (), frames: int = 1,
) -> str:
    """A latent space for the cell's hands: z = W u with orthonormal columns, u the limits-normalised joints; round trip exact.

    Args:
        others: cells whose hands are in the space too.
        frames: above 1, a latent is a chunk: the posture of its first frame goes in and is what every decoded frame holds.

    Returns:
        The bundle's hash.
    """
    rng = np.random.default_rng(seed)
    data = common_manifest(folder.name, "latent_space")
    data["spaces"] = {"latent": {"dim": DIM, "residual_q99": residual_q99, "unit": "frame" if frames == 1 else "chunk", "frames": frames}}
    graphs, golden, embodiments = {}, {}, {}
    data["graphs"] = {}
    for interface in (i for c in (cell, *others) for i in c.interfaces.values() if i.robot.kind == "hand"):
        e = Embodiment.of(interface.robot.name, interface.side, interface.robot.actuated, interface.limits)
        if e.name in embodiments:
            continue
        embodiments[e.name] = e
        for part, (spec, model) in _autoencoder(e, rng, frames).items():
            graph = f"{e.name}/{part}"
            data["graphs"][graph], graphs[graph] = spec, model
            golden[graph] = golden_cases(spec, model, _cases(spec, e, rng))
    data["embodiments"] = list(embodiments)
    return write_bundle(folder, data, graphs=graphs, golden=golden, embodiments=embodiments, scores={"fixture": True}, licence_text="Apache-2.0\n")


def _autoencoder(e: Embodiment, rng: np.random.Generator, frames: int = 1) -> dict[str, tuple[dict, bytes]]:
    n, chunk = len(e.joints), [frames] if frames > 1 else []
    low, high = np.array(e.lower_rad), np.array(e.upper_rad)
    middle, half = ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
    w = np.linalg.qr(rng.standard_normal((DIM, n)))[0].astype(np.float32)  # (dim, n)
    q = {"name": "q", "dtype": "float32", "shape": ["B", *chunk, n], "space": "joint_position", "unit": "rad", "names": list(e.joints)}
    z = {"name": "z", "dtype": "float32", "shape": ["B", DIM], "space": "latent"}
    encoder = [
        helper.make_node("Gather", ["q", "zero"], ["first"], axis=1) if chunk else helper.make_node("Identity", ["q"], ["first"]),
        helper.make_node("Sub", ["first", "middle"], ["d"]),
        helper.make_node("Div", ["d", "half"], ["u"]),
        helper.make_node("MatMul", ["u", "wt"], ["z"]),
    ]
    decoder = [
        helper.make_node("MatMul", ["z", "w"], ["v"]),
        helper.make_node("Clip", ["v", "minus", "plus"], ["u"]),
        helper.make_node("Mul", ["u", "half"], ["d"]),
        helper.make_node("Add", ["d", "middle"], ["held" if chunk else "q"]),
    ]
    if chunk:
        decoder += [
            helper.make_node("Unsqueeze", ["held", "one"], ["row"]),
            helper.make_node("Tile", ["row", "repeats"], ["q"]),
        ]
    counts = {"one": np.array([1], np.int64), "repeats": np.array([1, frames, 1], np.int64)} if chunk else {}
    zero = {"zero": np.array(0, np.int64)} if chunk else {}
    unit = {"minus": np.array(-1, np.float32), "plus": np.array(1, np.float32)}
    scale = {"middle": middle, "half": half}
    dynamic = {"B": [1, 64]}
    return {
        "encoder": ({"inputs": [q], "outputs": [z], "dynamic": dynamic}, onnx_model(encoder, [q], [z], {**scale, **zero, "wt": w.T.copy()})),
        "decoder": ({"inputs": [z], "outputs": [q], "dynamic": dynamic}, onnx_model(decoder, [z], [q], {**scale, **unit, **counts, "w": w})),
    }


def _cases(spec: dict, e: Embodiment, rng: np.random.Generator) -> list[dict[str, NDArray]]:
    tensor = spec["inputs"][0]
    if tensor["name"] == "q":
        return [{"q": rng.uniform(e.lower_rad, e.upper_rad, (b, *tensor["shape"][1:])).astype(np.float32)} for b in (1, 3)]
    return [{"z": rng.standard_normal((b, DIM)).astype(np.float32)} for b in (1, 3)]


def write_policy_fixture(
    folder: Path,
    cell: CellConfig,
    space_name: str,
    anchors: dict[str, str],
    *,
    ramp: NDArray | None = None,
    chunk: int = 64,
    dt: float = 0.05,
    wrist_poses: bool = False,
) -> str:
    """A policy that keeps arms where they are measured, plus ``ramp``, and hands at their previous latents.

    Args:
        space_name, anchors: the latent bundle it pins (graph -> sha256).
        ramp: (chunk, arm columns) [rad]; of wrist poses nine columns an arm [m, 1].
        wrist_poses: it speaks and is shown wrist poses and knows neither arm nor hand; otherwise the joints of the cell's arms.
    """
    arms = [(n, i) for n, i in cell.interfaces.items() if i.robot.kind == "arm"]
    hands = [(n, i) for n, i in cell.interfaces.items() if i.robot.kind == "hand"]
    shown = "poses" if wrist_poses else "joints"
    arm_slices = _slices(arms, _pose_columns if wrist_poses else _joint_columns)
    dofs = arm_slices[-1]["at"][1]
    latent_slices = [
        {"at": [dofs + k * DIM, dofs + (k + 1) * DIM], "interface": n, "space": "latent", "anchor": _anchor(anchors, i)}
        for k, (n, i) in enumerate(hands)
    ]
    width = dofs + len(hands) * DIM
    inputs = [
        {"name": "image", "dtype": "uint8", "shape": ["B", 224, 224, 3]},
        {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": shown, "dtype": "float32", "shape": ["B", dofs], "slices": arm_slices},
        {
            "name": "previous_latents",
            "dtype": "float32",
            "shape": ["B", len(hands), chunk, DIM],
            "space": "latent",
            "interfaces": [n for n, _ in hands],
        },
    ]
    outputs = [{"name": "chunk", "dtype": "float32", "shape": ["B", chunk, width], "slices": arm_slices + latent_slices}]
    added = np.zeros((chunk, dofs), np.float32) if ramp is None else np.asarray(ramp, np.float32)
    model = onnx_model(_hold_nodes(shown), inputs, outputs, _hold_constants(added, chunk, len(hands)))
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 4]}}
    data = common_manifest(folder.name, "chunk_policy")
    data.update(
        embodiments=[] if wrist_poses else [f"{i.side}_{i.robot.name}" for _, i in arms],
        graphs={"policy": spec},
        requires=[{"bundle": space_name, "kind": "latent_space", "anchors": anchors}],
        timing={"rate_hz": 1.0 / dt, "dt": dt, "chunk": chunk, "first_action_offset": 1.0},
        image={"input": "image", "height": 224, "width": 224, "camera": next(iter(cell.cameras), "front")},
        instruction={"input": "tokens", "trained": ["Push the two tomato cans together", "Return to the rest pose"]},
    )
    stats = _policy_stats(arms, arm_slices, latent_slices, shown)
    middle = np.concatenate([stats[f"{shown}/{name}"].mean for name, _ in arms])
    columns = build(Graph, {**spec, "file": "x.onnx", "golden": {"file": "x.npz"}}, "fixture").inputs[2].slices
    cases = [_policy_case(shown, columns, middle, len(hands), chunk, b) for b in (1, 2)]
    return write_bundle(
        folder,
        data,
        graphs={"policy": model},
        golden={"policy": golden_cases(spec, model, cases)},
        embodiments={f"{i.side}_{i.robot.name}": Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits) for _, i in arms if not wrist_poses},
        stats=stats,
        scores={"fixture": True}, licence_text="Apache-2.0\n",
    )


def _joint_columns(interface: Interface) -> dict:
    return {"space": "joint_position", "unit": "rad", "names": list(interface.robot.actuated)}


def _pose_columns(_: Interface) -> dict:
    return {"space": "wrist_pose", "frame": "world", "names": list(POSE_COLUMNS)}


def _anchor(anchors: dict[str, str], hand: Interface) -> str:
    """The decoder of the cell's own hand; where that is not pinned, the first pinned one of its side."""
    own = f"{hand.side}_{hand.robot.name}/decoder"
    return own if own in anchors else next(g for g in anchors if g.startswith(f"{hand.side}_") and g.endswith("/decoder"))


def _slices(parts: list[tuple[str, Interface]], describe: Any) -> list[dict]:
    out, start = [], 0
    for name, interface in parts:
        columns = describe(interface)
        end = start + len(columns["names"])
        out.append({"at": [start, end], "interface": name, **columns})
        start = end
    return out


def _hold_nodes(shown: str) -> list:
    make = helper.make_node
    return [
        make("Unsqueeze", [shown, "one"], ["held"]),
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


def _policy_case(shown: str, columns: Sequence[Slice], middle: NDArray, hands: int, chunk: int, batch: int) -> dict[str, NDArray]:
    rng = np.random.default_rng(batch)
    measured = turn_wrists(rng, columns, middle + rng.uniform(-0.1, 0.1, (batch, middle.size)))
    return {
        "image": rng.integers(0, 255, (batch, 224, 224, 3), dtype=np.uint8),
        "tokens": np.repeat(text.tokenize("push the two cans"), batch, axis=0),
        shown: measured.astype(np.float32),
        "previous_latents": rng.standard_normal((batch, hands, chunk, DIM)).astype(np.float32),
    }


def _policy_stats(arms: list[tuple[str, Interface]], arm_slices: list[dict], latent_slices: list[dict], shown: str) -> dict[str, Statistic]:
    """Arms anywhere inside their limits; hands over the table, fingers straight down, so that two columns are constant."""
    rng = np.random.default_rng(0)
    out = {}
    for (name, i), s in zip(arms, arm_slices, strict=True):
        if s["space"] == "wrist_pose":
            x, y, z, yaw = rng.uniform([-0.2, -0.9, -0.1, -np.pi], [0.9, 0.9, 0.7, np.pi], (200, 4)).T
            zero = np.zeros(200)
            record = Statistic.of(np.stack([x, y, z, np.cos(yaw), np.sin(yaw), zero, np.sin(yaw), -np.cos(yaw), zero], axis=1))
        else:
            low, high = np.array([[m.lower_rad, m.upper_rad] for m in i.limits]).T
            record = Statistic.of(np.concatenate([rng.uniform(low, high, (200, low.size)), [low, high]]))
        out[f"{shown}/{name}"] = out[f"chunk/{name}"] = record
    for s in latent_slices:
        out[f"chunk/{s['interface']}"] = Statistic.of(rng.uniform(-2.5, 2.5, (200, DIM)))
    return out


def write_fixture_pair(root: Path, cell: CellConfig, *, others: Sequence[CellConfig] = (), **policy: Any) -> tuple[Path, Path]:
    """``root/<latent>`` and ``root/<policy>`` named as the cell's config names them; returns (latent folder, policy folder).

    The policy pins the graphs of the cell's hands; those of ``others`` are in the space besides.
    """
    latent, chosen = root / Path(cell.policy.latent_bundle).name, root / Path(cell.policy.bundle).name
    write_latent_fixture(latent, cell, others=others)
    manifest = parse_manifest(latent / "manifest.yaml")
    own = {f"{i.side}_{i.robot.name}" for i in cell.interfaces.values()}
    anchors = {n: manifest.files[g.file].sha256 for n, g in manifest.graphs.items() if n.rsplit("/", 1)[0] in own}
    write_policy_fixture(chosen, cell, latent.name, anchors, **policy)
    return latent, chosen
