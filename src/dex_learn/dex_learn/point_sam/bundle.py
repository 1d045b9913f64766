# SPDX-License-Identifier: Apache-2.0
"""A bundle of Point-SAM's graphs from its released weights."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dex_core.bundle.write import write_bundle
from dex_core.errors import BundleError
from dex_learn.point_sam.golden import golden_cases
from dex_learn.point_sam.graphs import DecoderGraph, EncoderGraph, MaskedDecoderGraph
from dex_learn.point_sam.net import PointSam
from dex_learn.point_sam.shape import PointSamShape
from dex_learn.point_sam.weights import network_of, read_weights
from dex_learn.point_sam.written import write_graph
from dex_learn.points import IR_VERSION, OPSET

NAME = "point_sam"
BUDGET_MS = 20_000.0
"""Of the slowest graph, the encoder: EVA-02 L with 1024 patches of 256 points needs about 10 s on two cores."""
POINTS = 10_000
"""Points of a cloud in upstream's training."""
PERMISSIVE = ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause")
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
        made = {name: write_graph(name, graph, golden[name], net.shape, Path(scratch)) for name, graph in graphs.items()}
        definition = {"parity": "largest difference between ONNX and torch on the golden cases"}
        return write_bundle(
            folder, manifest_of(folder.name, {name: graph.spec for name, graph in made.items()}, net.shape, options),
            graphs={name: graph.file for name, graph in made.items()}, external={name: graph.data for name, graph in made.items() if graph.data},
            golden=golden, embodiments={}, licence_text=_attribution(options.licence),
            scores={"definitions": definition, "scores": {"parity": {name: graph.parity for name, graph in made.items()}}},
        )


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
