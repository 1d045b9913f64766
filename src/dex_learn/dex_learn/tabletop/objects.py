# SPDX-License-Identifier: Apache-2.0
"""One thing drawn at random from a split: its parts, colours, and the pose it rests in on the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dex_core.config import ObjectConfig, load_task
from dex_core.errors import DexError
from dex_learn.tabletop.families import FAMILIES, LIE, WHOLE_MEASURES, Family, Parts
from dex_learn.tabletop.mesh import Mesh, sample_surface
from dex_learn.tabletop.odds import draw_odd

SPLITS = ("train", "unseen", "varied")
"""``varied`` is ``train`` with other colours on its parts, and made-up things of several parts; what is unseen is in neither."""
ODD, ODD_SHARE = "odd", 0.5
"""Name and share of the made-up things of the varied split."""
RECOLOURED_SHARE = 0.6
"""Of the other things of the varied split whose parts get colours of their own."""
CELL_TASKS = ("push_cans", "reorganize_lemons")
CELL_SHARE = 0.12
"""Of the things of the train split: the cell's own cans, fruits and bowl, in the sizes of its tasks."""
UNSEEN_FAMILY_SHARE = 0.5
"""Of the things of the unseen split: families never trained on; the others are trained families with measures never trained on."""
PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.08, 0.07), "orange": (0.93, 0.45, 0.08), "yellow": (0.94, 0.82, 0.13), "green": (0.18, 0.58, 0.18), "blue": (0.12, 0.28, 0.72),
    "purple": (0.45, 0.16, 0.55), "pink": (0.93, 0.52, 0.65), "brown": (0.42, 0.25, 0.12), "white": (0.92, 0.92, 0.90), "grey": (0.5, 0.5, 0.52),
    "black": (0.07, 0.07, 0.08),
}
TINT = 0.07
SURFACE_POINTS = 4096


@dataclass(frozen=True)
class Thing:
    """A thing before it is placed, its origin in the middle of its bounding box as it is built.

    Attributes:
        name: of its family, e.g. ``mug``; ``trained``: whether the family is one that is trained on.
        colour: word for the colour of its largest part.
        meshes, rgb: one each per part; rgb in [0, 1].
        turn: (3, 3) from its own frame to one in which it rests, before the yaw about z.
    """

    name: str
    trained: bool
    colour: str
    meshes: tuple[Mesh, ...]
    rgb: tuple[tuple[float, float, float], ...]
    turn: NDArray[np.float64]

    @property
    def vertices(self) -> NDArray[np.float64]:
        """(V, 3) of all parts [m]."""
        return np.concatenate([mesh.vertices for mesh in self.meshes])

    def surface(self, rng: np.random.Generator, count: int = SURFACE_POINTS) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points on its surface and their outward normals, (count, 3) each, in its own frame [m]; parts that stick in others count whole."""
        return sample_surface(self.meshes, count, rng)


def draw_thing(rng: np.random.Generator, split: str) -> Thing:
    """Anything of a split. Raises DexError ``bad_argument`` for a split that is not."""
    if split not in SPLITS:
        raise DexError(f"split {split!r}; allowed: {list(SPLITS)}", code="bad_argument")
    if split == "varied":
        return _varied_thing(rng)
    if split == "train" and rng.random() < CELL_SHARE:
        return _cell_thing(rng)
    trained = split == "train" or rng.random() >= UNSEEN_FAMILY_SHARE
    return draw_of(rng, str(rng.choice([n for n, f in FAMILIES.items() if f.trained == trained])), split)


def draw_of(rng: np.random.Generator, name: str, split: str) -> Thing:
    """A thing of one family with measures of a split."""
    family = FAMILIES[name]
    parts = family.build(draw_measures(rng, family, split))
    return _finish(rng, name, family.trained, parts, lies=rng.random() >= family.stands)


def draw_measures(rng: np.random.Generator, family: Family, split: str) -> dict[str, float]:
    """Train: within the ranges. Unseen: every measure of a trained family outside its range, below or above."""
    measures = {}
    for name, (low, high) in family.ranges.items():
        if split == "train" or not family.trained or name in WHOLE_MEASURES:
            measures[name] = rng.uniform(low, high)
            continue
        beyond = rng.uniform(0.05, 1.0) * family.margin * (high - low)
        measures[name] = high + beyond if rng.random() < 0.5 else max(low - beyond, 0.5 * low)
    return measures


def _varied_thing(rng: np.random.Generator) -> Thing:
    if rng.random() < ODD_SHARE:
        parts, lies = draw_odd(rng)
        thing = _finish(rng, ODD, True, [(mesh, 0) for mesh, _ in parts], lies=lies and rng.random() < 0.3)
        return _recoloured(rng, thing, [colour for _, colour in parts])
    thing = draw_thing(rng, "train")
    return _recoloured(rng, thing, range(len(thing.meshes))) if rng.random() < RECOLOURED_SHARE else thing


def _recoloured(rng: np.random.Generator, thing: Thing, groups: Sequence[int]) -> Thing:
    """The same shape, every group of parts in a colour of its own; the first keeps its colour."""
    shades = [thing.rgb[0], *(_tinted(rng, PALETTE[str(w)]) for w in rng.choice(list(PALETTE), max(groups), replace=True))]
    return replace(thing, rgb=tuple(shades[group] for group in groups))


def _cell_thing(rng: np.random.Generator) -> Thing:
    """A thing of the cell's own tasks."""
    things = [thing for task in CELL_TASKS for thing in load_task(task).objects.values()]
    thing: ObjectConfig = things[rng.integers(len(things))]
    if thing.kind == "can":
        measures = {"radius": thing.radius_m, "height": thing.size_m[2]}
    elif thing.kind == "bowl":
        measures = {"radius": thing.radius_m, "height": thing.size_m[2]}
    else:
        x, y, z = (0.5 * v for v in thing.size_m)
        measures = {"x": x, "y": y / x, "z": z / x, "tips": 1.0}
    parts = FAMILIES[thing.kind].build(measures)
    own = None if thing.kind == "can" else thing.rgb
    return _finish(rng, thing.kind, True, parts, lies=False, own=own)


def _finish(
    rng: np.random.Generator, name: str, trained: bool, parts: Parts, *, lies: bool, own: tuple[float, ...] | None = None,
) -> Thing:
    words = [str(w) for w in rng.choice(list(PALETTE), 3, replace=False)]
    shades = [_tinted(rng, PALETTE[w]) for w in words]
    if own is not None:
        shades[0] = _tinted(rng, own)
        words[0] = min(PALETTE, key=lambda w: float(np.sum((np.array(PALETTE[w]) - own) ** 2)))
    if rng.random() < 0.35:
        shades[1] = _tinted(rng, shades[0])
    vertices = np.concatenate([mesh.vertices for mesh, _ in parts])
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    meshes = tuple(mesh.moved(-middle) for mesh, _ in parts)
    return Thing(name, trained, words[0], meshes, tuple(shades[c] for _, c in parts), LIE if lies else np.eye(3))


def _tinted(rng: np.random.Generator, rgb: tuple[float, ...]) -> tuple[float, float, float]:
    r, g, b = np.clip(np.array(rgb) + rng.uniform(-TINT, TINT, 3), 0.02, 0.98)
    return float(r), float(g), float(b)
