# SPDX-License-Identifier: Apache-2.0
"""A bundle of Point-SAM's graphs from its released weights."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from dex_core.bundle.write import write_bundle
from dex_core.errors import BundleError, DexError
from dex_learn.export import Case
from dex_learn.point_sam.golden import golden_cases
from dex_learn.point_sam.graphs import DecoderGraph, EncoderGraph, MaskedDecoderGraph
from dex_learn.point_sam.net import PointSam
from dex_learn.point_sam.shape import PointSamShape
from dex_learn.point_sam.weights import network_of, read_weights
from dex_learn.points import IR_VERSION, OPSET, save_onnx

NAME = "point_sam"
INLINE_BYTES = 1 << 26
"""A larger graph keeps its weights in a file beside it, which the loader does not hold in memory."""
TOLERANCE = {"atol": 1e-4, "rtol": 1e-3}
BUDGET_MS = 20_000.0
"""Of the slowest graph, the encoder: EVA-02 L with 1024 patches of 256 points needs about 10 s on two cores."""
POINTS = 10_000
"""Points of a cloud in upstream's training."""
PERMISSIVE = ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause")
MOST = {"N": 100_000, "B": 8, "Q": 64}
Described = Mapping[str, Any]
COLOURS = {"training": (0.5, 0.5), "demo": (0.0, 1.0)}
"""Mean and deviation that colours in [0, 1] are freed of: upstream's training and evaluation do so, its demo and its inference example do not."""


@dataclass(frozen=True)
class Options:
    """How the weights are exported.

    Attributes:
        patches, patch_size: None: as the variant with this transformer has them.
        colours: key of ``COLOURS``.
        licence: text that travels with the weights. licence_name: its SPDX name.
    """

    licence: str
    licence_name: str = "MIT"
    patches: int | None = None
    patch_size: int | None = None
    colours: str = "training"


def import_point_sam(file: Path, folder: Path, options: Options) -> str:
    """Writes (or replaces) the bundle ``folder`` from a ``model.safetensors`` and returns its hash.

    Raises:
        DexError: ``weights_unreadable``, ``weights_refused``, ``parity_failed``. ConfigError: no known shape.
        BundleError: ``licence_refused``, no licence text.
    """
    if not options.licence.strip():
        raise BundleError("the licence text of the weights is empty; it must go with them", code="licence_refused")
    net = network_of(read_weights(file), options.patches, options.patch_size)
    return write_network(net, folder, options)


def write_network(net: PointSam, folder: Path, options: Options) -> str:
    """The bundle of a network; see ``import_point_sam``."""
    mean, deviation = COLOURS[options.colours]
    graphs = {"encoder": EncoderGraph(net, mean, deviation), "decoder": DecoderGraph(net), "decoder_mask": MaskedDecoderGraph(net)}
    golden = golden_cases(net, mean, deviation)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.export") as scratch:
        files, data, specs, parity = {}, {}, {}, {}
        for name, graph in graphs.items():
            inputs, outputs = _tensors(golden[name], net.shape)
            files[name] = Path(scratch) / f"{name}.onnx"
            beside = _export(graph, golden[name], inputs, outputs, net.shape, files[name])
            if beside is not None:
                data[name] = beside
            parity[name] = _parity(files[name], golden[name], name)
            specs[name] = {"inputs": inputs, "outputs": outputs, "dynamic": _dynamic(name, inputs, net.shape), "golden": TOLERANCE}
        definition = {"parity": "largest difference between ONNX and torch on the golden cases"}
        return write_bundle(
            folder, manifest_of(folder.name, specs, net.shape, options), graphs=files, external=data, golden=golden, embodiments={},
            scores={"definitions": definition, "scores": {"parity": parity}}, licence_text=_attribution(options.licence),
        )


def _bounds(shape: PointSamShape) -> dict[str, tuple[int, int]]:
    return {"N": (max(shape.patches, shape.patch_size), MOST["N"]), "B": (1, MOST["B"]), "Q": (1, MOST["Q"])}


def _tensors(cases: Sequence[Case], shape: PointSamShape) -> tuple[list[Described], list[Described]]:
    """Inputs and outputs for the manifest, after the golden cases."""
    free: dict[str, list[Any]] = {
        "coords": ["B", "N", 3], "colors": ["B", "N", 3], "prompt_coords": ["B", "Q", 3], "prompt_labels": ["B", "Q"], "prompt_mask": ["B", "N"],
        "embeddings": ["B", shape.patches, shape.embedding], "centers": ["B", shape.patches, 3], "knn_index": ["B", shape.patches, shape.patch_size],
        "interp_index": ["B", "N", 3], "interp_weight": ["B", "N", 3],
    }

    def described(arrays: Mapping[str, np.ndarray]) -> list[Described]:
        sizes = {**free, "masks": ["B", arrays["iou"].shape[1], "N"], "iou": ["B", arrays["iou"].shape[1]]} if "iou" in arrays else free
        return [{"name": name, "dtype": str(value.dtype), "shape": sizes[name]} for name, value in arrays.items()]

    return described(cases[0][0]), described(cases[0][1])


def _dynamic(name: str, inputs: Sequence[Described], shape: PointSamShape) -> dict[str, list[int]]:
    """Axes in use with their bounds; one cloud at a time is encoded, as its patches alone can fill a gigabyte."""
    used = {axis for tensor in inputs for axis in tensor["shape"] if isinstance(axis, str)}
    bounds = {axis: list(span) for axis, span in _bounds(shape).items() if axis in used}
    return {**bounds, "B": [1, 1]} if name == "encoder" else bounds


def _export(
    graph: nn.Module, cases: Sequence[Case], inputs: Sequence[Described], outputs: Sequence[Described], shape: PointSamShape, file: Path
) -> Path | None:
    """Writes the graph; returns the file of its weights where they lie beside it."""
    axes = {t["name"]: {i: a for i, a in enumerate(t["shape"]) if isinstance(a, str)} for t in (*inputs, *outputs)}
    used = {axis for t in inputs for axis in t["shape"] if isinstance(axis, str)}
    example = {name: torch.from_numpy(_doubled(value, cases[1][0])) for name, value in cases[1][0].items()}
    bounds = {axis: span for axis, span in _bounds(shape).items() if axis in used}
    return save_onnx(graph, example, [t["name"] for t in outputs], axes, bounds, file, inline_bytes=INLINE_BYTES)


def _doubled(value: np.ndarray, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """Two rows where there is one: a batch of one would become a constant."""
    return value if len(value) > 1 else np.repeat(value, 2, axis=0)


def _parity(file: Path, cases: Sequence[Case], name: str) -> float:
    """Largest difference to torch. Raises DexError ``parity_failed``."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    for given, expected in cases:
        found = dict(zip((o.name for o in session.get_outputs()), session.run(None, given), strict=True))
        for output, value in expected.items():
            error = np.abs(found[output].astype(np.float64) - value)
            worst = max(worst, float(error.max()))
            if not (error <= TOLERANCE["atol"] + TOLERANCE["rtol"] * np.abs(value)).all():
                text = f"graph {name!r}: output {output!r} differs by {error.max():.2e} from torch; {TOLERANCE} is allowed"
                raise DexError(text, code="parity_failed")
    return worst


def _attribution(text: str) -> str:
    return f"Weights of this folder: Point-SAM, github.com/zyc00/Point-SAM, converted to ONNX without change of their values.\n\n{text}"


def manifest_of(name: str, specs: Mapping[str, Any], shape: PointSamShape, options: Options) -> dict[str, Any]:
    """The manifest as plain data; ``specs``: its ``graphs``."""
    sizes = ", ".join(f"{key} {value}" for key, value in asdict(shape).items())
    return {
        "name": name, "version": "1.0.0", "kind": "segmentation", "created": datetime.date.today().isoformat(),
        "licence": {"weights": options.licence_name, "commercial_use": options.licence_name in PERMISSIVE, "upstream": "github.com/zyc00/Point-SAM"},
        "provenance": {
            "trained_here": False, "data": "by the authors of Point-SAM, see arXiv 2406.17741", "notes": f"{sizes}; colours as in {options.colours}",
        },
        "runtime": {"opset": OPSET, "ir_version": IR_VERSION}, "latency": {"budget_ms": BUDGET_MS, "warmup_runs": 2},
        "embodiments": [], "graphs": dict(specs), "segmentation": {"coords": "unit_sphere", "points": max(POINTS, shape.patches)},
    }
