# SPDX-License-Identifier: Apache-2.0
"""Records go to disk and back, are joined only where they mean the same joints, and old files are told."""
from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from tests.dex_learn.policy.made import made_records  # noqa: E402

from dex_core.errors import DexError  # noqa: E402
from dex_learn.policy.records import COLUMNS, Records  # noqa: E402


def test_there_and_back(tmp_path: Path) -> None:
    records = made_records("leap", 7)
    records.save(tmp_path / "a.npz")
    again = Records.load(tmp_path / "a.npz")
    assert again.hand == "leap" and len(again) == 7
    assert all(np.array_equal(getattr(records, f.name), getattr(again, f.name)) for f in fields(Records))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_join_and_take() -> None:
    a, b = made_records("inspire", 3, 1), made_records("inspire", 4, 2)
    both = Records.join([a, b])
    assert len(both) == 7 and np.array_equal(both.take(np.arange(3, 7)).paths, b.paths)
    with pytest.raises(DexError, match="join those of one hand"):
        Records.join([a, made_records("leap", 2)])
    with pytest.raises(DexError, match="no records"):
        Records.join([])


def test_a_file_of_another_version_is_told(tmp_path: Path) -> None:
    records = made_records("inspire", 2)
    np.savez(tmp_path / "old.npz", hand="inspire", **{name: getattr(records, name) for name in COLUMNS if name != "paths"})
    with pytest.raises(DexError, match=r"has no \['paths'\]"):
        Records.load(tmp_path / "old.npz")
