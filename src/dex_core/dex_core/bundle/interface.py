# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file says of itself, in the words of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

_DTYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT64: "int64"}


@dataclass(frozen=True)
class FileInterface:
    """Tensors and versions of one file.

    Attributes:
        inputs, outputs: name, dtype and shape of each, as in a manifest.
        opset, ir_version: what it needs. domains: of its operators.
        outside: names of files that hold its weights.
        problems: what a manifest cannot say, in words.
    """

    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    opset: int
    ir_version: int
    domains: tuple[str, ...]
    outside: tuple[str, ...]
    problems: tuple[str, ...]


def read_interface(path: Path) -> FileInterface:
    """Reads a file without its outside weights. Raises ValueError: it is no ONNX model."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError moves between its releases
        raise ValueError(f"{path}: no ONNX model: {error}") from error
    problems: list[str] = []
    weights = {t.name for t in model.graph.initializer}
    given = [i for i in model.graph.input if i.name not in weights]
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    outside = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    return FileInterface(
        tuple(_tensors(path.name, given, problems)),
        tuple(_tensors(path.name, model.graph.output, problems)),
        int(versions.get("", 1)),
        int(model.ir_version),
        tuple(sorted(versions)),
        tuple(sorted(outside)),
        tuple(problems),
    )


def _tensors(where: str, infos: Iterable[onnx.ValueInfoProto], problems: list[str]) -> Iterable[dict[str, Any]]:
    for info in infos:
        kind = info.type.tensor_type
        dtype = _DTYPES.get(kind.elem_type)
        if dtype is None:
            problems.append(f"{where}: {info.name} is {onnx.TensorProto.DataType.Name(kind.elem_type)}; export it as one of {list(_DTYPES.values())}")
        shape: list[int | str] = []
        for number, axis in enumerate(kind.shape.dim):
            if axis.HasField("dim_value"):
                shape.append(int(axis.dim_value))
                continue
            name = axis.dim_param or ("B" if number == 0 else "")
            if not name.isidentifier():
                problems.append(f"{where}: axis {number} of {info.name} is {name or 'nameless'!r}; export it with a name such as B, or fixed")
                name = f"axis_{number}"
            shape.append(name)
        if not shape:
            problems.append(f"{where}: {info.name} has no axes; export it with a batch axis first")
        yield {"name": info.name, "dtype": dtype or "float32", "shape": shape}
