# SPDX-License-Identifier: Apache-2.0
"""One ONNX graph in onnxruntime, with its inputs and outputs checked at every call."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dex_core.bundle.manifest import Graph, Tensor
from dex_core.errors import BundleError, NonFiniteError, ShapeError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def choose_provider(wanted: str, allowed: tuple[str, ...]) -> str:
    """The provider to serve with: ``cpu`` or ``cuda``.

    Args:
        wanted: ``auto`` (CUDA where it is, else CPU), ``cpu`` or ``cuda``.
        allowed: what the manifest allows.

    Raises:
        BundleError: ``provider_missing``, naming what this machine has.
    """
    here = [name for name, provider in PROVIDERS.items() if provider in ort.get_available_providers()]
    usable = [name for name in here if name in allowed]
    if wanted == "auto" and usable:
        return "cuda" if "cuda" in usable else usable[0]
    if wanted not in usable:
        raise BundleError(f"provider {wanted!r}: this machine has {here}, the manifest allows {list(allowed)}", code="provider_missing")
    return wanted


def open_session(what: str, model: bytes | str, provider: str, threads: int) -> ort.InferenceSession:
    """A model file or its bytes, ready to run.

    Args:
        what: names it in errors. provider: ``cpu`` or ``cuda``. threads: of one operator.

    Raises:
        BundleError: ``graph_refused``, onnxruntime does not take it; ``provider_missing``, it took another provider.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model, options, providers=[PROVIDERS[provider]])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise BundleError(f"{what}: onnxruntime refuses it: {error}", code="graph_refused") from error
    used = session.get_providers()[0]
    if used != PROVIDERS[provider]:
        raise BundleError(f"{what}: provider {provider!r} was asked for, onnxruntime took {used!r}", code="provider_missing")
    return session


class GraphSession:
    """Runs one graph. Thread-safe as onnxruntime's own ``run`` is.

    Attributes:
        name: graph name, e.g. ``left_inspire/decoder``.
        spec: its description in the manifest.
        provider: ``cpu`` or ``cuda``, the one really in use.
    """

    def __init__(self, name: str, spec: Graph, model: bytes | str, provider: str = "cpu", threads: int = 1) -> None:
        self._session = open_session(f"graph {name!r}", model, provider, threads)
        self.name, self.spec, self.provider = name, spec, provider
        self._output_names = [t.name for t in spec.outputs]

    def described_inputs(self) -> list[tuple[str, str, list]]:
        """(name, type, shape) of each input as the file itself declares it."""
        return [(t.name, t.type, list(t.shape)) for t in self._session.get_inputs()]

    def described_outputs(self) -> list[tuple[str, str, list]]:
        """(name, type, shape) of each output as the file itself declares it."""
        return [(t.name, t.type, list(t.shape)) for t in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference: exactly the declared inputs, right type and shape, finite, batch at least 1; outputs finite too.

        Raises:
            ShapeError: other keys, element type or shape.
            NonFiniteError: NaN or infinity going in or coming out.
        """
        wanted = [t.name for t in self.spec.inputs]
        if set(inputs) != set(wanted):
            raise ShapeError(f"graph {self.name!r}: inputs {sorted(inputs)}, expected exactly {sorted(wanted)}")
        axes: dict[str, int] = {}
        for tensor in self.spec.inputs:
            self._check_input(tensor, inputs[tensor.name], axes)
        outputs = dict(zip(self._output_names, self._session.run(self._output_names, dict(inputs)), strict=False))
        for name, value in outputs.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise NonFiniteError(
                    f"graph {self.name!r}: output {name!r} holds {np.count_nonzero(~np.isfinite(value))} numbers that are not finite"
                )
        return outputs

    def _check_input(self, tensor: Tensor, value: NDArray, axes: dict[str, int]) -> None:
        where = f"graph {self.name!r}: input {tensor.name!r}"
        if not isinstance(value, np.ndarray) or value.dtype != np.dtype(tensor.dtype) or value.ndim != len(tensor.shape):
            got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ShapeError(f"{where} is {got}; expected {tensor.dtype} {list(tensor.shape)}")
        for length, axis in zip(value.shape, tensor.shape, strict=False):
            if isinstance(axis, int):
                fits = length == axis
            else:
                low, high = self.spec.dynamic[axis]
                fits = low <= length <= high and axes.setdefault(axis, length) == length
            if not fits:
                raise ShapeError(f"{where} has shape {value.shape}; expected {list(tensor.shape)} with {self.spec.dynamic}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise NonFiniteError(f"{where} holds {np.count_nonzero(~np.isfinite(value))} numbers that are not finite")


def run_rows(session: GraphSession, rows: NDArray) -> NDArray[np.float32]:
    """Runs a graph of one input and one output over (N, ...) rows, in batches the manifest allows.

    Args:
        session: e.g. an encoder or a decoder.
        rows: N inputs, cast to the input's type.

    Returns:
        (N, ...) outputs.
    """
    tensor = session.spec.inputs[0]
    axis = tensor.shape[0]
    largest = session.spec.dynamic[axis][1] if isinstance(axis, str) else int(axis)
    values = np.ascontiguousarray(rows, dtype=tensor.dtype)
    name = session.spec.outputs[0].name
    parts = [session.run({tensor.name: values[i : i + largest]})[name] for i in range(0, len(values), largest)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
