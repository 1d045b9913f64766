# SPDX-License-Identifier: Apache-2.0
"""How large the tensors inside a graph get, asked before anything allocates them: one constant can ask for terabytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx

from dex_core.bundle.manifest import Graph
from dex_core.errors import BundleError

LARGEST_BYTES = 1 << 32
"""Of one tensor between operators, at the smallest inputs the manifest allows: what a graph makes of nothing."""
KEPT_ELEMENTS = 4096
"""Constants above are no shapes: their values are left out of the question."""
_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data", "external_data")


def check_extents(model: onnx.ModelProto, graph: Graph, where: str) -> None:
    """Infers the shape of everything the graph computes. ``model`` is the caller's to lose: large constants are emptied.

    What depends on numbers that only running tells stays unknown, and what grows with the inputs is bounded by them; neither is judged here.

    Raises:
        BundleError: ``graph_refused``, naming the tensor and its size.
    """
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > KEPT_ELEMENTS:
            for name in _FIELDS:
                tensor.ClearField(name)
            tensor.ClearField("data_location")
    for declared in model.graph.input:
        tensor = graph.input(declared.name)
        for axis, length in zip(declared.type.tensor_type.shape.dim, tensor.shape if tensor else (), strict=False):
            axis.dim_value = graph.dynamic[length][0] if isinstance(length, str) else length
    for declared in model.graph.output:
        declared.type.tensor_type.ClearField("shape")  # a name of an axis there would stand against the number
    for info in _infer(model, where):
        _check(info, where)


def _infer(model: onnx.ModelProto, where: str) -> Iterable[onnx.ValueInfoProto]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx's errors share no base class of their own
        raise BundleError(f"{where}: shapes do not fit together: {error}", code="graph_refused") from error
    return (*inferred.graph.value_info, *inferred.graph.output)


def _check(info: onnx.ValueInfoProto, where: str) -> None:
    kind = info.type.tensor_type
    sizes = [axis.dim_value for axis in kind.shape.dim if axis.HasField("dim_value")]
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    except (KeyError, TypeError, ValueError):
        return  # not known, or no numbers
    needed = math.prod(max(size, 1) for size in sizes) * width  # axes that are not known count one
    if needed > LARGEST_BYTES:
        text = f"{info.name!r} would be {sizes}, {needed} bytes; at most {LARGEST_BYTES} are allowed"
        raise BundleError(f"{where}: {text}", code="graph_refused")
