# SPDX-License-Identifier: Apache-2.0
"""Words to a thing by a small trained graph: every thing off the table is asked whether the words describe it.

What it knows is in its manifest: the words it was trained with, for the simulator's things. It is no open vocabulary; a detector is.
"""

from __future__ import annotations

import re

import numpy as np

from dex_core import text as words
from dex_core.bundle import Bundle
from dex_core.bundle.picker import GRAPH, LOGIT, THINGS, TOKENS
from dex_core.errors import BundleError, DexError
from dex_perception.segment.candidates import VERSION, things_in
from dex_perception.segment.codes import NoTarget
from dex_perception.segment.prompts import Meant
from dex_perception.segment.view import View


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
        chances = self.chances(text, things.features)
        order = np.argsort(-chances, kind="stable")
        best = float(chances[order[0]])
        if best < self._least:
            raise NoTarget(f"of {len(things)} things none fits {text!r}: the best with {best:.2f}, needed {self._least:.2f}", code="text_unmatched")
        second = float(chances[order[1]]) if len(things) > 1 else 0.0
        if second >= self._least and best - second < self._spec.margin and not said & set(self._spec.plural):
            raise NoTarget(f"two things fit {text!r} with {best:.2f} and {second:.2f}; say more, e.g. left or its colour", code="text_ambiguous")
        return Meant(best, point_m=things.clicks_m[order[0]])

    def chances(self, text: str, features: np.ndarray) -> np.ndarray:
        """(T,) probability that the words describe each thing. Raises NoTarget ``text_unknown`` for text without words."""
        try:
            tokens = words.tokenize(text)
        except DexError as error:
            raise NoTarget(str(error), code="text_unknown") from error
        out = self._session.run({TOKENS: np.repeat(tokens, len(features), axis=0), THINGS: features})[LOGIT][:, 0]
        return 1.0 / (1.0 + np.exp(-out.astype(np.float64)))
