# SPDX-License-Identifier: Apache-2.0
"""A small policy of two cameras with a history, other layouts of pictures, normalised outside its graph, for tests and dry runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dex_core import text
from dex_core.bundle.manifest import Embodiment, Graph
from dex_core.bundle.stats import Statistic
from dex_core.bundle.testing import common_manifest, onnx_model
from dex_core.bundle.write import write_bundle
from dex_core.config.cell import CellConfig
from dex_core.config.strict import build
from dex_core.runtime import OnnxSession

STEPS, HISTORY, DT_S = 16, 3, 0.1
FRONT_HW, WRIST_HW = (64, 48), (40, 40)


def write_camera_fixture(folder: Path, cell: CellConfig, *, method: str = "minmax", kind: str = "absolute", **changes: Any) -> Path:
    """A policy of the cell's left arm that looks through its first two cameras; returns ``folder``.

    In every step of its chunk it says the newest measured joints as it is shown them; of ``kind`` other than absolute, no difference at all.

    Args:
        folder: new.
        cell: with ``left_arm`` and two cameras.
        method: of normalisation, outside the graph.
        kind: of the output.
        changes: of the manifest.
    """
    arm = cell.interface("left_arm")
    dofs, (front, wrist) = len(arm.names), list(cell.cameras)[:2]
    columns = {"at": [0, dofs], "interface": "left_arm", "space": "joint_position", "unit": "rad", "names": list(arm.robot.actuated)}
    inputs = [
        {"name": "front", "dtype": "float32", "shape": ["B", HISTORY, 3, *FRONT_HW]},
        {"name": "wrist", "dtype": "uint8", "shape": ["B", HISTORY, *WRIST_HW, 3]},
        {"name": "tokens", "dtype": "int64", "shape": ["B", text.LENGTH]},
        {"name": "joints", "dtype": "float32", "shape": ["B", HISTORY, dofs], "slices": [columns]},
    ]
    outputs = [{"name": "chunk", "dtype": "float32", "shape": ["B", STEPS, dofs], "slices": [columns], "kind": kind}]
    model = onnx_model(_nodes(), inputs, outputs, _constants(1.0 if kind == "absolute" else 0.0))
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": {"B": [1, 4]}}
    session = OnnxSession("policy", build(Graph, {**spec, "file": "x.onnx", "golden": {"file": "x.npz"}}, "fixture"), model)
    low, high = np.array([[m.lower_rad, m.upper_rad] for m in arm.limits]).T
    rng = np.random.default_rng(0)
    shown = Statistic.of(np.concatenate([rng.uniform(low, high, (200, dofs)), [low, high]]), method)
    shown = dataclasses.replace(shown, lo=tuple(low), hi=tuple(high))
    said = shown if kind == "absolute" else Statistic.of(rng.uniform(-0.5, 0.5, (200, dofs)))
    wide, high_px = cell.cameras[wrist].output_wh
    front_wide, front_high = cell.cameras[front].output_wh
    manifest = common_manifest(folder.name, "chunk_policy")
    manifest.update(
        embodiments=[f"left_{arm.robot.name}"], graphs={"policy": spec},
        timing={"rate_hz": 1.0 / DT_S, "dt": DT_S, "chunk": STEPS, "first_action_offset": 1.0, "observation_history": HISTORY},
        image={
            "input": "front", "height": FRONT_HW[0], "width": FRONT_HW[1], "source_height": front_high, "source_width": front_wide, "camera": front,
            "layout": "CHW", "channel_order": "bgr", "dtype": "float32", "fit": "pad", "resize": "linear", "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
        },
        images=[{
            "input": "wrist", "height": WRIST_HW[0], "width": WRIST_HW[1], "camera": wrist, "source_height": high_px, "source_width": wide,
        }],
        instruction={"input": "tokens", "trained": []}, normalisation={"file": "stats.json", "inside_graph": False}, **changes,
    )
    write_bundle(
        folder, manifest, graphs={"policy": model}, golden={"policy": [(c, session.run(c)) for c in (_case(1, dofs), _case(2, dofs))]},
        embodiments={f"left_{arm.robot.name}": Embodiment.of(arm.robot.name, "left", arm.robot.actuated, arm.limits)},
        stats={"joints/left_arm": shown, "chunk/left_arm": said}, scores={"fixture": True}, licence_text="Apache-2.0\n",
    )
    return folder


def _nodes() -> list:
    """The newest joints in every step; every other input is looked at and changes nothing that counts."""
    make = helper.make_node
    means = [
        node for name, axes in (("front", "axes4"), ("wrist", "axes4"), ("tokens", "axes1")) for node in (
            make("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT), make("ReduceMean", [f"{name}_f", axes], [f"{name}_m"], keepdims=0))
    ]
    return [
        make("Slice", ["joints", "last", "end", "axis"], ["newest"]), make("Expand", ["newest", "shape"], ["held"]),
        make("Mul", ["held", "gain"], ["said"]), *means, make("Sum", ["front_m", "wrist_m", "tokens_m"], ["all"]),
        make("Mul", ["all", "nothing"], ["none"]), make("Reshape", ["none", "three"], ["none3"]), make("Add", ["said", "none3"], ["chunk"]),
    ]


def _constants(gain: float) -> dict[str, NDArray]:
    return {
        "last": np.array([-1], np.int64), "end": np.array([10**6], np.int64), "axis": np.array([1], np.int64),
        "shape": np.array([1, STEPS, 1], np.int64), "gain": np.array(gain, np.float32), "axes4": np.array([1, 2, 3, 4], np.int64),
        "axes1": np.array([1], np.int64), "nothing": np.array(1e-9, np.float32), "three": np.array([-1, 1, 1], np.int64),
    }


def _case(batch: int, dofs: int) -> dict[str, NDArray]:
    rng = np.random.default_rng(batch)
    return {
        "front": rng.normal(size=(batch, HISTORY, 3, *FRONT_HW)).astype(np.float32), "tokens": np.repeat(text.tokenize("push"), batch, axis=0),
        "wrist": rng.integers(0, 255, (batch, HISTORY, *WRIST_HW, 3), dtype=np.uint8),
        "joints": rng.normal(size=(batch, HISTORY, dofs)).astype(np.float32),
    }
