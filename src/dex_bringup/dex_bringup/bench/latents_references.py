# SPDX-License-Identifier: Apache-2.0
"""The references of every ordered pair on a random part of its pinches, and ours on the very same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from dex_bringup.bench.latents_figures import BOTH, share
from dex_bringup.bench.latents_hands import FREE
from dex_bringup.bench.latents_measure import Key, Pair, at
from dex_bringup.bench.latents_oracle import goals_in_reach, one_finger, whole_hand
from dex_core.retarget import TargetHand
from dex_core.retarget.latent_scores import GAP_M, PairErrors, ScoredHand, is_pinch, shared_fingers
from dex_core.types import Array

HALF = 0.5
"""Of the released error: the goal whose reach is searched."""
OTHERS = 1e-3
"""Weight of fingers that do not pinch, beside 1."""


class References:
    """Searches on right hands.

    Args:
        hands: by name. count: pinches of each pair and table. starts: postures of each search. reach: source postures tried for the goals.
        seed: of what is chosen.
    """

    def __init__(self, hands: Mapping[str, ScoredHand], count: int, starts: int, reach: int, seed: int) -> None:
        self._hands, self._count, self._starts, self._reach, self._seed = hands, count, starts, reach, seed

    @cached_property
    def _targets(self) -> dict[str, TargetHand]:
        return {name: TargetHand.load(name, "right") for name in self._hands}

    def pair(self, key: Key, pair: Pair, kind: str) -> dict[str, float]:
        """Oracle for one finger alone and for the whole posture, and ours on the same pinches [mm, degrees]."""
        fingers = shared_fingers(*(self._hands[name] for name in key))
        vectors = pair.vectors[kind][0]
        pinches = is_pinch(np.linalg.norm(vectors, axis=-1), GAP_M)
        places = self._some(np.argwhere(pinches), self._count)
        if not len(places):
            return {}
        target, (rows, columns) = self._targets[key[1]], places.T
        alone = one_finger(target, [fingers[j] for j in columns], vectors[rows, columns], self._starts)
        weights = np.where(pinches[rows], 1.0, OTHERS)
        weights[np.arange(len(rows)), columns] = 1.0
        whole = whole_hand(target, fingers, vectors[rows], weights, self._starts)
        whole = PairErrors(*(part[np.arange(len(rows)), columns] for part in whole))
        figures = {"oracle_count": len(places)}
        for who, errors in (("oracle", alone), ("whole", whole), ("ours_there", at(pair, kind, places))):
            figures |= {f"{who}_distance_mm": 1e3 * float(errors.distance_m.mean()), f"{who}_direction_deg": float(errors.direction_deg.mean())}
        return figures

    def reach(self, key: Key, pair: Pair, kind: str, released: Sequence[Pair]) -> dict[str, float]:
        """Whether any posture of the target could halve the released errors of the same pinches; nothing for hands it cannot be tried on."""
        fingers = shared_fingers(*(self._hands[name] for name in key))
        vectors = pair.vectors[kind][0]
        pinches = is_pinch(np.linalg.norm(vectors, axis=-1), GAP_M)
        rows = self._some(np.flatnonzero(pinches.any(axis=1)), self._reach)
        if not len(rows):
            return {}
        places = np.array([(row, column) for row in rows for column in np.flatnonzero(pinches[row])])
        errors = [at(other, kind, places, fitted=fitted) for other in released for fitted in (False, True)]
        goals = HALF * 1e3 * min(float(e.distance_m.mean()) for e in errors), HALF * min(float(e.direction_deg.mean()) for e in errors)
        found = goals_in_reach(self._hands[key[1]], fingers, vectors[rows], pinches[rows], goals)
        if found is None:
            return {}
        return {"reach": found.value, "reach_distance_mm": found.distance_mm, "reach_direction_deg": found.direction_deg}

    def _some(self, rows: Array, count: int) -> Array:
        return np.random.default_rng(self._seed).permutation(rows)[:count]


def reference_figures(
    references: References, pairs: Mapping[Key, Pair], theirs: Mapping[Key, Pair], say: Callable[[str], None],
) -> dict[str, float]:
    """Of every pair and both tables, and ours by the oracle on average: the mean over pairs by the mean over pairs."""
    out: dict[str, float] = {}
    for number, (key, pair) in enumerate(pairs.items(), 1):
        say(f"  {number} of {len(pairs)}: {key[0]} to {key[1]}")
        for kind in BOTH:
            stem = f"{key[0]}_to_{key[1]}_{kind}"
            out |= {f"{stem}_{name}": value for name, value in references.pair(key, pair, kind).items()}
            released = [other for (a, b), other in theirs.items() if (a.removesuffix(FREE), b.removesuffix(FREE)) == key]
            if released:
                out |= {f"{stem}_{name}": value for name, value in references.reach(key, pair, kind, released).items()}
    for kind in BOTH if pairs else ():
        for error, unit in (("distance", "mm"), ("direction", "deg")):
            means = {
                who: float(np.mean([out[k] for a, b in pairs if (k := f"{a}_to_{b}_{kind}_{who}_{error}_{unit}") in out]))
                for who in ("oracle", "whole", "ours_there")
            }
            out |= {f"average_{kind}_{who}_{error}_{unit}": value for who, value in means.items()}
            out[f"average_{kind}_{error}_times_oracle"] = share(means["ours_there"], means["oracle"])
            out[f"average_{kind}_{error}_times_whole"] = share(means["ours_there"], means["whole"])
    return out
