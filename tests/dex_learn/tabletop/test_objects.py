# SPDX-License-Identifier: Apache-2.0
"""Things: every family can be built anywhere in its ranges, and what is unseen is never trained on."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_task
from dex_core.errors import DexError
from dex_learn.tabletop.families import FAMILIES, WHOLE_MEASURES
from dex_learn.tabletop.objects import ODD, PALETTE, draw_measures, draw_of, draw_thing

TRAINED = [name for name, family in FAMILIES.items() if family.trained]
UNSEEN_NAMES, UNSEEN_SUM = ["mug", "pan", "star", "bottle", "vase", "box"], 111.98013694773255
"""The first things of the unseen split."""


@pytest.mark.parametrize("split", ["train", "unseen"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_solid_parts_of_the_size_of_tableware(name: str, split: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        thing = draw_of(rng, name, split)
        size = np.ptp(thing.vertices, axis=0)
        assert (size > 0.004).all() and (size < 0.42).all(), size
        assert all(mesh.volume_m3 > 0.0 for mesh in thing.meshes) and len(thing.rgb) == len(thing.meshes)
        assert thing.colour in PALETTE and np.linalg.det(thing.turn) == pytest.approx(1.0)
        assert thing.vertices.min(axis=0) == pytest.approx(-thing.vertices.max(axis=0), abs=1e-9)  # its origin is its middle


def test_unseen_families_are_never_trained_on() -> None:
    rng = np.random.default_rng(2)
    assert {draw_thing(rng, "train").name for _ in range(300)} == set(TRAINED)
    unseen = {draw_thing(rng, "unseen").name for _ in range(500)}
    assert unseen == set(FAMILIES)


def test_what_is_unseen_stays_what_it_was_or_scores_could_not_be_compared() -> None:
    rng = np.random.default_rng(900001)
    things = [draw_thing(rng, "unseen") for _ in range(6)]
    assert [t.name for t in things] == UNSEEN_NAMES
    assert sum(float(np.abs(t.vertices).sum()) for t in things) == pytest.approx(UNSEEN_SUM, rel=1e-9)


def test_varied_things_are_trained_families_and_odd_ones_with_parts_of_many_colours() -> None:
    rng = np.random.default_rng(5)
    things = [draw_thing(rng, "varied") for _ in range(600)]
    assert {t.name for t in things} == {*TRAINED, ODD} and all(t.trained for t in things)
    for thing in things:
        size = np.ptp(thing.vertices, axis=0)
        assert (size > 0.004).all() and (size < 0.42).all(), (thing.name, size)
        assert all(mesh.volume_m3 > 0.0 for mesh in thing.meshes) and len(thing.rgb) == len(thing.meshes) and thing.colour in PALETTE
    odd = [t for t in things if t.name == ODD]
    assert 0.4 < len(odd) / len(things) < 0.6
    assert np.mean([len(set(t.rgb)) > 1 for t in odd]) > 0.9
    mugs = [len(set(t.rgb)) for t in things if t.name == "mug"]
    assert set(mugs) == {1, 2}  # a handle of the vessel's colour, and of another


@pytest.mark.parametrize("name", TRAINED)
def test_unseen_measures_of_a_trained_family_are_outside_its_ranges_and_positive(name: str) -> None:
    rng, family = np.random.default_rng(3), FAMILIES[name]
    for _ in range(50):
        trained, unseen = draw_measures(rng, family, "train"), draw_measures(rng, family, "unseen")
        for measure, (low, high) in family.ranges.items():
            assert low <= trained[measure] <= high
            assert measure in WHOLE_MEASURES or (0.0 < unseen[measure] < low) or unseen[measure] > high


def test_the_cells_own_cans_are_among_what_is_trained_on() -> None:
    can = load_task("push_cans").objects["left_can"]
    rng, sizes = np.random.default_rng(4), []
    for _ in range(400):
        thing = draw_thing(rng, "train")
        if thing.name == "can":
            sizes.append(np.ptp(thing.vertices, axis=0))
    assert any(size[2] == pytest.approx(can.size_m[2], abs=0.002) and size[0] == pytest.approx(can.size_m[0], abs=0.002) for size in sizes)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DexError, match="allowed"):
        draw_thing(np.random.default_rng(0), "test")
