# SPDX-License-Identifier: Apache-2.0
"""One short training of each net: runs, learns, reproduces by seed."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell, load_task  # noqa: E402
from dex_learn.draw import Pictures  # noqa: E402
from dex_learn.sentences import sentences  # noqa: E402
from dex_learn.train_trunk import Sentences, States, TrunkTraining, chunk_error, train_trunk  # noqa: E402
from dex_learn.train_vision import VisionTraining, train_vision  # noqa: E402

CELL = load_cell("xarm_bimanual")
WORDS = Sentences.of(sentences(load_task("push_cans")))


def states(n: int = 64) -> States:
    generator = torch.Generator().manual_seed(0)
    joints = 0.3 * torch.randn((n, 14), generator=generator)
    ramp = torch.linspace(0.0, 0.3, 64)[None, :, None]
    return States(
        torch.tensor([0.4, 0.2, 0.4, -0.2]).repeat(n, 1), joints, torch.arange(n) % 2, torch.randn((n, 2, 4, 32), generator=generator),
        joints[:, None] + ramp, torch.randn((n, 2, 8, 32), generator=generator),
    )


def test_trunk_learns_and_reproduces() -> None:
    training = TrunkTraining(steps=12, batch=32)
    (first, curve), (second, _) = (train_trunk(CELL, states(), WORDS, training, kept=states(16)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert curve[-1]["place_mm"] > 0.0
    (longer, _) = train_trunk(CELL, states(), WORDS, TrunkTraining(steps=60, batch=32))
    assert chunk_error(longer, states(), WORDS)["joint_rad"] < chunk_error(first, states(), WORDS)["joint_rad"]


def test_each_task_draws_its_own_sentences() -> None:
    task = torch.tensor([0, 1] * 20)
    tokens = WORDS.draw(task, torch.Generator().manual_seed(1))
    push = {tuple(row) for row in WORDS.tokens[0].tolist()}
    assert all((tuple(row) in push) == (int(t) == 0) for row, t in zip(tokens.tolist(), task, strict=True))


def test_the_two_tasks_share_no_sentence() -> None:
    push, rest = ({tuple(row) for row in ids.tolist()} for ids in WORDS.tokens)
    assert not push & rest


def test_vision_runs_and_reproduces() -> None:
    rng = np.random.default_rng(0)
    pictures = Pictures(
        rng.integers(0, 255, (12, 224, 224, 3), dtype=np.uint8), np.tile(np.float32([0.4, 0.2, 0.4, -0.2]), (12, 1)),
        rng.uniform(-0.9, 0.9, (12, 9, 2)).astype(np.float32), np.arange(12),
    )
    runs = [train_vision(pictures, VisionTraining(steps=2, batch=4)) for _ in range(2)]
    assert runs[0][1][-1]["loss"] == runs[1][1][-1]["loss"]
    assert np.isfinite(runs[0][1][-1]["median_mm"])
