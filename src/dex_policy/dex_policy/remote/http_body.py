# SPDX-License-Identifier: Apache-2.0
"""Requests and replies of the Open Inference Protocol as HTTP bodies: JSON, or JSON followed by raw tensors where the server takes them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_policy.remote.wire import (
    DATATYPES,
    HASH_KEY,
    ModelMetadata,
    Parameters,
    RemoteError,
    Reply,
    Request,
    TensorMetadata,
    as_array,
    check_tensors,
    from_bytes,
)

JSON_LENGTH = "Inference-Header-Content-Length"
"""Header of the binary tensor data extension: how much of the body is JSON."""
EXTENSION = "binary_tensor_data"
_BYTES = np.frombuffer("".join(f"{byte:3d}," for byte in range(256)).encode(), np.uint8).reshape(256, 4)
"""Each byte as JSON writes it; blanks before a number are allowed."""


def pack(request: Request, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one inference."""
    inputs, raw = [], []
    for name, value in request.inputs.items():
        entry: dict[str, Any] = {"name": name, "shape": list(value.shape), "datatype": DATATYPES[value.dtype.name]}
        if binary:
            raw.append(np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        text = json.dumps(entry, separators=(",", ":")).encode()
        inputs.append(text if binary else b"".join([text[:-1], b',"data":[', _numbers(value), b"]}"]))
    outputs = [{"name": name, **({"parameters": {"binary_data": True}} if binary else {})} for name in request.outputs]
    rest = json.dumps({"id": request.id, "outputs": outputs}, separators=(",", ":")).encode()
    head = b"".join([rest[:-1], b',"inputs":[', b",".join(inputs), b"]}"])
    if not binary:
        return head, {"Content-Type": "application/json"}
    return b"".join([head, *raw]), {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}


def _numbers(value: NDArray) -> bytes:
    """An array's numbers with commas between them; bytes, of which a picture has many, by a table instead of one by one."""
    if value.dtype == np.uint8:
        return _BYTES[value.ravel()].tobytes()[:-1]
    return json.dumps(value.ravel().tolist(), separators=(",", ":"), allow_nan=False).encode()[1:-1]


def unpack(where: str, body: bytes, json_length: str | None, request: Request) -> Reply:
    """The reply to ``request``.

    Args:
        where: names the server in errors. json_length: header ``Inference-Header-Content-Length``, None: all of the body is JSON.

    Raises:
        RemoteError: ``remote_invalid``.
    """
    end = len(body)
    if json_length is not None:
        if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 19) or int(json_length) > end:
            raise RemoteError(f"{where}: {JSON_LENGTH} is {json_length[:40]!r}, the body has {end} bytes", code="remote_invalid")
        end = int(json_length)
    data = parse(where, body[:end])
    entries = data.get("outputs")
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise RemoteError(f"{where}: the reply has no list of outputs", code="remote_invalid")
    tensors = [_tensor(where, e) for e in entries]
    if len({t.name for t in tensors}) != len(tensors):
        raise RemoteError(f"{where}: the reply gives an output twice: {[t.name for t in tensors]}", code="remote_invalid")
    check_tensors(where, {t.name: (t.datatype, t.shape) for t in tensors}, request.outputs)
    outputs, rest = {}, memoryview(body)[end:]
    for entry, tensor in zip(entries, tensors, strict=True):
        place, (dtype, shape) = f"{where}: output {tensor.name!r}", request.outputs[tensor.name]
        size = _mapping(entry, "parameters").get("binary_data_size")
        if size is None:
            outputs[tensor.name] = as_array(place, entry.get("data"), dtype, shape)
            continue
        if not _whole(size) or size > len(rest):
            raise RemoteError(f"{place}: binary_data_size is {size!r}, {len(rest)} bytes are left", code="remote_invalid")
        outputs[tensor.name], rest = from_bytes(place, rest[:size], dtype, shape), rest[size:]
    if len(rest):
        raise RemoteError(f"{where}: {len(rest)} bytes after the last output", code="remote_invalid")
    return Reply(_text(data, "id"), _text(data, "model_version"), outputs, _parameters(data))


def parse(where: str, body: bytes) -> dict[str, Any]:
    """A JSON object, NaN and infinity refused. Raises RemoteError ``remote_invalid``."""

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no JSON")

    try:
        data = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"{where}: the answer is no JSON ({error}): {body[:80]!r}", code="remote_invalid") from error
    if not isinstance(data, dict):
        raise RemoteError(f"{where}: the answer is a JSON {type(data).__name__}, expected an object", code="remote_invalid")
    return data


def unpack_metadata(where: str, body: bytes) -> ModelMetadata:
    """What a server says of a model. Raises RemoteError ``remote_invalid``."""
    data = parse(where, body)
    sides = []
    for side in ("inputs", "outputs"):
        entries = data.get(side)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise RemoteError(f"{where}: the metadata has no list of {side}", code="remote_invalid")
        sides.append(tuple(_tensor(where, e) for e in entries))
    versions = data.get("versions") or []
    if not isinstance(versions, list) or not all(isinstance(v, str) for v in versions):
        raise RemoteError(f"{where}: versions is {versions!r}, expected a list of texts", code="remote_invalid")
    told = _mapping(data, "parameters").get(HASH_KEY)
    return ModelMetadata(_text(data, "name"), tuple(versions), *sides, told if isinstance(told, str) else "")


def hash_in_configuration(where: str, body: bytes) -> str:
    """The bundle's hash in Triton's model configuration, its one place for texts of one's own; empty where there is none."""
    told = _mapping(_mapping(parse(where, body), "parameters"), HASH_KEY).get("string_value")
    return told if isinstance(told, str) else ""


def _tensor(where: str, entry: dict[str, Any]) -> TensorMetadata:
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(_whole(a, -1) for a in shape) or len(shape) > 32:
        raise RemoteError(f"{where}: a tensor has shape {str(shape)[:80]}, expected a list of whole numbers", code="remote_invalid")
    return TensorMetadata(_text(entry, "name"), _text(entry, "datatype"), tuple(shape))


def _parameters(data: dict[str, Any]) -> Parameters:
    return {k: v for k, v in _mapping(data, "parameters").items() if isinstance(v, (bool, int, str))}


def _mapping(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 48
