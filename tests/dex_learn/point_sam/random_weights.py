# SPDX-License-Identifier: Apache-2.0
"""Weights that hang on their names alone, so that two implementations can be given the same ones; and the file they travel in."""
from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def weights_by_name(sizes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray]:
    """As upstream was run with for ``upstream.npz``: norms near 1, vectors small, matrices that keep lengths."""
    out = {}
    for name, size in sizes.items():
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(size)
        if name.endswith("gaussian_matrix"):
            pass
        elif "norm" in name and name.endswith("weight"):
            values = 1.0 + 0.1 * values
        elif len(size) == 1:
            values = 0.1 * values
        elif "token" in name or "embed.weight" in name or "embeddings" in name:
            values = 0.5 * values
        else:
            values = values / np.sqrt(size[-1])
        out[name] = values.astype(np.float32)
    return out


def write_safetensors(file: Path, tensors: Mapping[str, NDArray], dtype: str = "F32") -> Path:
    """A file as the safetensors library writes it."""
    codes = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
    table, blobs, at = {}, [], 0
    for name, value in tensors.items():
        blob = value.astype(np.float32).view(np.uint32).__rshift__(16).astype("<u2") if dtype == "BF16" else value.astype(codes[dtype])
        table[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [at, at + blob.nbytes]}
        at += blob.nbytes
        blobs.append(blob.tobytes())
    header = json.dumps({"__metadata__": {"format": "pt"}, **table}).encode()
    header += b" " * (-len(header) % 8)
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"".join(blobs))
    return file
