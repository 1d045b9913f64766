# SPDX-License-Identifier: Apache-2.0
"""Falsifies a message of any type by what it says of its own fields; what it means is never asked."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

EVIL = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 0.0)
EVIL_SHARE = 0.3
FLOATS, BYTES = ("double", "float"), ("uint8", "octet", "int8")


def garble(message: Any, rng: np.random.Generator) -> None:
    """Every floating number becomes evil or random, every byte of a picture random; stamps, names and counts stay."""
    for owner, name, kind in _numbers(message):
        value = getattr(owner, name)
        if kind in BYTES:
            setattr(owner, name, array.array("B", rng.integers(0, 256, len(value), dtype=np.uint8).tobytes()))
        elif np.isscalar(value):
            setattr(owner, name, _evil(rng, 1)[0])
        else:
            setattr(owner, name, _typed(value, _evil(rng, len(value))))


def shift(message: Any, amount: float) -> None:
    """Every list of floating numbers is shifted by ``amount``, every picture rolled by half; a model's hash is another one."""
    for owner, name, kind in _numbers(message):
        value = getattr(owner, name)
        if kind in BYTES:
            setattr(owner, name, array.array("B", np.roll(np.frombuffer(bytes(value), dtype=np.uint8), len(value) // 2).tobytes()))
        elif not np.isscalar(value):
            setattr(owner, name, _typed(value, np.asarray(value, dtype=np.float64) + amount))
    if hasattr(message, "bundle_hash"):
        message.bundle_hash = "another model"


def restamp(old: Any, new: Any) -> Any:
    """``old`` with the header and sequence of ``new``."""
    for name in ("header", "sequence"):
        if hasattr(new, name):
            setattr(old, name, getattr(new, name))
    return old


def _evil(rng: np.random.Generator, count: int) -> np.ndarray:
    values = rng.normal(0.0, 10.0, count)
    bad = rng.random(count) < EVIL_SHARE
    values[bad] = rng.choice(EVIL, int(bad.sum()))
    return values


def _typed(like: Any, values: np.ndarray) -> Any:
    return array.array(like.typecode, values.tolist()) if isinstance(like, array.array) else [float(v) for v in values]


def _numbers(message: Any) -> Iterator[tuple[Any, str, str]]:
    """(owner, field, element type) of every floating field and every list of bytes, at any depth; headers are left out."""
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        element = _element(kind)
        if kind == "std_msgs/Header":
            continue
        if element in FLOATS or (element in BYTES and element != kind):
            yield message, name, element
        elif hasattr(value, "get_fields_and_field_types"):
            yield from _numbers(value)
        elif isinstance(value, (list, tuple)) and value and hasattr(value[0], "get_fields_and_field_types"):
            for part in value:
                yield from _numbers(part)


def _element(kind: str) -> str:
    """``sequence<double, 7>`` and ``double[7]`` -> ``double``."""
    inner = kind[len("sequence<"):].rstrip(">").split(",")[0] if kind.startswith("sequence<") else kind
    return inner.split("[")[0].strip()


class MessageContent:
    """A :class:`dex_sim.fault.Content` of one message type.

    Args:
        read, write: deserialize and serialize it.
        seed: of what is random.
    """

    def __init__(self, read: Callable[[bytes], Any], write: Callable[[Any], bytes], seed: int = 0) -> None:
        self._read, self._write = read, write
        self._rng = np.random.default_rng(seed)

    def again(self, old: bytes, new: bytes) -> bytes:
        """``old`` under the stamp and sequence of ``new``."""
        return self._write(restamp(self._read(old), self._read(new)))

    def garbage(self, data: bytes) -> bytes:
        """Its numbers at random."""
        message = self._read(data)
        garble(message, self._rng)
        return self._write(message)

    def wrong(self, data: bytes, amount: float) -> bytes:
        """Finite but false."""
        message = self._read(data)
        shift(message, amount)
        return self._write(message)
