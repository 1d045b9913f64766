# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes become tables, the same ones again from the cache."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.errors import DexError
from dex_learn.picker import tables
from dex_perception.segment.candidates import FEATURES

pytestmark = pytest.mark.render


def test_tables_hold_the_truth_and_come_back_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SHARD", 4)
    made = tables.read_tables(tmp_path, "train", 4, seed=5)
    assert 1 <= len(made) <= 4
    for table in made:
        assert table.features.shape == (len(table.thing_of), FEATURES) and np.isfinite(table.features).all()
        assert table.thing_of.min() >= tables.MIXED and table.thing_of.max() < len(table.names) == len(table.colours) == len(table.places)
        owned = table.thing_of[table.thing_of >= 0]
        assert all(colour in ("", *tables.COLOURS) for colour in table.colours) and len(owned) >= 0
    assert any((table.thing_of >= 0).any() for table in made)
    monkeypatch.setattr(tables, "render", lambda *_: pytest.fail("the cache was not used"))
    again = tables.read_tables(tmp_path, "train", 4, seed=5)
    assert len(again) == len(made)
    for a, b in zip(made, again, strict=True):
        np.testing.assert_array_equal(a.features, b.features)
        assert a.names == b.names and a.colours == b.colours and (a.thing_of == b.thing_of).all()


def test_a_broken_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{tables.VERSION}_train_5_0.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DexError, match="remove it and it is made again"):
        tables.read_tables(tmp_path, "train", 1, seed=5)
