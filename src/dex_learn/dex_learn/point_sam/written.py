# SPDX-License-Identifier: Apache-2.0
"""One graph of a Point-SAM as an ONNX file, its entry in a manifest, and the proof that both compute what torch does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from dex_core.errors import DexError
from dex_learn.export import Case
from dex_learn.point_sam.shape import PointSamShape
from dex_learn.points import save_onnx

INLINE_BYTES = 1 << 26
"""A larger graph keeps its weights in a file beside it, which the loader does not hold in memory."""
ATOL, RTOL = 1e-4, 1e-3
MOST_POINTS, MOST_CLOUDS, MOST_CLICKS = 100_000, 8, 64
Described = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """A graph on disk.

    Attributes:
        file: the ONNX file. data: of its weights, None where they are inside.
        spec: its entry under ``graphs`` of a manifest.
        parity: largest difference to torch on the golden cases.
    """

    file: Path
    data: Path | None
    spec: dict[str, Any]
    parity: float


def write_graph(name: str, graph: nn.Module, cases: Sequence[Case], shape: PointSamShape, folder: Path) -> Written:
    """Exports a graph and runs it.

    Args:
        name: of the graph.
        graph: takes and gives what the golden ``cases`` hold, in their order; the last case is the example it is traced with.
        shape: of the network. folder: where its files go.

    Raises:
        DexError: ``parity_failed``, onnxruntime and torch differ; ``export_failed``.
    """
    given, made = cases[-1]
    inputs, outputs = (_described(arrays, shape, masks=made["iou"].shape[1] if "iou" in made else 0) for arrays in (given, made))
    bounds = _bounds(inputs, shape)
    axes = {t["name"]: {i: a for i, a in enumerate(t["shape"]) if isinstance(a, str)} for t in (*inputs, *outputs)}
    example = {key: torch.from_numpy(_two_rows(value)) for key, value in given.items()}
    file = folder / f"{name}.onnx"
    data = save_onnx(graph, example, list(made), axes, bounds, file, inline_bytes=INLINE_BYTES)
    # One cloud at a time is encoded: the points of its patches alone can fill a gigabyte.
    allowed = {axis: [1, 1] if (name, axis) == ("encoder", "B") else list(span) for axis, span in bounds.items()}
    spec = {"inputs": inputs, "outputs": outputs, "dynamic": allowed, "golden": {"atol": ATOL, "rtol": RTOL}}
    return Written(file, data, spec, _parity(file, cases, name))


def _described(arrays: Mapping[str, NDArray], shape: PointSamShape, masks: int) -> list[Described]:
    sizes: dict[str, list[Any]] = {
        "coords": ["B", "N", 3], "colors": ["B", "N", 3], "prompt_coords": ["B", "Q", 3], "prompt_labels": ["B", "Q"], "prompt_mask": ["B", "N"],
        "embeddings": ["B", shape.patches, shape.embedding], "centers": ["B", shape.patches, 3], "knn_index": ["B", shape.patches, shape.patch_size],
        "interp_index": ["B", "N", 3], "interp_weight": ["B", "N", 3], "masks": ["B", masks, "N"], "iou": ["B", masks],
    }
    return [{"name": name, "dtype": str(value.dtype), "shape": sizes[name]} for name, value in arrays.items()]


def _bounds(inputs: Sequence[Described], shape: PointSamShape) -> dict[str, tuple[int, int]]:
    """Of the free lengths in use."""
    spans = {"B": (1, MOST_CLOUDS), "N": (max(shape.patches, shape.patch_size), MOST_POINTS), "Q": (1, MOST_CLICKS)}
    used = {axis for tensor in inputs for axis in tensor["shape"]}
    return {axis: span for axis, span in spans.items() if axis in used}


def _two_rows(value: NDArray) -> NDArray:
    """A batch of one would become a constant of the graph."""
    return value if len(value) > 1 else np.repeat(value, 2, axis=0)


def _parity(file: Path, cases: Sequence[Case], name: str) -> float:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    worst = 0.0
    for given, expected in cases:
        found = dict(zip(outputs, session.run(outputs, given), strict=True))
        for output, value in expected.items():
            error = np.abs(found[output].astype(np.float64) - value)
            worst = max(worst, float(error.max()))
            if not (error <= ATOL + RTOL * np.abs(value)).all():
                raise DexError(f"graph {name!r}: output {output!r} differs by {error.max():.2e} from torch", code="parity_failed")
    return worst
