# SPDX-License-Identifier: Apache-2.0
"""Point networks to ONNX through ``torch.export``: free batch and free number of points, sampling as one ``Scan``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from dex_core.errors import DexError

OPSET = 18
IR_VERSION = 10
Axes = Mapping[str, Mapping[int, str]]
Bounds = Mapping[str, tuple[int, int]]


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Axes, bounds: Bounds) -> bytes:
    """ONNX bytes of a module in eval mode.

    Args:
        module: takes the inputs in the order given, returns one tensor per name in ``outputs``.
        inputs: name -> example. Free axes need lengths that differ from each other and from 1: equal lengths may become one length.
        outputs: names of what it returns.
        axes: input or output name -> axis -> name of its free length, e.g. ``{"coords": {0: "B", 1: "N"}}``; every other axis is fixed.
        bounds: name of a free length -> smallest and largest.

    Raises:
        DexError: ``export_failed``: a length is free that should be fixed, or fixed that should be free; names tensor and axis.
    """
    return _model(module, inputs, outputs, axes, bounds).SerializeToString()


def save_onnx(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Axes, bounds: Bounds, file: Path, *, inline_bytes: int
) -> Path | None:
    """As ``to_onnx``, into a file; above ``inline_bytes`` (2 GiB is ONNX's own end) the weights lie in ``<file>.data``, whose path is returned."""
    model = _model(module, inputs, outputs, axes, bounds)
    if model.ByteSize() <= inline_bytes:
        onnx.save_model(model, file)
        return None
    data = file.with_name(file.name + ".data")
    data.unlink(missing_ok=True)  # the writer appends
    onnx.save_model(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
    return data


def _model(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Axes, bounds: Bounds) -> onnx.ModelProto:
    sizes = {name: torch.export.Dim(name, min=low, max=high) for name, (low, high) in bounds.items()}
    shapes = tuple({axis: sizes[size] for axis, size in axes.get(name, {}).items()} for name in inputs)
    with _quiet():
        program = torch.onnx.export(
            module.eval(), tuple(inputs.values()), dynamo=True, opset_version=OPSET, input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=shapes, verbose=False,
        )
    assert program is not None  # None is what the older exporter returns
    model = program.model_proto
    model.ir_version = IR_VERSION
    for value in (*model.graph.input, *model.graph.output):
        _check_axes(value, axes.get(value.name, {}))
    _strip(model.graph)
    for function in model.functions:
        _strip(function)
    del model.metadata_props[:]
    return model


def _check_axes(value: onnx.ValueInfoProto, free: Mapping[int, str]) -> None:
    """What is to be free is free and bears its name; the rest is fixed."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        fixed = dim.HasField("dim_value")
        if fixed == (axis in free):
            found = dim.dim_value if fixed else dim.dim_param or "free"
            raise DexError(f"export: axis {axis} of {value.name!r} is {found}; it was to be {free.get(axis, 'fixed')}", code="export_failed")
        if not fixed:
            dim.dim_param = free[axis]


def _strip(part: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Takes out the exporter's notes (places in the source, names of modules), which are most of a small file."""
    if isinstance(part, onnx.GraphProto):
        for value in (*part.input, *part.output, *part.initializer):
            del value.metadata_props[:]
        del part.value_info[:]
    del part.metadata_props[:]
    for node in part.node:
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter names every optional library that is not there, and torch its own deprecated parts."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
