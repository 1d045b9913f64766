# SPDX-License-Identifier: Apache-2.0
"""How often a picker picks what was meant, on scenes it never saw."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_learn.picker.sentences import KINDS, Said, say, words_plural
from dex_learn.picker.tables import Table
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.picker import Chances, choose

SINGULAR = ("name", "colour", "both", "place")
"""Kinds that are scored where they mean exactly one thing in view; of several that fit the picker refuses to choose."""
DEFINITIONS = {
    "new": "scenes of the split that was trained on, drawn anew: families and measures as in training, no scene that was seen",
    "unseen": "scenes of the unseen split: measures outside those of training, and families without a name as things in the way",
    "right": "share of the sentences after which the picker gives a thing that is meant",
    "wrong": "share after which it gives another thing: what a robot would reach for in vain",
    "refused": "share after which it says that nothing fits, or that several things fit as well; for kind 'absent' this is right",
    "sentences": "kinds name, colour, both and place only where they mean exactly one thing in view",
    "right_of_separate": "as right, of the sentences whose thing stands apart from others, so that it is a candidate at all",
    "kinds": "name 'the mug'; colour 'the red thing'; both 'the red mug'; side 'the left mug'; size 'the largest thing'; "
    "place 'put the lemon into the bowl'; many 'both cans'; task: the cell's instructions; absent: nothing on the table fits",
}


def score(chances: Chances, tables: list[Table], sentences: int, seed: int, least: float, margin: float) -> dict[str, Any]:
    """Scores by kind of sentence.

    Args:
        chances: the picker.
        tables: of scenes it was not trained on.
        sentences: per kind. seed: of the sentences.
        least, margin: as the runtime uses them.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for kind in (*KINDS, "absent"):
        counts: dict[str, int] = defaultdict(int)
        for _ in range(20 * sentences):
            if counts["all"] >= sentences:
                break
            table = tables[rng.integers(len(tables))]
            said = say(rng, table, kind)
            if said is None or said.kind != kind or (kind in SINGULAR and said.targets.sum() != 1):
                continue
            _count(counts, said, table, pick(said.text, table.features, chances, least, margin))
        found[kind] = _shares(counts, kind)
    return found


def _count(counts: dict[str, int], said: Said, table: Table, picked: int | None) -> None:
    counts["all"] += 1
    separate = bool((said.labels == 1.0).any())
    counts["separate"] += separate
    if picked is None:
        counts["refused"] += 1
        return
    thing = int(table.thing_of[picked])
    right = thing >= 0 and bool(said.targets[thing])
    counts["right"] += right
    counts["right_of_separate"] += right and separate
    counts["wrong"] += not right


def pick(text: str, features: NDArray[np.float32], chances: Chances, least: float, margin: float) -> int | None:
    """Row of the thing that the runtime picks; None: refused."""
    try:
        return choose(text, features, chances, least=least, margin=margin, plural=words_plural())[0]
    except NoTarget:
        return None


def _shares(counts: dict[str, int], kind: str) -> dict[str, float | int]:
    total = max(1, counts["all"])
    shares: dict[str, float | int] = {"sentences": counts["all"], **{name: round(counts[name] / total, 4) for name in ("right", "wrong", "refused")}}
    if kind != "absent":
        shares["right_of_separate"] = round(counts["right_of_separate"] / max(1, counts["separate"]), 4)
        shares["separate"] = round(counts["separate"] / total, 4)
    return shares
