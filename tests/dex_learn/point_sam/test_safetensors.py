# SPDX-License-Identifier: Apache-2.0
"""Weight files: what is written is read, and nothing damaged is."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.dex_learn.point_sam.random_weights import write_safetensors

from dex_core.errors import DexError
from dex_learn.point_sam.safetensors import read_safetensors

TENSORS = {"a": np.float32([[1.5, -2.0, 0.25], [3.0, 0.0, 1e4]]), "b.weight": np.float32([7.0]), "empty": np.zeros((0, 4), np.float32)}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_numbers_come_back(tmp_path: Path, dtype: str) -> None:
    found = read_safetensors(write_safetensors(tmp_path / "w.safetensors", TENSORS, dtype))
    assert list(found) == ["a", "b.weight", "empty"]
    for name, value in TENSORS.items():
        assert found[name].dtype == np.float32 and found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=0.0 if dtype == "F32" else 5e-3)


def test_integers_stay(tmp_path: Path) -> None:
    found = read_safetensors(write_safetensors(tmp_path / "w.safetensors", {"n": np.array([3, -4])}, "I64"))
    assert found["n"].dtype == np.int64 and found["n"].tolist() == [3, -4]


def file_of(path: Path, table: object, data: bytes = b"\0" * 8) -> Path:
    header = json.dumps(table).encode() if not isinstance(table, bytes) else table
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(("table", "words"), [
    (b"not json", "its table is no JSON"),
    ([1, 2], "its table is a list"),
    ({"x": {**ENTRY, "data_offsets": [0, 12]}}, "'x'.*in bytes 0 to 12; the file holds 8"),
    ({"x": {**ENTRY, "data_offsets": [-8, 0]}}, "'x'"),
    ({"x": {**ENTRY, "shape": [3]}}, r"'x': \[3\] of F32 in bytes 0 to 8"),
    ({"x": {**ENTRY, "shape": [-2]}}, "'x'"),
    ({"x": {**ENTRY, "dtype": "F8_E4M3"}}, "'x'.*expected dtype"),
    ({"x": {"dtype": "F32"}}, "'x'.*expected dtype"),
    ({"x": "text"}, "'x'"),
    ({"x": ENTRY, "y": {**ENTRY, "shape": [1], "data_offsets": [4, 8]}}, "'x' and 'y' overlap"),
])
def test_damaged_tables_are_refused(tmp_path: Path, table: object, words: str) -> None:
    with pytest.raises(DexError, match=words) as caught:
        read_safetensors(file_of(tmp_path / "w.safetensors", table))
    assert caught.value.code == "weights_unreadable"


@pytest.mark.parametrize("content", [b"", b"\1\2\3", (1 << 40).to_bytes(8, "little") + b"{}", (200).to_bytes(8, "little") + b"{}"])
def test_no_such_file_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(DexError, match="no safetensors file"):
        read_safetensors(tmp_path / "w.safetensors")
    with pytest.raises(DexError, match="does not exist"):
        read_safetensors(tmp_path / "other")
