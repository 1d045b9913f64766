# SPDX-License-Identifier: Apache-2.0
"""Bundles for measuring the server: the inputs and outputs of a real policy, and a network that costs nothing or one of real size."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dex_core import text
from dex_core.bundle import parse_manifest
from dex_core.bundle.manifest import Embodiment, Graph
from dex_core.bundle.stats import Statistic
from dex_core.bundle.testing import DIM, common_manifest, onnx_model, write_latent_fixture
from dex_core.bundle.write import write_bundle
from dex_core.config import CellConfig, load_cell
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession, Settings
from dex_core.types import POSE_COLUMNS

PICTURE = 224
HANDS = ("left_hand", "right_hand")
ARMS = ("left_arm", "right_arm")
MEASURED = (*ARMS, "left_hand")
"""Joints in the state: two arms of 7 and a LEAP hand of 16; with the two grasp poses of 9 numbers that is 48."""
TILT_RAD = 0.5
CHUNK = 64
INSTRUCTION = "Push the two tomato cans together"


@dataclass(frozen=True)
class Network:
    """What is between a policy's inputs and its output.

    Attributes:
        name: of the bundle. model: ONNX file, whole or without its weights. weights: file of those; None: none outside.
        budget_ms: of one inference. dt_s: of the chunk's steps. atol: how much a golden case may differ.
    """

    name: str
    model: bytes
    weights: Path | None = None
    budget_ms: float = 100.0
    dt_s: float = 0.05
    atol: float = 1e-4


def bench_cell(folder: Path, network: str, threads: int, period_s: float) -> CellConfig:
    """Two arms with LEAP hands whose policy is ``folder/network`` and is asked every ``period_s``; nothing is tuned, so that bare is alike."""
    cell = load_cell("xarm_bimanual", hand="leap")
    camera = {name: replace(c, output_wh=(PICTURE, PICTURE), crop_xywh=(0, 0, PICTURE, PICTURE)) for name, c in cell.cameras.items()}
    policy = replace(
        cell.policy, bundle=str(folder / network), latent_bundle=str(folder / "latents"), provider="auto", threads=threads, replan_period_s=period_s,
        image_max_age_s=10.0, bundles=replace(cell.policy.bundles, tune=False),
    )
    return replace(cell, policy=policy, cameras=camera)


def tensors(cell: CellConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(inputs, outputs) of the graph: picture, words, 30 joints, 18 pose numbers, previous latents -> (B, 64, 82)."""
    at, joints = 0, []
    for name in MEASURED:
        names = list(cell.interface(name).robot.actuated)
        joints.append({"at": [at, at + len(names)], "interface": name, "space": "joint_position", "unit": "rad", "names": names})
        at += len(names)
    pose = {"space": "wrist_pose", "frame": "world", "names": list(POSE_COLUMNS)}
    poses = [{"at": [9 * k, 9 * k + 9], "interface": name, **pose} for k, name in enumerate(ARMS)]
    latents = [
        {"at": [18 + DIM * k, 18 + DIM * (k + 1)], "interface": name, "space": "latent", "anchor": f"{name.split('_')[0]}_leap/decoder"}
        for k, name in enumerate(HANDS)
    ]
    inputs = [
        {"name": "image", "dtype": "uint8", "shape": ["B", PICTURE, PICTURE, 3]},
        {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": "joints", "dtype": "float32", "shape": ["B", at], "slices": joints},
        {"name": "poses", "dtype": "float32", "shape": ["B", 18], "slices": poses},
        {"name": "previous_latents", "dtype": "float32", "shape": ["B", 2, CHUNK, DIM], "space": "latent", "interfaces": list(HANDS)},
    ]
    return inputs, [{"name": "chunk", "dtype": "float32", "shape": ["B", CHUNK, 18 + 2 * DIM], "slices": poses + latents}]


def hold_nodes(seen: str) -> tuple[list[Any], dict[str, NDArray]]:
    """Nodes and constants of the end of every graph: poses and latents as they are, plus ``seen`` (B, 1, 1), which must be zero."""
    make = helper.make_node
    nodes = [
        make("Unsqueeze", ["poses", "one"], ["pose_row"]),
        make("Add", ["pose_row", seen], ["pose_seen"]),
        make("Expand", ["pose_seen", "pose_shape"], ["held"]),
        make("Transpose", ["previous_latents"], ["turned"], perm=[0, 2, 1, 3]),
        make("Reshape", ["turned", "latent_shape"], ["latents"]),
        make("Concat", ["held", "latents"], ["chunk"], axis=2),
    ]
    constants = {
        "one": np.array([1], np.int64), "pose_shape": np.array([1, CHUNK, 18], np.int64), "latent_shape": np.array([0, CHUNK, 2 * DIM], np.int64),
    }
    return nodes, constants


def null_network(cell: CellConfig) -> Network:
    """Looks at one pixel, one word and one joint of each picture, and stays where it is."""
    make, (inputs, outputs) = helper.make_node, tensors(cell)
    nodes, constants = hold_nodes("none")
    first = [
        make("Slice", ["image", "first", "last", "pixel_axes"], ["pixel"]),
        make("Cast", ["pixel"], ["pixel_number"], to=TensorProto.FLOAT),
        make("Slice", ["tokens", "start", "end", "column"], ["word"]),
        make("Cast", ["word"], ["word_number"], to=TensorProto.FLOAT),
        make("Slice", ["joints", "start", "end", "column"], ["joint"]),
        make("Reshape", ["pixel_number", "scalar_shape"], ["a"]),
        make("Reshape", ["word_number", "scalar_shape"], ["b"]),
        make("Reshape", ["joint", "scalar_shape"], ["c"]),
        make("Sum", ["a", "b", "c"], ["all"]),
        make("Mul", ["all", "nothing"], ["none"]),
    ]
    constants |= {
        "first": np.zeros(3, np.int64), "last": np.ones(3, np.int64), "pixel_axes": np.array([1, 2, 3], np.int64), "start": np.zeros(1, np.int64),
        "end": np.ones(1, np.int64), "column": np.ones(1, np.int64), "scalar_shape": np.array([0, 1, 1], np.int64),
        "nothing": np.array(0.0, np.float32),
    }
    return Network("null", onnx_model(first + nodes, inputs, outputs, constants))


def example(cell: CellConfig, batch: int, seed: int = 0) -> dict[str, NDArray]:
    """Inputs as the server would make them, of a cell at rest, its wrists tilted: golden cases must tell rows of a rotation from columns."""
    rng = np.random.default_rng(seed)
    joints = np.concatenate([np.array(cell.interface(name).home) for name in MEASURED])
    pose = np.array([0.4, 0.1, 0.3, 1.0, 0.0, 0.0, 0.0, np.cos(TILT_RAD), np.sin(TILT_RAD)])
    return {
        "image": rng.integers(0, 255, (batch, PICTURE, PICTURE, 3), dtype=np.uint8),
        "tokens": np.repeat(text.tokenize(INSTRUCTION), batch, axis=0),
        "joints": np.repeat(joints[None], batch, axis=0).astype(np.float32),
        "poses": np.tile(pose, (batch, 2)).astype(np.float32),
        "previous_latents": rng.standard_normal((batch, 2, CHUNK, DIM)).astype(np.float32),
    }


def write_bench_bundles(folder: Path, cell: CellConfig, network: Network) -> None:
    """``folder/latents`` and ``folder/<network>``; golden cases are what the network says here."""
    if not (folder / "latents").is_dir():
        write_latent_fixture(folder / "latents", cell)
    manifest = parse_manifest(folder / "latents" / "manifest.yaml")
    anchors = {name: manifest.files[graph.file].sha256 for name, graph in manifest.graphs.items()}
    inputs, outputs = tensors(cell)
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 2]}, "golden": {"atol": network.atol}}
    data = common_manifest(network.name, "chunk_policy")
    data.update(
        embodiments=[_embodiment(cell, name).name for name in MEASURED],
        graphs={"policy": spec},
        requires=[{"bundle": "latents", "kind": "latent_space", "anchors": anchors}],
        timing={"rate_hz": 1.0 / network.dt_s, "dt": network.dt_s, "chunk": CHUNK, "first_action_offset": 1.0},
        image={
            "input": "image", "height": PICTURE, "width": PICTURE, "source_height": PICTURE, "source_width": PICTURE,
            "camera": next(iter(cell.cameras)),
        },
        instruction={"input": "tokens", "trained": [INSTRUCTION]},
        latency={"budget_ms": network.budget_ms, "warmup_runs": 2},
    )
    write_bundle(
        folder / network.name, data, graphs={"policy": network.model}, golden={"policy": _golden(cell, network)},
        embodiments={e.name: e for e in (_embodiment(cell, name) for name in MEASURED)}, stats=_stats(cell), scores={"random weights": True},
        licence_text="Apache-2.0\n", external={"policy": network.weights} if network.weights else None,
    )


def open_network(file: Path, cell: CellConfig, threads: int = 1) -> OnnxSession:
    """The network alone, in the session that serves it; its weights lie beside it where the file has none."""
    inputs, outputs = tensors(cell)
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 2]}, "file": file.name, "golden": {"file": "none.npz"}}
    return OnnxSession(file.stem, build(Graph, spec, file.name), str(file), Settings(threads=threads))


def _golden(cell: CellConfig, network: Network) -> list[Any]:
    with tempfile.TemporaryDirectory(prefix="dex_bench_network_") as folder:
        place = network.weights.parent if network.weights else Path(folder)
        file = place / "policy.onnx"
        file.write_bytes(network.model)
        session = open_network(file, cell, threads=2)
        cases = [example(cell, batch, seed=batch) for batch in (1, 2)]
        return [(case, session.run(case)) for case in cases]


def _embodiment(cell: CellConfig, name: str) -> Embodiment:
    i = cell.interface(name)
    return Embodiment.of(i.robot.name, i.side, i.robot.actuated, i.limits)


def _stats(cell: CellConfig) -> dict[str, Statistic]:
    """Everything the cell can do: nothing is outside."""
    rng = np.random.default_rng(0)
    out = {f"joints/{name}": Statistic.of(_uniform(rng, cell.interface(name).limits)) for name in MEASURED}
    for name in ARMS:
        out[f"poses/{name}"] = out[f"chunk/{name}"] = Statistic.of(rng.uniform(-3.0, 3.0, (400, 9)))
    for name in HANDS:
        out[f"chunk/{name}"] = Statistic.of(rng.uniform(-4.0, 4.0, (200, DIM)))
    return out


def _uniform(rng: np.random.Generator, limits: Any) -> NDArray:
    low, high = np.array([[m.lower_rad, m.upper_rad] for m in limits]).T
    return np.concatenate([rng.uniform(low, high, (200, low.size)), [low, high]])
