# SPDX-License-Identifier: Apache-2.0
"""What the Open Inference Protocol says, free of how it is said: requests, replies, metadata, and what a wire to a server must do.

Specification: https://github.com/kserve/open-inference-protocol (data plane, version 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.manifest import Graph, Tensor
from dex_core.errors import DexError, ShapeError

DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64"}
"""Type of a manifest's tensor -> the protocol's word."""
HASH_KEY = "bundle_hash"
"""Parameter of model metadata, model configuration and replies: hash of the bundle that is served."""
STAMP_KEYS = ("dex_arrived_ns", "dex_inference_started_ns", "dex_inferred_ns", "dex_left_ns")
"""Parameters of a reply: wall clock of the server when the request came, the model began, the model ended, the reply was made [ns]."""
MAX_METADATA_BYTES = 1 << 20
REPLY_HEAD_BYTES = 1 << 16
"""Room in a reply for everything but its numbers."""
NUMBER_BYTES = 28
"""Longest number in a reply's JSON with its comma, in 64 bits: ``-1.7976931348623157e+308, ``."""
Parameters = Mapping[str, "bool | int | str"]


class RemoteError(DexError):
    """What a server did or did not do.

    ``policy_lost``: no usable answer. ``remote_refused``: it answered with an error. ``remote_invalid``: its answer is not what was asked for.
    ``remote_mismatch``: it serves something else than the local bundle.
    """

    code = "policy_lost"


class TensorMetadata(NamedTuple):
    """A tensor as a server declares it; -1 is an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """A model as a server declares it. ``bundle_hash``: empty where the server cannot tell."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    bundle_hash: str = ""


@dataclass(frozen=True)
class Request:
    """One inference. ``outputs``: name -> (type, shape) of what must come back."""

    model: str
    version: str
    id: str
    inputs: Mapping[str, NDArray]
    outputs: Mapping[str, tuple[np.dtype, tuple[int, ...]]]

    @property
    def max_reply_bytes(self) -> int:
        """No honest reply is longer, however it is written."""
        return REPLY_HEAD_BYTES + sum(NUMBER_BYTES * int(np.prod(shape, dtype=np.int64)) for _, shape in self.outputs.values())


@dataclass(frozen=True)
class Reply:
    """What came back, as yet only well-formed."""

    id: str
    model_version: str
    outputs: Mapping[str, NDArray]
    parameters: Parameters = field(default_factory=dict)


class Wire(Protocol):
    """A connection to one server. One thread at a time; every call ends by its deadline (monotonic [ns]) or raises."""

    def open(self, deadline_ns: int) -> None:
        """Connects anew. Raises RemoteError."""

    def ready(self, model: str, version: str, deadline_ns: int) -> bool:
        """Whether the model can be asked. Raises RemoteError or DeadlineError."""

    def metadata(self, model: str, version: str, deadline_ns: int) -> ModelMetadata:
        """What the server says of the model. Raises RemoteError or DeadlineError."""

    def infer(self, request: Request, deadline_ns: int) -> Reply:
        """One inference. Raises RemoteError or DeadlineError."""

    def close(self) -> None:
        """Lets the connection go; twice is once."""


def model_name(bundle: str, graph: str) -> str:
    """What a graph's model is called on a server: ``hand_latents.left_inspire.decoder``."""
    return f"{bundle}.{graph.replace('/', '.')}"


def declared(tensor: Tensor) -> TensorMetadata:
    """A manifest's tensor in the protocol's words."""
    return TensorMetadata(tensor.name, DATATYPES[tensor.dtype], tuple(a if isinstance(a, int) else -1 for a in tensor.shape))


def expected_outputs(name: str, spec: Graph, inputs: Mapping[str, NDArray]) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of each output for these inputs, which are checked already.

    Raises:
        ShapeError: an output has an axis that no input has, so that its size cannot be known beforehand.
    """
    lengths = {a: n for t in spec.inputs for a, n in zip(t.shape, inputs[t.name].shape, strict=True) if isinstance(a, str)}
    found = {}
    for tensor in spec.outputs:
        unknown = [a for a in tensor.shape if isinstance(a, str) and a not in lengths]
        if unknown:
            raise ShapeError(f"graph {name!r}: output {tensor.name!r} has axis {unknown[0]!r}, which no input has; it cannot run remotely")
        found[tensor.name] = (np.dtype(tensor.dtype), tuple(a if isinstance(a, int) else lengths[a] for a in tensor.shape))
    return found


def as_array(where: str, values: object, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    """Numbers out of JSON, flat or nested, as the array that was asked for.

    Raises:
        RemoteError: ``remote_invalid``, other count, something that is no number, or a number that the type does not hold.
    """
    try:
        found = _bytes(values) if dtype == np.uint8 else np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise RemoteError(f"{where} is no regular array: {error}", code="remote_invalid") from error
    if found.dtype.kind not in ("iuf" if dtype.kind == "f" else "iu") or found.size != int(np.prod(shape, dtype=np.int64)):
        raise RemoteError(f"{where} holds {found.dtype} {found.shape}; expected {dtype} {shape}, numbers only", code="remote_invalid")
    if dtype.kind != "f" and found.size and (found.min() < np.iinfo(dtype).min or found.max() > np.iinfo(dtype).max):
        raise RemoteError(f"{where} holds {found.min()} to {found.max()}, more than {dtype} does", code="remote_invalid")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused as such
        return found.astype(dtype).reshape(shape)


def _bytes(values: object) -> NDArray:
    """A flat list of bytes three times as fast as NumPy reads it; anything else as NumPy does."""
    try:
        return np.frombuffer(bytes(values), np.uint8) if isinstance(values, list) else np.asarray(values)
    except (TypeError, ValueError):
        return np.asarray(values)


def from_bytes(where: str, blob: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    """A tensor out of raw little-endian bytes. Raises RemoteError ``remote_invalid`` where their number is another."""
    needed = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(blob) != needed:
        raise RemoteError(f"{where} has {len(blob)} bytes; {dtype} {shape} has {needed}", code="remote_invalid")
    return np.frombuffer(blob, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def check_tensors(where: str, found: Mapping[str, tuple[str, tuple[int, ...]]], wanted: Mapping[str, tuple[np.dtype, tuple[int, ...]]]) -> None:
    """Exactly the outputs asked for. Raises RemoteError ``remote_invalid`` with both values.

    Args:
        found: name -> (the protocol's type, shape) as the reply declares them.
    """
    asked = {name: (DATATYPES[dtype.name], shape) for name, (dtype, shape) in wanted.items()}
    if dict(found) != asked:
        raise RemoteError(f"{where} gives {_words(found)}; asked for was {_words(asked)}", code="remote_invalid")


def _words(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    text = ", ".join(f"{name!r} {datatype} {list(shape)}" for name, (datatype, shape) in tensors.items())
    return text if len(text) <= 300 else text[:299] + "…"
