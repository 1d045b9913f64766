# SPDX-License-Identifier: Apache-2.0
"""NumPy's arrays and numbers in pickles: plain blocks of numbers, looked at in the bytes they came in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dex_policy.foreign.unpickle import Made, Maker, PickleRefused

MAX_DIMENSIONS = 8
LETTERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class Dtype(Made):
    """A type as pickles tell it: its letters, then the byte order in its state."""

    def __init__(self, letters: Any, *_flags: Any) -> None:
        if not isinstance(letters, str) or letters not in LETTERS:
            raise PickleRefused(f"an array of type {letters[:40]!r}" if isinstance(letters, str) else "an array of no type")
        self.dtype = np.dtype(letters)

    def build(self, state: Any) -> None:
        """Takes ``(version, order, ...)``."""
        if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str) or state[1] not in ("<", "|", "=", ">"):
            raise PickleRefused("a type of numbers with an unknown state")
        self.dtype = self.dtype.newbyteorder(state[1])


class Array(Made):
    """An array as pickles tell it: nothing, until its state brings shape, type and bytes. ``array``: what it is then."""

    def __init__(self, *_arguments: Any) -> None:
        self.array = np.zeros(0)

    def build(self, state: Any) -> None:
        """Takes ``(version, shape, dtype, in columns, bytes)``."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleRefused("an array with an unknown state")
        _, shape, dtype, columns_first, data = state
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes) or columns_first is not False:
            raise PickleRefused("an array that is no plain block of numbers")
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
            raise PickleRefused("a shape that is none")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise PickleRefused(f"an array of shape {shape} has {len(data)} bytes")
        self.array = np.frombuffer(data, dtype=dtype.dtype).reshape(shape)


class Number(Made):
    """A NumPy number. ``value``: as a plain one."""

    def __init__(self, dtype: Any, data: Any) -> None:
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
            raise PickleRefused("a number that is none")
        self.value: float | int = np.frombuffer(data, dtype=dtype.dtype)[0].item()


NUMPY: dict[tuple[str, str], Maker | None] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): Number for core in ("core", "_core")},
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): Dtype,
}
"""The names in pickles of NumPy's arrays and numbers."""
