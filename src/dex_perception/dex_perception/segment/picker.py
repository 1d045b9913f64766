# SPDX-License-Identifier: Apache-2.0
"""Words to a thing by a small trained graph: every thing off the table is asked whether the words describe it.

What it knows is in its manifest: the words it was trained with, for the simulator's things. It is no open vocabulary; a detector is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from dex_core import text as words
from dex_core.bundle import Bundle
from dex_core.bundle.picker import GRAPH, LOGIT, THINGS, TOKENS
from dex_core.errors import BundleError, DexError
from dex_perception.segment.candidates import RELATIONS, VERSION, things_in
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.prompts import Meant
from dex_perception.segment.view import View

Chances = Callable[[str, NDArray[np.float32]], NDArray[np.float64]]
_LEFT, _AWAY, _TALL, _LARGE = range(4)
COMPARISONS: dict[str, tuple[int, float]] = {
    **dict.fromkeys(("left", "leftmost"), (_LEFT, 1.0)), **dict.fromkeys(("right", "rightmost"), (_LEFT, -1.0)),
    **dict.fromkeys(("far", "farthest", "back"), (_AWAY, 1.0)), **dict.fromkeys(("near", "nearest", "closest"), (_AWAY, -1.0)),
    **dict.fromkeys(("tallest", "highest"), (_TALL, 1.0)), **dict.fromkeys(("lowest", "shortest"), (_TALL, -1.0)),
    **dict.fromkeys(("largest", "biggest", "big"), (_LARGE, 1.0)), **dict.fromkeys(("smallest", "little", "small"), (_LARGE, -1.0)),
}
"""Word -> which of the features' ranks among the things in view it compares, and which end of it is meant."""
EMPTY_WORDS = frozenset(
    "the a an one thing object on at to in of is it me up with robot please where pick grasp take find segment give lift hand push get move".split()
)
"""Words that leave open what a comparison is made among: everything in view."""


class Picker:
    """Implements dex_perception.segment.prompts.Reader.

    Args:
        bundle: of kind ``picker``.
        least: probability below which a thing does not fit.

    Raises:
        BundleError: it was trained with other features.
    """

    def __init__(self, bundle: Bundle, least: float = 0.5) -> None:
        spec = bundle.manifest.picker
        if spec is None or spec.features != VERSION:
            found = "none" if spec is None else spec.features
            raise BundleError(f"{bundle.folder}: picker reads features {found!r}, this version makes {VERSION!r}", code="layout_invalid")
        self.name = bundle.manifest.name
        self._spec, self._session, self._least = spec, bundle.sessions[GRAPH], least

    def find(self, text: str, view: View) -> Meant:
        """The thing that the words describe best.

        Raises:
            NoTarget: ``text_unknown``, no word is known; ``text_unmatched``, nothing fits; ``text_ambiguous``, several fit and one is asked for.
        """
        said = set(re.findall(r"[a-z0-9]+", text.lower()))
        if not said & set(self._spec.words):
            raise NoTarget(f"{text!r} holds no word the picker knows; it knows: {', '.join(self._spec.words)}", code="text_unknown")
        things = things_in(view)
        if not len(things):
            raise NoTarget("nothing stands on the table", code="text_unmatched")
        row, chance = choose(text, things.features, self.chances, least=self._least, margin=self._spec.margin, plural=self._spec.plural)
        return Meant(chance, point_m=things.clicks_m[row])

    def chances(self, text: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(T,) probability that the words describe each thing. Raises NoTarget ``text_unknown`` for text without words."""
        try:
            tokens = words.tokenize(text)
        except DexError as error:
            raise NoTarget(str(error), code="text_unknown") from error
        out = self._session.run({TOKENS: np.repeat(tokens, len(features), axis=0), THINGS: features})[LOGIT][:, 0]
        return 1.0 / (1.0 + np.exp(-out.astype(np.float64)))


def choose(
    text: str, features: NDArray[np.float32], chances: Chances, *, least: float, margin: float, plural: Collection[str],
) -> tuple[int, float]:
    """The thing that the words mean, and with which probability.

    Comparisons ('left', 'largest') are taken out of the words; the thing that is first in them is chosen among those that fit the rest.

    Args:
        text: words.
        features: (T, FEATURES) of the things, T at least 1.
        chances: words and features -> (T,) probabilities.
        least, margin: below the first nothing fits; a second one nearer than the second makes singular words ambiguous.
        plural: words after which any that fits will do.

    Raises:
        NoTarget: ``text_unmatched`` or ``text_ambiguous``.
    """
    said = re.findall(r"[a-z0-9]+", text.lower())
    compared = [word for word in said if word in COMPARISONS]
    rest = " ".join(word for word in said if word not in COMPARISONS)
    anything = bool(compared) and not set(rest.split()) - EMPTY_WORDS
    found = np.ones(len(features)) if anything else chances(rest if compared else text, features)
    order = np.argsort(-found, kind="stable")
    best = float(found[order[0]])
    if best < least:
        raise NoTarget(f"of {len(features)} things none fits {text!r}: the best with {best:.2f}, needed {least:.2f}", code="text_unmatched")
    if compared:
        column, sign = COMPARISONS[compared[0]]
        fitting = np.flatnonzero(found >= least)
        first = int(fitting[np.argmax(sign * features[fitting, column - RELATIONS])])
        return first, float(found[first])
    second = float(found[order[1]]) if len(order) > 1 else 0.0
    if second >= least and best - second < margin and not set(said) & set(plural):
        raise NoTarget(f"two things fit {text!r} with {best:.2f} and {second:.2f}; say more, e.g. left or its colour", code="text_ambiguous")
    return int(order[0]), best
