# SPDX-License-Identifier: Apache-2.0
"""How large the tensors inside a graph get, asked before anything allocates them: one constant can ask for terabytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dex_core.bundle.manifest import Graph
from dex_core.errors import BundleError

LARGEST_BYTES = 1 << 32
"""Of one tensor between operators, at the smallest inputs the manifest allows: what a graph makes of nothing."""
KEPT_ELEMENTS = 64
"""Constants above are no shapes: their values are left out of the question."""
ROUNDS = 3
"""Of inferring shapes and of working out what is computed from them."""
_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data", "external_data")
_ARITHMETIC: dict[str, Callable[..., NDArray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power, "Max": np.maximum, "Min": np.minimum, "Neg": np.negative,
    "Abs": np.abs, "Exp": np.exp, "Sqrt": np.sqrt, "Floor": np.floor, "Ceil": np.ceil, "Identity": np.asarray, "Reshape": lambda a, _: np.ravel(a),
    "Unsqueeze": lambda a, *_: np.ravel(a), "Squeeze": lambda a, *_: np.ravel(a), "ReduceProd": lambda a, *_: np.prod(a),
    "ReduceSum": lambda a, *_: np.sum(a), "Gather": lambda a, at: np.take(a, at), "Concat": lambda *a: np.concatenate([np.ravel(x) for x in a]),
    "Div": lambda a, b: a // b if a.dtype.kind in "iu" else a / b,
}
"""What shapes are computed with, on the few numbers of a shape; onnx's own propagation of values makes room for long ones."""


def check_extents(model: onnx.ModelProto, graph: Graph, where: str) -> None:
    """Infers the shape of everything the graph computes. ``model`` is the caller's to lose: large constants are emptied.

    What depends on numbers that only running tells stays unknown, and what grows with the inputs is bounded by them; neither is judged here.

    Raises:
        BundleError: ``graph_refused``, naming the tensor and its size.
    """
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > KEPT_ELEMENTS:
            for name in (*_FIELDS, "data_location"):
                tensor.ClearField(name)
    for declared in model.graph.input:
        tensor = graph.input(declared.name)
        for axis, length in zip(declared.type.tensor_type.shape.dim, tensor.shape if tensor else (), strict=False):
            axis.dim_value = graph.dynamic[length][0] if isinstance(length, str) else length
    for declared in model.graph.output:
        declared.type.tensor_type.ClearField("shape")  # a name of an axis there would stand against the number
    del model.graph.value_info[:]
    folded = _fold(model, {})
    for _ in range(ROUNDS):
        infos = _infer(model, where)
        for info in infos:
            _check(info, where)
        more = _fold(model, {i.name: s for i in (*infos, *model.graph.input) if (s := _static(i)) is not None})
        if more == folded:
            return
        folded = more


def _fold(model: onnx.ModelProto, shapes: dict[str, list[int]]) -> int:
    """Puts constants in the place of what is computed from constants and from shapes that are known; returns how many values are known."""
    graph, known = model.graph, {}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= KEPT_ELEMENTS and tensor.data_location != onnx.TensorProto.EXTERNAL:
            known[tensor.name] = _value(tensor)
    rest = []
    for node in graph.node:
        found = _work_out(node, known, shapes)
        if found is None or found.size > KEPT_ELEMENTS or len(node.output) != 1:
            rest.append(node)
            continue
        known[node.output[0]] = found
        graph.initializer.append(numpy_helper.from_array(found, node.output[0]))
    if len(rest) != len(graph.node):
        del graph.node[:]
        graph.node.extend(rest)
    return len(known)


def _work_out(node: onnx.NodeProto, known: dict[str, NDArray | None], shapes: dict[str, list[int]]) -> NDArray | None:
    if node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
        return np.array(shapes[node.input[0]], np.int64)
    if node.op_type == "Constant" and len(node.attribute) == 1:
        return _constant(node.attribute[0])
    given = [known.get(name) for name in node.input if name]
    if not given or any(value is None for value in given):
        return None
    try:
        with np.errstate(all="ignore"):
            if node.op_type == "Cast":
                return given[0].astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute[0].i))  # type: ignore[union-attr]
            if node.op_type in _ARITHMETIC:
                return np.asarray(_ARITHMETIC[node.op_type](*given))
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError):
        pass  # no shape then; whether it is a graph at all is for onnxruntime to say
    return None


def _constant(attribute: onnx.AttributeProto) -> NDArray | None:
    if attribute.HasField("t"):
        return _value(attribute.t) if math.prod(attribute.t.dims) <= KEPT_ELEMENTS else None
    numbers = {"value_int": attribute.i, "value_float": attribute.f, "value_ints": attribute.ints, "value_floats": attribute.floats}
    return np.array(numbers[attribute.name]) if attribute.name in numbers else None


def _value(tensor: onnx.TensorProto) -> NDArray | None:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None


def _infer(model: onnx.ModelProto, where: str) -> list[onnx.ValueInfoProto]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # onnx's errors share no base class of their own
        raise BundleError(f"{where}: shapes do not fit together: {error}", code="graph_refused") from error
    return [*inferred.graph.value_info, *inferred.graph.output]


def _static(info: onnx.ValueInfoProto) -> list[int] | None:
    kind = info.type.tensor_type
    axes: Iterable[onnx.TensorShapeProto.Dimension] = kind.shape.dim
    return [a.dim_value for a in axes] if kind.HasField("shape") and all(a.HasField("dim_value") for a in axes) else None


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
