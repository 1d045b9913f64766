# SPDX-License-Identifier: Apache-2.0
"""What every runtime of a graph gives, and the checks of its inputs and outputs at each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import BundleError, NonFiniteError, ShapeError

if TYPE_CHECKING:  # the bundle package imports this one
    from dex_core.bundle.manifest import Graph, Manifest, Tensor

Described = list[tuple[str, str, list]]
"""(name, type, shape) of tensors as the file or the server itself declares them; types as onnxruntime writes them, ``tensor(float)``."""


class GraphFailed(BundleError):
    """The runtime itself could not run a graph on inputs that passed every check: memory, a lost device. Nothing is known of its state any more."""

    code = "graph_failed"


@runtime_checkable
class Session(Protocol):
    """One graph, ready to run, here or on another machine.

    Attributes:
        name: graph name, e.g. ``left_inspire/decoder``.
        spec: its description in the local manifest, which is the authority wherever the graph runs.
        provider: what runs it, e.g. ``cpu``, ``cuda``, or the name of a remote protocol.
    """

    name: str
    spec: Graph
    provider: str

    def run(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """One inference. Raises ShapeError or NonFiniteError as :func:`check_inputs` and :func:`check_outputs` do; GraphFailed; any DexError."""

    def described_inputs(self) -> Described:
        """What the file or the server says of the inputs."""

    def described_outputs(self) -> Described:
        """What the file or the server says of the outputs."""

    def stamps_ns(self) -> Mapping[str, int]:
        """Stage of the last call -> wall-clock time [ns], in this machine's clock; empty for a graph that runs here."""

    def close(self) -> None:
        """Lets go of what it holds; twice is once."""


OpenSession = Callable[[str, "Graph", "Manifest", "bytes | str"], Session]
"""(graph name, its description, manifest, file's bytes or its path) -> what runs it."""


def check_inputs(name: str, spec: Graph, inputs: Mapping[str, NDArray]) -> None:
    """Exactly the declared inputs, right type and shape, finite, batch at least 1.

    Raises:
        ShapeError: other keys, element type or shape.
        NonFiniteError: NaN or infinity.
    """
    wanted = [t.name for t in spec.inputs]
    if set(inputs) != set(wanted):
        raise ShapeError(f"graph {name!r}: inputs {sorted(inputs)}, expected exactly {sorted(wanted)}")
    axes: dict[str, int] = {}
    for tensor in spec.inputs:
        _check(f"graph {name!r}: input {tensor.name!r}", spec, tensor, inputs[tensor.name], axes)


def check_outputs(name: str, spec: Graph, outputs: Mapping[str, NDArray]) -> None:
    """Exactly the declared outputs, right type, rank and fixed axes, finite: wherever they were computed.

    Raises:
        ShapeError: other keys, element type or shape.
        NonFiniteError: NaN or infinity.
    """
    wanted = [t.name for t in spec.outputs]
    if set(outputs) != set(wanted):
        raise ShapeError(f"graph {name!r}: outputs {sorted(outputs)}, expected exactly {sorted(wanted)}")
    for tensor in spec.outputs:
        where, value = f"graph {name!r}: output {tensor.name!r}", outputs[tensor.name]
        fixed = all(a == b for a, b in zip(tensor.shape, value.shape, strict=False) if isinstance(a, int))
        if value.dtype != np.dtype(tensor.dtype) or value.ndim != len(tensor.shape) or not fixed:
            raise ShapeError(f"{where} is {value.dtype} {value.shape}; expected {tensor.dtype} {list(tensor.shape)}")
        _check_finite(where, value)


def _check(where: str, spec: Graph, tensor: Tensor, value: NDArray, axes: dict[str, int]) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(tensor.dtype) or value.ndim != len(tensor.shape):
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ShapeError(f"{where} is {got}; expected {tensor.dtype} {list(tensor.shape)}")
    for length, axis in zip(value.shape, tensor.shape, strict=False):
        if isinstance(axis, int):
            fits = length == axis
        else:
            low, high = spec.dynamic[axis]
            fits = low <= length <= high and axes.setdefault(axis, length) == length
        if not fits:
            raise ShapeError(f"{where} has shape {value.shape}; expected {list(tensor.shape)} with {spec.dynamic}")
    _check_finite(where, value)


def _check_finite(where: str, value: NDArray) -> None:
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise NonFiniteError(f"{where} holds {np.count_nonzero(~np.isfinite(value))} numbers that are not finite")


def run_rows(session: Session, rows: NDArray) -> NDArray[np.float32]:
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
