# SPDX-License-Identifier: Apache-2.0
"""From a torch module to ONNX bytes, with proof that both compute the same."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from dex_core.errors import DexError

OPSET = 18
IR_VERSION = 9
Arrays = dict[str, NDArray]
Case = tuple[Arrays, Arrays]


def to_onnx(module: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> bytes:
    """ONNX of a module in eval mode; axis 0 of every input and output is dynamic and called ``B``.

    Args:
        module: takes the inputs in the order given, returns one tensor per name in ``outputs``.
        inputs: name -> example, at least two rows.
        outputs: names of what it returns.
    """
    module.eval()
    buffer = io.BytesIO()
    axes = {name: {0: "B"} for name in (*inputs, *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor
        torch.onnx.export(
            module, tuple(inputs.values()), buffer, opset_version=OPSET, input_names=list(inputs), output_names=list(outputs),
            dynamic_axes=axes, dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.ir_version = IR_VERSION
    shapes = run_torch(module, {name: value.numpy() for name, value in inputs.items()}, outputs)
    for value in model.graph.output:
        for axis, length in enumerate(shapes[value.name].shape[1:], 1):  # the tracer leaves computed lengths unnamed
            value.type.tensor_type.shape.dim[axis].dim_value = length
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def run_torch(module: nn.Module, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
    """The module's outputs by name for NumPy inputs, without gradients."""
    with torch.no_grad():
        result = module(*(torch.from_numpy(np.ascontiguousarray(v)) for v in inputs.values()))
    tensors = result if isinstance(result, tuple) else (result,)
    return {name: t.numpy() for name, t in zip(outputs, tensors, strict=True)}


def run_onnx(graph: bytes, inputs: Arrays) -> Arrays:
    """The graph's outputs by name, on one CPU thread."""
    session = session_of(graph)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def session_of(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session of ONNX bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def check_parity(graph: bytes, cases: Sequence[Case], atol: float, where: str) -> float:
    """Largest difference between the cases' outputs and the graph's.

    Raises:
        DexError: ``parity_failed`` when it is above ``atol``, or a number is not finite.
    """
    worst = 0.0
    for inputs, outputs in cases:
        got = run_onnx(graph, inputs)
        for name, expected in outputs.items():
            difference = float(np.max(np.abs(got[name].astype(np.float64) - expected)))
            worst = max(worst, difference)
            if not difference <= atol:
                text = f"{where}: output {name!r} differs by {difference:.2e} from torch; at most {atol:.0e} is allowed"
                raise DexError(text, code="parity_failed")
    return worst


def code_revision(given: str = "", file: Path = Path(__file__)) -> str:
    """Revision of the code that trains, for a bundle's training record.

    Args:
        given: what the caller says it is. Without it git is asked about the checkout that ``file`` belongs to; ``+changes`` is added where
            tracked files beside it are not as committed.
        file: a file of that code.

    Raises:
        DexError: ``code_unknown``, nothing was given and ``file`` is not in a checkout.
    """
    if given.strip():
        return given.strip()
    place = file.resolve()
    try:
        _git(place.parent, "ls-files", "--error-unmatch", place.name)
        head = _git(place.parent, "rev-parse", "HEAD")
        changed = _git(place.parent, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError) as error:
        text = f"{place.parent} is no git checkout, so nobody knows which code this is; say it with  --code REVISION"
        raise DexError(text, code="code_unknown") from error
    return f"{head}+changes" if changed else head


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
