# SPDX-License-Identifier: Apache-2.0
"""ONNX files looked at before anything runs them, and compared with what the manifest says of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import onnx

from dex_core.bundle.extents import check_extents
from dex_core.bundle.manifest import Graph, Manifest, Tensor
from dex_core.errors import BundleError
from dex_core.runtime import Session

_ORT_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}


def check_model(name: str, graph: Graph, blob: bytes, folder: Path, manifest: Manifest) -> None:
    """Format versions, operator domains, tensor sizes and external data of one ONNX file.

    Raises:
        BundleError: ``graph_refused`` naming the graph, what was found and what is allowed.
    """
    where = f"{graph.file} ({name})"
    try:
        model = onnx.ModelProto.FromString(blob)
    except Exception as error:  # protobuf's DecodeError moves between its releases
        raise BundleError(f"{where}: no ONNX model: {error}", code="graph_refused") from error
    _check_versions(model, manifest, where)
    if any(g.sparse_initializer for g in _graphs(model)):
        raise BundleError(f"{where}: holds sparse tensors, which are not allowed: a few bytes of them ask for any amount", code="graph_refused")
    for tensor in _tensors(model):
        _check_tensor(tensor, graph, folder, manifest, where)
    allowed = set(manifest.runtime.domains)
    for node in _nodes(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in allowed:
            raise BundleError(f"{where}: operator {node.domain}::{node.op_type}; allowed domains: {sorted(allowed)}", code="graph_refused")
        if any(a.HasField("sparse_tensor") or a.sparse_tensors for a in node.attribute):
            raise BundleError(f"{where}: operator {node.op_type} holds a sparse tensor, which is not allowed", code="graph_refused")
    check_extents(model, graph, where)


def _check_versions(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    if not model.graph.node and not model.graph.output:
        raise BundleError(f"{where}: holds no graph", code="graph_refused")
    if model.ir_version > manifest.runtime.ir_version:
        raise BundleError(f"{where}: IR version {model.ir_version}, at most {manifest.runtime.ir_version} is declared", code="graph_refused")
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if domain not in manifest.runtime.domains:
            raise BundleError(f"{where}: imports domain {opset.domain!r}; allowed: {list(manifest.runtime.domains)}", code="graph_refused")
        if domain == "" and opset.version > manifest.runtime.opset:
            raise BundleError(f"{where}: opset {opset.version}, at most {manifest.runtime.opset} is declared", code="graph_refused")


def _check_tensor(tensor: onnx.TensorProto, graph: Graph, folder: Path, manifest: Manifest, where: str) -> None:
    if tensor.data_type == onnx.TensorProto.STRING:
        raise BundleError(f"{where}: tensor {tensor.name!r} holds strings, which are not allowed", code="graph_refused")
    if tensor.data_type not in _KNOWN_TYPES or any(d < 0 for d in tensor.dims):
        raise BundleError(f"{where}: tensor {tensor.name!r} has type {tensor.data_type} and dims {list(tensor.dims)}", code="graph_refused")
    needed = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_external(tensor, needed, graph, folder, manifest, where)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
        raise BundleError(f"{where}: tensor {tensor.name!r} has {len(tensor.raw_data)} bytes, its dims need {needed}", code="graph_refused")
    elif not tensor.HasField("raw_data"):
        held = sum(len(getattr(tensor, name)) for name in _TYPED)
        if math.prod(tensor.dims) > _PACKED * held:
            raise BundleError(f"{where}: tensor {tensor.name!r} has {held} numbers, its dims are {list(tensor.dims)}", code="graph_refused")


_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_PACKED = 8
"""Elements of a type narrower than a byte that one number of a list may hold."""


def _check_external(tensor: onnx.TensorProto, needed: int, graph: Graph, folder: Path, manifest: Manifest, where: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    path = (PurePosixPath(graph.file).parent / location).as_posix()
    if ".." in PurePosixPath(location).parts or location.startswith("/") or path not in manifest.files:
        raise BundleError(f"{where}: tensor {tensor.name!r} lies in {location!r}; allowed: files the manifest lists", code="graph_refused")
    try:
        offset, length = int(entries.get("offset", "0") or 0), int(entries.get("length", str(needed)) or needed)
    except ValueError as error:
        raise BundleError(f"{where}: tensor {tensor.name!r} lies at {entries}: {error}", code="graph_refused") from error
    if length != needed or offset < 0 or offset + length > manifest.files[path].bytes:
        raise BundleError(
            f"{where}: tensor {tensor.name!r} needs {needed} bytes at {offset}, {path} has {manifest.files[path].bytes}", code="graph_refused"
        )


_KNOWN_TYPES = {v for k, v in onnx.TensorProto.DataType.items() if k not in ("UNDEFINED", "STRING")}


def _graphs(model: onnx.ModelProto) -> Iterable[onnx.GraphProto]:
    stack = [model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        stack.extend(g for node in graph.node for a in node.attribute for g in ([a.g] if a.HasField("g") else []) + list(a.graphs))


def _nodes(model: onnx.ModelProto) -> Iterable[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def uses_external_data(blob: bytes) -> bool:
    """True when some tensor of the model lies in another file."""
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(onnx.ModelProto.FromString(blob)))


def check_interface(session: Session, code: str = "interface_mismatch") -> None:
    """Names, types, ranks, fixed and dynamic axes of the file equal the manifest's, both ways.

    Raises:
        BundleError: ``code`` with both values side by side.
    """
    for label, declared, found in (
        ("input", session.spec.inputs, session.described_inputs()),
        ("output", session.spec.outputs, session.described_outputs()),
    ):
        names = [t.name for t in declared]
        if names != [n for n, _, _ in found]:
            raise BundleError(
                f"graph {session.name!r}: {label}s are {[n for n, _, _ in found]}, the manifest says {names}", code=code
            )
        for tensor, (_, dtype, shape) in zip(declared, found, strict=False):
            _compare(session.name, label, tensor, dtype, shape, code)


def _compare(graph: str, label: str, tensor: Tensor, dtype: str, shape: list, code: str) -> None:
    axes = zip(tensor.shape, shape, strict=False)
    same = len(shape) == len(tensor.shape) and all((a == b) if isinstance(a, int) else not isinstance(b, int) for a, b in axes)
    if dtype != _ORT_TYPES[tensor.dtype] or not same:
        raise BundleError(
            f"graph {graph!r}: {label} {tensor.name!r} is {dtype} {shape} in the file, {tensor.dtype} {list(tensor.shape)} in the manifest",
            code=code,
        )
