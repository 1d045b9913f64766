# SPDX-License-Identifier: Apache-2.0
"""Reads ``.safetensors`` files: a length, a JSON table, plain numbers; nothing in them can run.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.errors import DexError

MAX_HEADER = 100_000_000
_DTYPES = {name: np.dtype(code) for name, code in (("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("BF16", "<u2"), ("I64", "<i8"), ("I32", "<i4"))}
_PREFIX = 8


def _fail(text: str) -> DexError:
    return DexError(text, code="weights_unreadable")


def read_safetensors(file: Path) -> dict[str, NDArray]:
    """Every tensor of a file as float32 (integers stay), mapped from disk where it is float32 already.

    Raises:
        DexError: ``weights_unreadable``: no such file, damaged, tensors that overlap or leave the file, or a type that is not read; names the tensor.
    """
    if not file.is_file():
        raise _fail(f"{file} does not exist")
    table, start = _table(file)
    size = file.stat().st_size - start
    spans = sorted(_span(file, name, entry, size) + (name,) for name, entry in table.items())
    for (_, end, first), (begin, _, second) in zip(spans, spans[1:], strict=False):
        if begin < end:
            raise _fail(f"{file}: tensors {first!r} and {second!r} overlap")
    data = np.memmap(file, dtype=np.uint8, mode="r", offset=start) if size else np.empty(0, np.uint8)
    return {name: _tensor(data[begin:end], table[name]) for begin, end, name in spans}


def _table(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as stream:
        prefix = stream.read(_PREFIX)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < _PREFIX or not 2 <= length <= min(MAX_HEADER, file.stat().st_size - _PREFIX):
            raise _fail(f"{file}: no safetensors file: its table would be {length} bytes long")
        try:
            table = json.loads(stream.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _fail(f"{file}: no safetensors file: its table is no JSON: {error}") from error
    if not isinstance(table, dict):
        raise _fail(f"{file}: no safetensors file: its table is a {type(table).__name__}")
    table.pop("__metadata__", None)
    return table, _PREFIX + length


def _span(file: Path, name: str, entry: Any, size: int) -> tuple[int, int]:
    """First and last byte (exclusive) of one tensor, checked against its type and shape."""
    try:
        dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]], (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise _fail(f"{file}: tensor {name!r}: {entry!r}; expected dtype (one of {list(_DTYPES)}), shape and data_offsets") from error
    if min(shape, default=1) < 0 or not 0 <= begin <= end <= size or end - begin != math.prod(shape) * dtype.itemsize:
        raise _fail(f"{file}: tensor {name!r}: {shape} of {entry['dtype']} in bytes {begin} to {end}; the file holds {size}")
    return begin, end


def _tensor(raw: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray:
    values = raw.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values if values.dtype.kind == "i" else values.astype(np.float32, copy=False)
