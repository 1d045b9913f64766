# SPDX-License-Identifier: Apache-2.0
"""Seeds never meet; the right side's order of objects is its own inverse; sentences belong to one task."""
from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.errors import DexError  # noqa: E402
from dex_learn.policy import layout  # noqa: E402
from dex_learn.policy.sentences import sentences  # noqa: E402


def test_seeds_are_disjoint() -> None:
    ends = [layout.DEMO_SEEDS, layout.SCORE_SEEDS, layout.DAGGER_SEEDS]
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:])) and ends[-1][1] <= layout.RESERVED_FROM


@pytest.mark.parametrize("seeds", [range(995, 1005), range(0, 1), range(9_999, 10_001), range(19_999, 20_050)])
def test_training_seeds_cannot_be_scored(seeds: range) -> None:
    with pytest.raises(DexError, match="overlap the training seeds"):
        layout.check_unseen(seeds)
    layout.check_unseen(range(1000, 1020))


def test_the_mirror_is_its_own_inverse() -> None:
    order = layout.SEEN_BY_RIGHT
    assert [order[i] for i in order] == list(range(len(layout.OBJECTS)))
    swapped = [layout.OBJECTS[i] for i in order]
    assert swapped[:2] == ["right_can", "left_can"] and swapped[4] == "bowl"


def test_no_sentence_means_two_tasks() -> None:
    groups = [{s.lower() for s in group} for group in sentences()]
    assert len(groups) == len(layout.TASKS) and all(groups)
    assert sum(len(g) for g in groups) == len(set.union(*groups))
