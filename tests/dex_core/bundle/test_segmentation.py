# SPDX-License-Identifier: Apache-2.0
"""Bundles of kind segmentation: a good one made of three tiny graphs, then changed in one place."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import helper

from dex_core.bundle import load_bundle
from dex_core.bundle.manifest import Graph
from dex_core.bundle.segmentation import _probe_points
from dex_core.bundle.testing import common_manifest, onnx_model
from dex_core.bundle.write import write_bundle
from dex_core.config.strict import build
from dex_core.errors import BundleError
from dex_core.runtime import OnnxSession

COORDS = {"name": "coords", "dtype": "float32", "shape": ["B", "N", 3]}
COLORS = {"name": "colors", "dtype": "float32", "shape": ["B", "N", 3]}
CLOUD = {"name": "cloud", "dtype": "float32", "shape": ["B", "N", 3]}
CLICKS = {"name": "prompt_coords", "dtype": "float32", "shape": ["B", "Q", 3]}
LABELS = {"name": "prompt_labels", "dtype": "int64", "shape": ["B", "Q"]}
MASK = {"name": "prompt_mask", "dtype": "float32", "shape": ["B", "N"]}
MASKS = {"name": "masks", "dtype": "float32", "shape": ["B", 1, "N"]}
IOU = {"name": "iou", "dtype": "float32", "shape": ["B", 1]}
N, Q = {"N": [2, 4096]}, {"Q": [1, 8]}
BATCH = {"B": [1, 4]}


def _encoder() -> tuple[dict, bytes]:
    nodes = [helper.make_node("Add", ["coords", "colors"], ["cloud"])]
    spec = {"inputs": [COORDS, COLORS], "outputs": [CLOUD], "dynamic": {**BATCH, **N}}
    return spec, onnx_model(nodes, spec["inputs"], spec["outputs"], {})


def _decoder(masked: bool) -> tuple[dict, bytes]:
    """Logits: 1 - squared distance to the mean click, plus the mask before; labels only have to be read."""
    make = helper.make_node
    nodes = [
        make("ReduceMean", ["prompt_coords", "axis1"], ["middle"], keepdims=1), make("Sub", ["cloud", "middle"], ["apart"]),
        make("ReduceSumSquare", ["apart", "axis2"], ["squared"], keepdims=0), make("Sub", ["one", "squared"], ["near"]),
        make("Add", ["near", "prompt_mask"], ["logits"]) if masked else make("Identity", ["near"], ["logits"]),
        make("Unsqueeze", ["logits", "axis1"], ["masks"]), make("Cast", ["prompt_labels"], ["marks"], to=1),
        make("ReduceMean", ["marks", "axis1"], ["iou"], keepdims=1),
    ]
    inputs = [CLOUD, CLICKS, LABELS, *([MASK] if masked else [])]
    spec = {"inputs": inputs, "outputs": [MASKS, IOU], "dynamic": {**BATCH, **N, **Q}}
    constants = {"axis1": np.array([1], np.int64), "axis2": np.array([2], np.int64), "one": np.array(1.0, np.float32)}
    return spec, onnx_model(nodes, inputs, spec["outputs"], constants)


def _cases(spec: dict, model: bytes) -> list:
    session = OnnxSession("x", build(Graph, {**spec, "file": "x.onnx", "golden": {"file": "x.npz"}}, "x"), model)
    rng, cases = np.random.default_rng(0), []
    for batch, points in ((1, 50), (2, 70)):
        length = {"B": batch, "N": points, "Q": 2}
        inputs = {}
        for t in spec["inputs"]:
            shape = [length.get(a, a) for a in t["shape"]]
            inputs[t["name"]] = np.ones(shape, np.int64) if t["dtype"] == "int64" else rng.random(shape).astype(np.float32)
        cases.append((inputs, session.run(inputs)))
    return cases


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    parts = {"encoder": _encoder(), "decoder": _decoder(False), "decoder_mask": _decoder(True)}
    data = common_manifest("tiny", "segmentation")
    data |= {"embodiments": [], "graphs": {n: s for n, (s, _) in parts.items()}, "segmentation": {"coords": "lens", "unit_m": 2.0, "points": 4096}}
    write_bundle(
        tmp_path / "tiny", data, graphs={n: m for n, (_, m) in parts.items()}, golden={n: _cases(s, m) for n, (s, m) in parts.items()},
        embodiments={}, licence_text="Apache-2.0\n",
    )
    return tmp_path / "tiny"


def edit(folder: Path, change: Callable[[dict], Any]) -> None:
    path = folder / "manifest.yaml"
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def test_a_good_one_loads_with_all_checks_passed(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.manifest.segmentation.unit_m == 2.0 and all(check.ok for check in bundle.report)  # type: ignore[union-attr]
    assert set(bundle.sessions) == {"encoder", "decoder", "decoder_mask"}


def test_probes_hold_as_many_points_as_the_encoder_asks_for(folder: Path) -> None:
    manifest = load_bundle(folder).manifest
    assert _probe_points(manifest) == 1024
    encoder = manifest.graphs["encoder"]
    picky = dataclasses.replace(encoder, dynamic={**encoder.dynamic, "N": (2048, 4096)})
    assert _probe_points(dataclasses.replace(manifest, graphs={**manifest.graphs, "encoder": picky})) == 2048


def _leave_out_mask_graph(data: dict) -> None:
    graph = data["graphs"].pop("decoder_mask")
    for path in (graph["file"], graph["golden"]["file"]):
        del data["files"][path]


def test_the_graph_with_a_mask_may_be_missing(folder: Path) -> None:
    edit(folder, _leave_out_mask_graph)
    for path in ("graphs/decoder_mask.onnx", "golden/decoder_mask.npz"):
        (folder / path).unlink()
    assert set(load_bundle(folder).sessions) == {"encoder", "decoder"}


BAD = {
    "no spec": (lambda d: d.pop("segmentation"), "manifest_invalid", "'segmentation' is missing"),
    "unknown coords": (lambda d: d["segmentation"].update(coords="camera"), "manifest_invalid", "unit_sphere"),
    "a unit in the sphere": (lambda d: d["segmentation"].update(coords="unit_sphere"), "manifest_invalid", "leave it out"),
    "no decoder": (lambda d: d["graphs"].pop("decoder"), "manifest_invalid", "graphs must be"),
    "a timing": (lambda d: d.update(timing={"rate_hz": 10.0, "dt": 0.1, "chunk": 8, "first_action_offset": 0.0}), "manifest_invalid", "no place"),
    "another kind's spec": (lambda d: d.update(kind="chunk_policy"), "manifest_invalid", "segmentation"),
    "names of outputs": (lambda d: d["graphs"]["decoder"]["outputs"][1].update(name="score"), "interface_mismatch", "score"),
    "labels as numbers": (lambda d: d["graphs"]["decoder"]["inputs"][2].update(dtype="float32"), "interface_mismatch", "prompt_labels"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_defect_is_refused_by_name(folder: Path, name: str) -> None:
    change, code, words = BAD[name]
    edit(folder, change)
    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(folder)
    assert caught.value.code == code


def test_a_decoder_that_nothing_feeds_is_refused(tmp_path: Path) -> None:
    spec, model = _decoder(False)
    spec = {**spec, "inputs": [{**CLOUD, "name": "other"}, *spec["inputs"][1:]]}
    renamed = model.replace(b"\x05cloud", b"\x05other")
    parts = {"encoder": _encoder(), "decoder": (spec, renamed)}
    data = common_manifest("tiny", "segmentation")
    data |= {"embodiments": [], "graphs": {n: s for n, (s, _) in parts.items()}, "segmentation": {"coords": "lens"}}
    write_bundle(
        tmp_path / "tiny", data, graphs={n: m for n, (_, m) in parts.items()}, golden={n: _cases(s, m) for n, (s, m) in parts.items()},
        embodiments={}, licence_text="Apache-2.0\n",
    )
    with pytest.raises(BundleError, match="nothing gives input 'other'") as caught:
        load_bundle(tmp_path / "tiny")
    assert caught.value.code == "layout_invalid"
