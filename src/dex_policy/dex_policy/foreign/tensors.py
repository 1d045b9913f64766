# SPDX-License-Identifier: Apache-2.0
"""torch's tensors in pickles, as NumPy arrays and without torch: the storage format of ``torch.save`` before zip files, read within its bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from dex_policy.foreign.arrays import MAX_DIMENSIONS, Array
from dex_policy.foreign.unpickle import Made, Maker, Name, PickleRefused, read_pickle

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
}
_STORAGE_NAMES: dict[tuple[str, str], Maker | None] = {("torch", name): None for name in STORAGES}


class Storage(Made):
    """Numbers in a row, (n,)."""

    def __init__(self, numbers: np.ndarray, work: int) -> None:
        self.numbers, self.work = numbers, work


class Hooks(Made):
    """The empty dict of hooks that every tensor has."""


def load_storage(data: Any) -> Storage:
    """What ``torch.storage._load_from_bytes`` would read: five pickles, then the numbers. Raises PickleRefused."""
    if not isinstance(data, bytes):
        raise PickleRefused("a storage that is no bytes")
    at, values = 0, []
    for _ in range(5):
        value, at = read_pickle(data, _STORAGE_NAMES, _storage_id, at)
        values.append(value)
    magic, protocol, system, root, keys = values
    if magic != MAGIC or protocol != PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleRefused("a storage of an unknown format")
    if not isinstance(root, _StorageId) or not isinstance(keys, list) or keys != [root.key]:
        raise PickleRefused("a storage that is not told as one")
    (count,) = struct.unpack("<q", data[at : at + 8]) if len(data) >= at + 8 else (-1,)
    itemsize = 2 if root.dtype == "bfloat16" else np.dtype(root.dtype).itemsize
    if count != root.count or count * itemsize != len(data) - at - 8:
        raise PickleRefused(f"a storage of {root.count} numbers has {len(data) - at - 8} bytes")
    if root.dtype == "bfloat16":  # the upper half of a float32
        return Storage((np.frombuffer(data, "<u2", offset=at + 8).astype("<u4") << 16).view("<f4"), 2 * len(data))
    return Storage(np.frombuffer(data, root.dtype, offset=at + 8), len(data))


class _StorageId(Made):
    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.dtype, self.key, self.count = dtype, key, count


def _storage_id(told: Any) -> _StorageId:
    """``('storage', type, key, device, count, None)``: where it lived does not matter."""
    if not isinstance(told, tuple) or len(told) != 6 or told[0] != "storage" or not isinstance(told[1], Name) or told[5] is not None:
        raise PickleRefused("a storage that is not told as one")
    _, kind, key, _, count, _ = told
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise PickleRefused("a storage without key or length")
    return _StorageId(STORAGES[kind.word], key, count)


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, *rest: Any) -> Array:
    """The view of a storage that a tensor is. Raises PickleRefused for one that leaves its storage or is larger than it."""
    whole = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else ("none",)
    if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in whole) or len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
        raise PickleRefused("a tensor that is none")
    numbers, count = storage.numbers, 1
    for n in size:
        count *= n
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count > len(numbers) or (count and last >= len(numbers)):
        raise PickleRefused(f"a tensor of shape {size} reaches beyond its storage of {len(numbers)} numbers")
    steps = tuple(s * numbers.itemsize for s in stride)
    out = Array()
    out.array = np.lib.stride_tricks.as_strided(numbers[offset:], size, steps, writeable=False) if count else np.zeros(size, dtype=numbers.dtype)
    return out


TORCH: dict[tuple[str, str], Maker | None] = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): load_storage,
    ("collections", "OrderedDict"): Hooks,
}
"""The names in pickles of torch's tensors."""
