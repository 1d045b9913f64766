# SPDX-License-Identifier: Apache-2.0
"""Sentences about a table, with the things each one means."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dex_core.config import load_task
from dex_learn.picker.tables import BACKGROUND, COLOURS, MIXED, Table
from dex_learn.tabletop.objects import CELL_TASKS

NOUNS: dict[str, tuple[str, ...]] = {
    "can": ("can", "tin", "tomato can", "soda can"), "box": ("box", "carton", "package"), "bottle": ("bottle", "flask"),
    "mug": ("mug", "coffee mug", "mug with the handle"), "cup": ("cup", "beaker", "tumbler"), "bowl": ("bowl", "dish"), "plate": ("plate", "saucer"),
    "fruit": ("fruit", "piece of fruit"), "block": ("block", "toy block", "building block"), "screwdriver": ("screwdriver", "tool"),
    "jar": ("jar", "pot with a lid"), "pen": ("pen", "pencil", "marker"),
}
"""What trained families are called."""
FRUITS = {"yellow": ("lemon", "yellow lemon"), "green": ("lime", "green lime")}
PLURALS = {
    "can": ("cans", "tomato cans"), "fruit": ("fruits", "fruit pieces"), "box": ("boxes",), "block": ("blocks",), "cup": ("cups",),
    "bottle": ("bottles",),
}
WRAPS = (
    "{}", "the {}", "a {}", "pick up the {}", "grasp the {}", "take the {}", "find the {}", "segment the {}", "where is the {}", "give me the {}",
    "lift the {}", "hand me the {}", "push the {}", "please get the {}", "move the {}",
)
MANY = ("{}", "the {}", "the two {}", "all {}", "both {}", "find the {}", "pick up the {}", "push the {} together", "push both {} together")
WITH_PLACE = (
    "put the {} into the {}", "put the {} in the {}", "place the {} on the {}", "push the {} towards the {}", "move the {} next to the {}",
    "pick up the {} and drop it into the {}", "drop the {} into the {}",
)
SIDES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "left": (("left {}", "{} on the left", "leftmost {}"), 1, 1), "right": (("right {}", "{} on the right", "rightmost {}"), 1, -1),
    "near": (("near {}", "nearest {}", "{} closest to the robot"), 0, -1), "far": (("far {}", "farthest {}", "{} at the back"), 0, 1),
}
"""Words, axis of the world, sign: seen from the robot, whose left is y and whose front is x."""
SIZES = {
    "tall": (("tallest {}", "highest {}"), 1), "flat": (("lowest {}", "shortest {}"), -1), "large": (("largest {}", "biggest {}", "big {}"), 1),
    "small": (("smallest {}", "little {}", "small {}"), -1),
}
CLEAR_M, CLEAR_RATIO = 0.05, 1.35
"""How far one thing must be ahead of the next for a comparison to be said of it."""
THING = ("thing", "object", "one")
KINDS = ("name", "colour", "both", "side", "size", "place", "many", "task")
SHARES = np.array([0.22, 0.12, 0.24, 0.14, 0.08, 0.10, 0.06, 0.04])
ABSENT_SHARE = 0.25
NO, YES, SKIP = 0.0, 1.0, -1.0


@dataclass(frozen=True)
class Said:
    """A sentence about a table.

    Attributes:
        text, kind: the words, and which of ``KINDS`` they are; ``absent``: nothing on the table fits.
        targets: (K,) which things it means.
        labels: (T,) 1 where a candidate fits, 0 where it does not, -1 where nobody can say.
    """

    text: str
    kind: str
    targets: NDArray[np.bool_]
    labels: NDArray[np.float64]


def words_known() -> tuple[str, ...]:
    """Every word that any sentence may hold."""
    said = [*COLOURS, *THING, *(word for names in (NOUNS, FRUITS, PLURALS) for group in names.values() for word in group)]
    said += [*WRAPS, *MANY, *WITH_PLACE, *(w for ws, _, _ in SIDES.values() for w in ws), *(w for ws, _ in SIZES.values() for w in ws)]
    said += [sentence for task in CELL_TASKS for sentence in _sentences(task)]
    return tuple(sorted({word for text in said for word in re.findall(r"[a-z0-9]+", text.lower())} - IGNORED))


def words_plural() -> tuple[str, ...]:
    """Words after which any of several things will do."""
    return tuple(sorted({w for group in PLURALS.values() for text in group for w in text.split()[-1:]} | {"two", "both", "all", "lemons"}))


IGNORED = {"the", "a", "of", "to", "on", "in", "into", "at", "is", "it", "me", "and", "with", "up", "away", "until", "they", "each", "other"}
"""Words that name nothing: alone they are no known words."""


def say(rng: np.random.Generator, table: Table, kind: str | None = None) -> Said | None:
    """A sentence about a table, true or, every fourth time, of something that is not there; None when this kind cannot be said of it."""
    kind = str(rng.choice(KINDS, p=SHARES)) if kind is None else kind
    if kind == "absent" or rng.random() < ABSENT_SHARE and kind in ("name", "colour", "both"):
        return _absent(rng, table)
    ways = {"name": _named, "colour": _coloured, "both": _both, "side": _side, "size": _size, "place": _place, "many": _many, "task": _task}
    return ways[kind](rng, table)


def _pick(rng: np.random.Generator, texts: tuple[str, ...]) -> str:
    return str(texts[rng.integers(len(texts))])


def _said(table: Table, text: str, kind: str, fits: NDArray[np.bool_], unsure: NDArray[np.bool_] | None = None) -> Said:
    """Labels of the candidates from what is true of the things."""
    labels = np.full(len(table.thing_of), NO)
    for row, thing in enumerate(table.thing_of):
        if thing == MIXED or (thing != BACKGROUND and unsure is not None and unsure[thing]):
            labels[row] = SKIP
        elif thing != BACKGROUND and fits[thing]:
            labels[row] = YES
    return Said(text, kind if fits.any() else "absent", fits, labels)


def _is(table: Table, name: str) -> NDArray[np.bool_]:
    return np.array([n == name for n in table.names])


def _looks(table: Table, colour: str) -> NDArray[np.bool_]:
    return np.array([c == colour for c in table.colours])


def _unsure(table: Table) -> NDArray[np.bool_]:
    return np.array([not c for c in table.colours])


def _speakable(table: Table) -> list[int]:
    return [k for k, name in enumerate(table.names) if name in NOUNS]


def _noun(rng: np.random.Generator, table: Table, k: int) -> tuple[str, NDArray[np.bool_], NDArray[np.bool_]]:
    """A noun for a thing, what else it fits, and of what nobody can say: a lemon is a yellow fruit."""
    name, colour = table.names[k], table.colours[k]
    if name == "fruit" and colour in FRUITS and rng.random() < 0.6:
        return _pick(rng, FRUITS[colour]), _is(table, name) & _looks(table, colour), _is(table, name) & _unsure(table)
    return _pick(rng, NOUNS[name]), _is(table, name), np.zeros(len(table.names), dtype=bool)


def _named(rng: np.random.Generator, table: Table) -> Said | None:
    some = _speakable(table)
    if not some:
        return None
    noun, fits, unsure = _noun(rng, table, int(rng.choice(some)))
    return _said(table, _pick(rng, WRAPS).format(noun), "name", fits, unsure)


def _coloured(rng: np.random.Generator, table: Table) -> Said | None:
    known = [c for c in table.colours if c]
    if not known:
        return None
    colour = str(rng.choice(known))
    return _said(table, _pick(rng, WRAPS).format(f"{colour} {_pick(rng, THING)}"), "colour", _looks(table, colour), _unsure(table))


def _both(rng: np.random.Generator, table: Table) -> Said | None:
    some = [k for k in _speakable(table) if table.colours[k]]
    if not some:
        return None
    k = int(rng.choice(some))
    name, colour = table.names[k], table.colours[k]
    text = _pick(rng, WRAPS).format(f"{colour} {_pick(rng, NOUNS[name])}")
    return _said(table, text, "both", _is(table, name) & _looks(table, colour), _is(table, name) & _unsure(table))


def _first(values: NDArray[np.float64], fits: NDArray[np.bool_], clear: float, *, ratio: bool) -> int | None:
    """Row of the largest value among those that fit, when it is clearly ahead."""
    rows = np.flatnonzero(fits)
    order = rows[np.argsort(-values[rows])]
    if len(order) < 2:
        return int(order[0]) if len(order) else None
    best, next_ = float(values[order[0]]), float(values[order[1]])
    ahead = abs(best) > clear * abs(next_) if ratio and best > 0 else abs(next_) > clear * abs(best) if ratio else best - next_ > clear
    return int(order[0]) if ahead else None


def _base(rng: np.random.Generator, table: Table) -> tuple[str, NDArray[np.bool_]] | None:
    some = _speakable(table)
    if not some or rng.random() < 0.3:
        return _pick(rng, THING), np.ones(len(table.names), dtype=bool)
    noun, fits, unsure = _noun(rng, table, int(rng.choice(some)))
    return None if (unsure & ~fits).any() else (noun, fits)


def _extreme(table: Table, text: str, kind: str, values: NDArray[np.float64], fits: NDArray[np.bool_], clear: float, *, ratio: bool) -> Said | None:
    if (table.thing_of == MIXED).any():
        return None  # who is first among them nobody can say
    best = _first(values, fits, clear, ratio=ratio)
    return None if best is None else _said(table, text, kind, np.arange(len(fits)) == best)


def _side(rng: np.random.Generator, table: Table) -> Said | None:
    base = _base(rng, table)
    if base is None:
        return None
    words, axis, sign = SIDES[str(rng.choice(list(SIDES)))]
    text = _pick(rng, WRAPS).format(_pick(rng, words).format(base[0]))
    return _extreme(table, text, "side", sign * table.places[:, axis], base[1], CLEAR_M, ratio=False)


def _size(rng: np.random.Generator, table: Table) -> Said | None:
    base = _base(rng, table)
    if base is None:
        return None
    which = str(rng.choice(list(SIZES)))
    words, sign = SIZES[which]
    values = sign * (table.heights if which in ("tall", "flat") else table.volumes)
    return _extreme(table, _pick(rng, WRAPS).format(_pick(rng, words).format(base[0])), "size", values, base[1], CLEAR_RATIO, ratio=True)


def _place(rng: np.random.Generator, table: Table) -> Said | None:
    some = _speakable(table)
    if len(some) < 2:
        return None
    moved, place = (int(k) for k in rng.choice(some, 2, replace=False))
    if table.names[moved] == table.names[place]:
        return None
    noun, fits, unsure = _noun(rng, table, moved)
    return _said(table, _pick(rng, WITH_PLACE).format(noun, _noun(rng, table, place)[0]), "place", fits, unsure)


def _many(rng: np.random.Generator, table: Table) -> Said | None:
    some = [name for name in set(table.names) & set(PLURALS) if _is(table, name).sum() >= 2]
    if not some:
        return None
    name = str(rng.choice(sorted(some)))
    return _said(table, _pick(rng, MANY).format(_pick(rng, PLURALS[name])), "many", _is(table, name))


def _sentences(task: str) -> tuple[str, ...]:
    loaded = load_task(task)
    return loaded.instruction, *loaded.paraphrases


def _task(rng: np.random.Generator, table: Table) -> Said | None:
    """The cell's own instructions: they mean what is to be moved."""
    cans, fruits = _is(table, "can"), _is(table, "fruit") & (_looks(table, "yellow") | _looks(table, "green"))
    choices = [("push_cans", cans, np.zeros_like(cans))] if cans.any() else []
    choices += [("reorganize_lemons", fruits, _is(table, "fruit") & _unsure(table))] if fruits.any() else []
    if not choices:
        return None
    task, fits, unsure = choices[rng.integers(len(choices))]
    return _said(table, _pick(rng, _sentences(task)), "task", fits, unsure)


def _absent(rng: np.random.Generator, table: Table) -> Said | None:
    """Of a thing that is not on the table: its name is not there, its colour is not there, or not the two together."""
    names = [name for name in NOUNS if name not in table.names]
    colours = [colour for colour in COLOURS if colour not in table.colours]
    nothing = np.zeros(len(table.names), dtype=bool)
    how = rng.integers(3)
    if how == 0 and names:
        noun = _pick(rng, NOUNS[str(rng.choice(names))])
        text = f"{rng.choice(COLOURS)} {noun}" if rng.random() < 0.5 else noun
        return _said(table, _pick(rng, WRAPS).format(text), "absent", nothing)
    if how == 1 and colours:
        return _said(table, _pick(rng, WRAPS).format(f"{rng.choice(colours)} {_pick(rng, THING)}"), "absent", nothing, _unsure(table))
    some = _speakable(table)
    if not some or not colours:
        return None
    name = table.names[int(rng.choice(some))]
    text = f"{rng.choice(colours)} {_pick(rng, NOUNS[name])}"
    return _said(table, _pick(rng, WRAPS).format(text), "absent", nothing, _is(table, name) & _unsure(table))


