# SPDX-License-Identifier: Apache-2.0
"""openpi's messages: msgpack in which an array is a map of its bytes, type and shape. Read within limits, and never through pickle."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from dex_core.errors import ConfigError, DexError

INSTALL = "pip install -c constraints.txt -r requirements.txt"
MAX_ARRAY_LENGTH, MAX_MAP_LENGTH, MAX_TEXT_BYTES, MAX_DIMENSIONS = 65536, 1024, 1 << 20, 8
_DTYPE = re.compile(r"\|[bui]1|[<>][iu][248]|[<>]f[248]")
_ARRAY_KEYS = frozenset({b"__ndarray__", b"data", b"dtype", b"shape"})
_SCALAR_KEYS = frozenset({b"__npgeneric__", b"data", b"dtype"})


class WireError(DexError):
    """A server's message cannot be read; nothing of it is used."""

    code = "remote_invalid"


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise ConfigError(f"protocol 'openpi' needs the package msgpack: {INSTALL}") from error
    return msgpack


def encode(message: Any) -> bytes:
    """A message of dicts, lists, texts, numbers and arrays. Raises WireError for anything else, and for arrays of objects."""
    try:
        return _msgpack().packb(message, default=_pack)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"this message cannot be sent: {error}") from error


def decode(data: bytes) -> Any:
    """The message in ``data``; its arrays look into ``data`` and are read-only, so nothing larger than the message is ever stored.

    Raises:
        WireError: no msgpack, or beyond the limits above, or an array whose bytes do not fit its type and shape.
    """
    msgpack = _msgpack()
    try:
        return msgpack.unpackb(
            data, object_hook=_unpack, max_array_len=MAX_ARRAY_LENGTH, max_map_len=MAX_MAP_LENGTH, max_str_len=MAX_TEXT_BYTES,
            max_bin_len=len(data), max_ext_len=0,
        )
    except WireError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        raise WireError(f"{len(data)} bytes are no openpi message: {type(error).__name__} {error}") from error


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        _dtype(value.dtype.str)
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        _dtype(value.dtype.str)
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a value of type {type(value).__name__}")


def _unpack(message: dict) -> Any:
    if b"__ndarray__" in message:
        return _array(message)
    if b"__npgeneric__" in message:
        if set(message) != _SCALAR_KEYS or not isinstance(message[b"data"], (bool, int, float)):
            raise WireError(f"a number with keys {sorted(map(repr, message))} and a {type(message.get(b'data')).__name__}")
        try:
            return _dtype(message[b"dtype"]).type(message[b"data"])
        except OverflowError as error:
            raise WireError(f"{message[b'data']} is no {message[b'dtype']}") from error
    return message


def _array(message: dict) -> np.ndarray:
    data, shape = message.get(b"data"), message.get(b"shape")
    if set(message) != _ARRAY_KEYS or not isinstance(data, bytes) or not isinstance(shape, list):
        raise WireError(f"an array with keys {sorted(map(repr, message))}; expected {sorted(map(repr, _ARRAY_KEYS))}")
    dtype = _dtype(message[b"dtype"])
    if len(shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise WireError(f"an array of shape {shape[: MAX_DIMENSIONS + 1]}; allowed: at most {MAX_DIMENSIONS} lengths, none negative")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array of shape {shape} and type {dtype.str} needs {math.prod(shape) * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _dtype(text: Any) -> np.dtype:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise WireError(f"type {text!r:.60} of an array; allowed: bool, whole numbers and floats")
    return np.dtype(text)
