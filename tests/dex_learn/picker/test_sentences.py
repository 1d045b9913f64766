# SPDX-License-Identifier: Apache-2.0
"""Sentences mean what the table holds: labels against a second, plain reading of the words."""
from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dex_core.text import LENGTH, tokenize
from dex_learn.picker.scores import pick, score
from dex_learn.picker.sentences import IGNORED, KINDS, NO, NOUNS, SIDES, SIZES, SKIP, YES, say, words_known, words_plural
from dex_learn.picker.tables import BACKGROUND, COLOURS, MIXED, Table
from dex_learn.tabletop.families import FAMILIES
from dex_perception.segment.candidates import FEATURES, RELATIONS
from dex_perception.segment.picker import COMPARISONS, EMPTY_WORDS

TRAINED = sorted(name for name, family in FAMILIES.items() if family.trained)


def table(things: list[tuple[str, str]], owners: list[int] | None = None, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    owners = list(range(len(things))) if owners is None else owners
    return Table(
        rng.normal(size=(len(owners), FEATURES)).astype(np.float32), np.array(owners), tuple(n for n, _ in things), tuple(c for _, c in things),
        rng.uniform(-0.4, 0.4, (len(things), 3)), rng.uniform(0.02, 0.2, len(things)), rng.uniform(1e-5, 1e-3, len(things)),
        np.ones(len(things), dtype=bool),
    )


@st.composite
def tables(draw: st.DrawFn) -> Table:
    names = st.sampled_from([*TRAINED, "banana"])
    things = draw(st.lists(st.tuples(names, st.sampled_from([*COLOURS, ""])), min_size=1, max_size=8))
    owners = draw(st.lists(st.integers(MIXED, len(things) - 1), min_size=1, max_size=10))
    return table(things, owners, draw(st.integers(0, 99)))


def test_every_trained_family_has_a_noun() -> None:
    assert sorted(NOUNS) == TRAINED


@given(tables(), st.integers(0, 10_000), st.sampled_from([*KINDS, "absent", None]))
def test_labels_follow_from_targets_and_words_are_known(one: Table, seed: int, kind: str | None) -> None:
    said = say(np.random.default_rng(seed), one, kind)
    if said is None:
        return
    assert said.labels.shape == one.thing_of.shape and said.targets.shape == (len(one.names),) and set(said.labels) <= {NO, YES, SKIP}
    for label, owner in zip(said.labels, one.thing_of, strict=True):
        if owner == BACKGROUND:
            assert label == NO
        elif owner == MIXED:
            assert label == SKIP
        else:
            assert label == SKIP or (label == YES) == said.targets[owner]
    assert (said.kind == "absent") == (not said.targets.any()) and (kind is None or said.kind in (kind, "absent"))
    words = set(re.findall(r"[a-z0-9]+", said.text.lower()))
    assert words <= set(words_known()) | IGNORED and tokenize(said.text).shape == (1, LENGTH)


@given(tables(), st.integers(0, 1000))
def test_names_colours_and_sides_by_a_plain_reading(one: Table, seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = say(rng, one, "both")
    if both is not None and both.kind == "both":
        k = int(np.flatnonzero(both.targets)[0])
        assert one.colours[k] in both.text.split() and any(noun in both.text for noun in NOUNS[one.names[k]])
        assert all((n, c) == (one.names[k], one.colours[k]) for n, c, t in zip(one.names, one.colours, both.targets, strict=True) if t)
    side = say(rng, one, "side")
    if side is not None:
        assert side.targets.sum() == 1
        k = int(side.targets.argmax())
        words = set(side.text.split())
        same = [j for j, name in enumerate(one.names) if name == one.names[k] and one.colours[j] == one.colours[k] and j != k]
        if words & {"left", "leftmost"}:
            assert all(one.places[k, 1] > one.places[j, 1] for j in same)
        if words & {"right", "rightmost"}:
            assert all(one.places[k, 1] < one.places[j, 1] for j in same)


def test_the_cells_instructions_mean_what_is_moved() -> None:
    kitchen = table([("fruit", "yellow"), ("fruit", "green"), ("bowl", "blue"), ("fruit", "red")])
    said = say(np.random.default_rng(0), kitchen, "task")
    assert said is not None and said.targets.tolist() == [True, True, False, False]
    cans = say(np.random.default_rng(0), table([("can", "red"), ("can", "red"), ("mug", "red")]), "task")
    assert cans is not None and cans.targets.tolist() == [True, True, False]


def test_a_lemon_is_a_yellow_fruit_and_an_uncertain_one_is_left_out() -> None:
    one = table([("fruit", "yellow"), ("fruit", "red"), ("fruit", "")])
    lemons = [s for seed in range(200) if (s := say(np.random.default_rng(seed), one, "name")) is not None and "lemon" in s.text and s.kind == "name"]
    assert lemons and all(s.labels.tolist() == [YES, NO, SKIP] for s in lemons)


def test_picking_takes_the_best_refuses_doubt_and_lets_plurals_choose() -> None:
    features = np.zeros((3, FEATURES), dtype=np.float32)
    features[:, -RELATIONS] = (0.0, 0.5, 1.0)  # the last one stands leftmost

    def picked(text: str, *chances: float) -> int | None:
        return pick(text, features[: len(chances)], lambda _text, _features: np.array(chances), 0.5, 0.15)

    assert picked("the mug", 0.2, 0.9, 0.3) == 1 and picked("the mug", 0.2, 0.4) is None
    assert picked("the can", 0.85, 0.9) is None and picked("both cans", 0.85, 0.9) == 1 and "cans" in words_plural()
    assert picked("the left can", 0.9, 0.6, 0.1) == 1 and picked("the can on the right", 0.6, 0.9, 0.9) == 0
    assert picked("the leftmost thing", 0.0, 0.0, 0.0) == 2 and picked("the left can", 0.1, 0.2, 0.3) is None


def test_every_comparison_that_is_said_is_known_to_the_runtime() -> None:
    said = {word for words, *_ in (*SIDES.values(), *SIZES.values()) for text in words for word in re.findall(r"[a-z]+", text)}
    assert said - EMPTY_WORDS == set(COMPARISONS)


def test_a_perfect_picker_scores_one_and_a_blind_one_does_not() -> None:
    rng = np.random.default_rng(3)
    some = [table([(str(rng.choice(TRAINED)), str(rng.choice(COLOURS))) for _ in range(5)], seed=k) for k in range(40)]
    heard: list[np.ndarray] = []

    import dex_learn.picker.scores as module

    real = module.say

    def listening(*arguments: object) -> object:
        said = real(*arguments)  # type: ignore[arg-type]
        heard.append(np.zeros(0) if said is None else said.labels)
        return said

    module.say = listening  # type: ignore[assignment]
    try:
        perfect = score(lambda text, features: np.where(heard[-1] == YES, 0.9 + 0.09 * (np.arange(len(features)) == heard[-1].argmax()), 0.01),
                        some, 60, 0, 0.5, 0.0)
    finally:
        module.say = real
    for kind in ("name", "colour", "both", "place"):
        assert perfect[kind]["right"] == 1.0 and perfect[kind]["wrong"] == 0.0, kind
    assert perfect["absent"]["refused"] == 1.0
    blind = score(lambda text, features: np.linspace(0.9, 0.1, len(features)), some, 60, 0, 0.5, 0.15)
    assert blind["both"]["wrong"] > 0.4 and blind["absent"]["refused"] == 0.0
    assert "separate" not in blind["absent"]
