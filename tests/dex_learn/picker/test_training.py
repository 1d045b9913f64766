# SPDX-License-Identifier: Apache-2.0
"""The picker learns, goes on where it stopped, and what is written loads and picks the same."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_learn.picker.bundle import chances_of, export, write  # noqa: E402
from dex_learn.picker.tables import Table  # noqa: E402
from dex_learn.picker.train import Trainer, Training  # noqa: E402
from dex_perception.segment.candidates import FEATURES  # noqa: E402
from dex_perception.segment.picker import Picker  # noqa: E402

COLOURS = ("red", "green", "blue", "yellow")


def easy_tables(count: int, seed: int) -> list[Table]:
    """Tables whose features say the colour in one column each."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        rows = rng.permutation(4)[: int(rng.integers(2, 5))]
        features = rng.normal(0.0, 0.1, (len(rows), FEATURES)).astype(np.float32)
        features[np.arange(len(rows)), rows] += 2.0
        found.append(Table(
            features, np.arange(len(rows)), ("mug",) * len(rows), tuple(COLOURS[r] for r in rows), rng.uniform(-0.4, 0.4, (len(rows), 3)),
            np.full(len(rows), 0.1), np.full(len(rows), 1e-4), np.ones(len(rows), dtype=bool),
        ))
    return found


def test_it_learns_goes_on_and_ships_what_it_learned(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tables = easy_tables(60, 1)
    training, file = Training(steps=300, sentences=32, learning_rate=1e-2), tmp_path / "work" / "picker.pt"
    whole = Trainer(tables, training).run()
    Trainer(tables, training, file).run(until=120)
    net = Trainer(tables, training, file).run()
    for a, b in zip(net.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)
    assert Trainer(tables, training, file).step == 300, "a finished training has nothing left to do"
    with pytest.raises(DexError, match="another training"):
        Trainer(tables, replace(training, sentences=33), file)
    graph, cases, parity = export(net, tables)
    assert parity < 1e-4
    write(tmp_path / "picker", graph, cases, training, scenes=60, scores={"none": 0}, code="test", notes="a test")
    bundle = load_bundle(tmp_path / "picker")
    picker, chances = Picker(bundle), chances_of(graph)
    right = total = 0
    for table in easy_tables(30, 2):
        for k, colour in enumerate(table.colours):
            text = f"the {colour} thing"
            np.testing.assert_allclose(picker.chances(text, table.features), chances(text, table.features), atol=1e-5)
            right += int(chances(text, table.features).argmax()) == k
            total += 1
    assert right / total > 0.9
    assert bundle.manifest.picker is not None and "lemon" in bundle.manifest.picker.words and "Limits:" in bundle.manifest.provenance.notes


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DexError, match="no tables"):
        Trainer([], Training(steps=1))
