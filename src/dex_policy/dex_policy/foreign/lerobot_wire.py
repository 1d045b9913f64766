# SPDX-License-Identifier: Apache-2.0
"""LeRobot's asynchronous inference on the wire: three protobuf messages that wrap pickles, which are written by hand and read by an interpreter.

Checked against lerobot 0.4.4; the messages are the same up to 0.6.1.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dex_core.errors import DexError
from dex_core.types import Array
from dex_policy.foreign.arrays import NUMPY, Number
from dex_policy.foreign.arrays import Array as PickledArray
from dex_policy.foreign.tensors import TORCH
from dex_policy.foreign.unpickle import Maker, PickleRefused, Record, read_pickle

HELPERS = "lerobot.async_inference.helpers"
SERVICE = "/transport.AsyncInference/"
BLOCK_BYTES = 2 << 20
MAX_STEPS = 4096
_BEGIN, _MIDDLE, _END = 1, 2, 3
_NAMES: dict[tuple[str, str], Maker | None] = {(HELPERS, "TimedAction"): None, **TORCH, **NUMPY}


def pickled(word: str, fields: Mapping[str, Any]) -> bytes:
    """The pickle of an object of a class of LeRobot's helpers, of plain fields, made without the class: name, empty object, fields."""
    state = pickle.dumps(dict(fields), protocol=4)
    name = f"c{HELPERS}\n{word}\n".encode("ascii")  # GLOBAL
    return b"\x80\x04" + name + b")\x81" + state[2:-1] + b"b."  # EMPTY_TUPLE NEWOBJ, the fields less PROTO and STOP, BUILD STOP


def read_actions(data: bytes) -> tuple[Array, int]:
    """(T, n) numbers of a list of timed actions, and the time step of the first.

    Raises:
        PickleRefused: the pickle holds anything else, or steps that do not follow each other.
    """
    actions, end = read_pickle(data, _NAMES)
    if end != len(data) or not isinstance(actions, list) or not 1 <= len(actions) <= MAX_STEPS:
        raise PickleRefused(f"an answer is a list of 1 to {MAX_STEPS} timed actions, and nothing after it")
    rows, steps = [], []
    for action in actions:
        if not isinstance(action, Record) or action.name.word != "TimedAction" or set(action.fields) != {"timestamp", "timestep", "action"}:
            raise PickleRefused("a timed action has timestamp, timestep and action")
        stamp, step, numbers = (_plain(action.fields[key]) for key in ("timestamp", "timestep", "action"))
        if type(step) is not int or not isinstance(stamp, (int, float)) or not math.isfinite(stamp):
            raise PickleRefused("a timed action without time")
        if not isinstance(numbers, np.ndarray) or numbers.ndim != 1 or (rows and numbers.shape != rows[0].shape):
            raise PickleRefused("the numbers of a timed action are one row, as long as the others")
        rows.append(numbers)
        steps.append(step)
    if sum(row.nbytes for row in rows) > len(data):
        raise PickleRefused(f"{len(data)} bytes claim to hold {len(rows)} x {rows[0].size} numbers")
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise PickleRefused("time steps that do not follow each other")
    return np.stack(rows), steps[0]


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Number) else value.array if isinstance(value, PickledArray) else value


def blocks(data: bytes) -> Iterator[bytes]:
    """The messages ``Observation`` that carry a pickle, 2 MiB each."""
    for at in range(0, len(data), BLOCK_BYTES):
        last = at + BLOCK_BYTES >= len(data)
        state = _END if last else _BEGIN if at == 0 else _MIDDLE
        yield b"\x08" + bytes([state]) + _field(0x12, data[at : at + BLOCK_BYTES])


def setup_message(data: bytes) -> bytes:
    """The message ``PolicySetup``."""
    return _field(0x0A, data)


def actions_message(message: bytes) -> bytes:
    """The pickle in a message ``Actions``; empty where the server had none. Raises DexError ``remote_invalid``."""
    at, data = 0, b""
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag != 0x0A or at + length > len(message):
            raise DexError(f"{len(message)} bytes are no message of LeRobot's server", code="remote_invalid")
        data, at = message[at : at + length], at + length
    return data


def _field(tag: int, data: bytes) -> bytes:
    length, out = len(data), bytearray([tag])
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise DexError("a number in a message of LeRobot's server has no end", code="remote_invalid")
