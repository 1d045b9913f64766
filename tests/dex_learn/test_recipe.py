# SPDX-License-Identifier: Apache-2.0
"""Seeds of training, scores and bench never meet."""
from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import load_cell  # noqa: E402
from dex_learn import recipe  # noqa: E402
from dex_learn.demos import DAGGER_SEEDS, DEMO_SEEDS, RESERVED_FROM, SCORE_SEEDS  # noqa: E402
from dex_learn.workshop import Workshop  # noqa: E402


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load_cell("xarm_bimanual"), tmp_path / "work")


def test_ranges_are_disjoint() -> None:
    assert DEMO_SEEDS[1] <= SCORE_SEEDS[0] and SCORE_SEEDS[1] <= DAGGER_SEEDS[0] and DAGGER_SEEDS[1] <= RESERVED_FROM


def test_training_seeds_cannot_be_scored(shop: Workshop) -> None:
    with pytest.raises(ValueError, match="overlap the training seeds"):
        recipe.score(shop, Path("none"), 10, first_seed=995)
    with pytest.raises(ValueError, match="overlap the training seeds"):
        recipe.score(shop, Path("none"), 10, first_seed=9995)


def test_too_many_episodes_are_refused(shop: Workshop) -> None:
    with pytest.raises(ValueError, match="kept for scores"):
        recipe.make_demos(shop, 1001)
    with pytest.raises(ValueError, match="leaves the seeds"):
        recipe.dagger_round(shop, 1, 1001, eyes=False)


def test_an_empty_workshop_says_what_to_run(shop: Workshop) -> None:
    with pytest.raises(Exception, match="dex_learn.cli demos"):
        shop.pictures()
    with pytest.raises(Exception, match="dex_learn.cli train"):
        shop.policy()


def test_steps_are_counted_over_restarts() -> None:
    assert recipe._last_steps([{"step": 100}, {"step": 150}, {"step": 50}, {"step": 60}]) == 210
