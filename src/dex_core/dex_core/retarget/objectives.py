# SPDX-License-Identifier: Apache-2.0
"""Objectives of retargeting: which vectors of the hand follow which vectors of the human hand, how long and how strongly."""
from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from dex_core.config import FINGERS
from dex_core.retarget.keypoints import phalanx_row, tip_row
from dex_core.retarget.target import TargetHand
from dex_core.types import Array

PHALANX_WEIGHT = 0.1
"""Of a vector to a middle phalanx beside 1 of one to a tip: it decides how a finger bends, not where its tip goes."""


class Wanted(NamedTuple):
    """(m, 3) vectors in the root frame [m] and their (m,) weights."""

    targets_m: Array
    weights: Array


class Objective(Protocol):
    """Attributes: frames, points of the hand by name, all fingertips first; pairs, head and tail of each vector (tail -1: the root's origin)."""

    frames: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def wanted(self, points_m: Array, scale: float, *, first: bool) -> Wanted:
        """What a human hand asks for: (21, 3) keypoints in their palm; ``first`` forgets what came before."""
        ...


class TipVectors:
    """Wrist to every tip and, with weight, to every middle phalanx.

    Args:
        hand: which follows.
        phalanx_weight: of the vectors to the phalanges; 0: tips alone.
    """

    def __init__(self, hand: TargetHand, phalanx_weight: float = PHALANX_WEIGHT) -> None:
        self._hand = hand
        bent = {f: frame for f, frame in hand.phalanges.items() if phalanx_weight > 0.0}
        self.frames = (*hand.kinematics.tips, *bent.values())
        self.pairs = tuple((row, -1) for row in range(len(self.frames)))
        self._rows = [tip_row(f) for f in hand.fingers] + [phalanx_row(f) for f in bent]
        self._weights = np.array([1.0] * len(hand.fingers) + [phalanx_weight] * len(bent))

    def wanted(self, points_m: Array, scale: float, *, first: bool) -> Wanted:
        """Scaled wrist-to-point vectors, from the wrist that the hand would have."""
        del first  # nothing is remembered
        return Wanted(self._hand.wrist_m + self._hand.in_root(scale * points_m[self._rows]), self._weights)


class Pinches(NamedTuple):
    """DexPilot's numbers, in metres of a hand whose middle finger is ``finger_m`` long.

    Attributes:
        project_m, escape_m: a pinch begins below the first and ends above the second.
        touch_m: thumb to finger in a pinch.
        apart_m: two fingers that both pinch the thumb and are nearer than this.
        thumb_weight, finger_weight: of those vectors, beside 1 without a pinch.
        rate: largest change of emphasis (0 to 1) from one step of a track to the next.
        finger_m: length of the middle finger these numbers were made for.
    """

    project_m: float = 0.03
    escape_m: float = 0.045
    touch_m: float = 1e-4
    apart_m: float = 0.03
    thumb_weight: float = 200.0
    finger_weight: float = 400.0
    rate: float = 0.15
    finger_m: float = 0.1


PINCHES = Pinches()


class DexPilotVectors:
    """Thumb to each finger, finger to finger, and wrist to tips, after Handa et al., DexPilot (ICRA 2020, arXiv 1910.03135):
    a vector shorter than a threshold is projected (thumb: to touching, weight 200; two pinching fingers: to 3 cm, weight 400,
    beside 1 for all others).

    Other than there, a pinch that began lasts until ``escape_m``, and on a track its emphasis grows and fades over a few steps, so that
    the joints do not jump where it begins.
    """

    def __init__(self, hand: TargetHand, pinches: Pinches = PINCHES) -> None:
        self._hand, self._pinches = hand, pinches
        fingers = [f for f in FINGERS if f in hand.fingers]
        thumb, others = fingers[0], fingers[1:]
        named = [(f, thumb) for f in others] + [(b, a) for i, a in enumerate(others) for b in others[i + 1 :]]
        rows = {f: hand.fingers.index(f) for f in fingers}
        self.frames = tuple(hand.kinematics.tips)
        self.pairs = (*((rows[a], rows[b]) for a, b in named), *((rows[f], -1) for f in hand.fingers))
        self._heads = [tip_row(a) for a, _ in named]
        self._tails = [tip_row(b) for _, b in named]
        self._tips = [tip_row(f) for f in hand.fingers]
        self._thumbs = len(others)
        self._between = [(others.index(a), others.index(b)) for a, b in named[self._thumbs :]]
        self._pinching = np.zeros(self._thumbs, dtype=bool)
        self._emphasis = np.zeros(self._thumbs)

    @property
    def emphasis(self) -> Array:
        """(k - 1,) 0 to 1: how much each finger is held to pinch the thumb."""
        return self._emphasis.copy()

    def wanted(self, points_m: Array, scale: float, *, first: bool) -> Wanted:
        """DexPilot's vectors; pinches are told in human size, whatever the scale."""
        p, hand = self._pinches, self._hand
        vectors = points_m[self._heads] - points_m[self._tails]  # (pairs, 3)
        distance = np.linalg.norm(vectors, axis=1)
        size = scale * p.finger_m / hand.length_m  # human metres to those of the thresholds
        self._follow(distance[: self._thumbs] * size, first=first)
        near = np.clip(3.0 - 2.0 * distance[self._thumbs :] * size / p.apart_m, 0.0, 1.0)  # fades up to half as far again
        both = near * [min(self._emphasis[a], self._emphasis[b]) for a, b in self._between]
        share = np.concatenate([self._emphasis, both])
        held = np.where(np.arange(share.size) < self._thumbs, p.touch_m, p.apart_m)
        strong = np.where(np.arange(share.size) < self._thumbs, p.thumb_weight, p.finger_weight)
        length = (1.0 - share) * scale * distance + share * held
        projected = vectors * (length / np.maximum(distance, 1e-9))[:, None]
        tips = hand.wrist_m + hand.in_root(scale * points_m[self._tips])
        return Wanted(np.concatenate([hand.in_root(projected), tips]), np.concatenate([strong**share, np.ones(len(tips))]))

    def _follow(self, distance_m: Array, *, first: bool) -> None:
        p = self._pinches
        before = np.zeros(self._thumbs, dtype=bool) if first else self._pinching
        self._pinching = np.where(before, distance_m < p.escape_m, distance_m < p.project_m)
        step = 1.0 if first else p.rate
        goal = self._pinching.astype(float)
        self._emphasis = goal if first else self._emphasis + np.clip(goal - self._emphasis, -step, step)
