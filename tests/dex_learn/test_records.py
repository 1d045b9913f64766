# SPDX-License-Identifier: Apache-2.0
"""Labelled states survive the disk; broken files say so."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.errors import DexError
from dex_learn.records import Records, load_folder


def make(n: int, group: int = 0) -> Records:
    rng = np.random.default_rng(n)

    def f(*shape: int) -> np.ndarray:
        return rng.normal(size=(n, *shape)).astype(np.float32)

    return Records(f(52), f(14), f(12), f(4), np.arange(n) % 2, f(4, 12), f(64, 14), f(8, 12), np.full(n, group))


def test_save_and_load(tmp_path: Path) -> None:
    make(3, 1).save(tmp_path / "a.npz")
    make(2, 2).save(tmp_path / "b.npz")
    both = load_folder(tmp_path)
    assert len(both) == 5 and list(both.group) == [1, 1, 1, 2, 2]
    assert np.array_equal(both.take(slice(0, 3)).arms, make(3, 1).arms)


def test_no_files_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DexError, match="dex_learn.cli demos"):
        load_folder(tmp_path)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", qpos=np.zeros((1, 3)))
    with pytest.raises(DexError, match="written by another version"):
        Records.load(tmp_path / "a.npz")
