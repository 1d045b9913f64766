# SPDX-License-Identifier: Apache-2.0
"""What a hand could do with the pinches of another one, whatever decodes them: the references a latent space is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dex_core.retarget import TargetHand, closest_pinch
from dex_core.retarget.compiled import make_problem
from dex_core.retarget.latent_scores import PairErrors, ScoredHand, pair_errors
from dex_core.retarget.retargeter import REST_WEIGHT, spread_starts
from dex_core.types import Array

THUMB_GRID, FINGER_GRID = 48, 160
"""Postures a side of the thumb's grid and of a finger's, of which the best are refined."""
REFINED, ROUNDS = 4, 3
"""The best cells of the thumb's grid are searched so often on a grid of 9 by 9, each a quarter as wide as the one before."""


def one_finger(target: TargetHand, fingers: Sequence[str], vectors_m: Array, starts: int) -> PairErrors:
    """(p,) errors when the whole hand serves one vector: nearest vectors to (p, 3), each with the finger named."""
    reached = np.array([closest_pinch(target, [f], v[None], starts=starts).reached_m[0] for f, v in zip(fingers, vectors_m, strict=True)])
    return pair_errors(vectors_m, reached)


def whole_hand(target: TargetHand, fingers: Sequence[str], vectors_m: Array, weights: Array, starts: int) -> PairErrors:
    """(p, f) errors when one posture serves all fingers: the weighted sum of squared vector errors to (p, f, 3) at its least."""
    thumb = target.fingers.index("thumb")
    problem = make_problem(target.kinematics, target.kinematics.tips, [(target.fingers.index(f), thumb) for f in fingers], target.free)
    rest, postures = target.rest_rad, spread_starts(target, starts)
    hold = np.full(rest.size, 1e-3 * REST_WEIGHT)
    rows = [target.fingers.index(f) for f in fingers]
    reached = np.empty_like(vectors_m)
    for i, (wanted, weight) in enumerate(zip(vectors_m, weights, strict=True)):
        best = problem.search(target.in_root(wanted), weight, rest, hold, postures, target.groups)
        reached[i] = target.in_palm(best.points_m[rows] - best.points_m[thumb])
    return pair_errors(vectors_m, reached)


class Reach(NamedTuple):
    """What is the least a hand can do to both errors at once.

    Attributes:
        value: mean over pinches of half the distance by its goal and half the direction by its goal; above 1 no decoder meets both goals.
        distance_mm, direction_deg: means at that optimum.
    """

    value: float
    distance_mm: float
    direction_deg: float


def goals_in_reach(target: ScoredHand, fingers: Sequence[str], vectors_m: Array, pinches: np.ndarray, goals: tuple[float, float]) -> Reach | None:
    """The least of the goals' own cost over all postures of a hand with a thumb of two joints and fingers of one.

    Args:
        target: hand. fingers: f names. vectors_m: (p, f, 3) wanted. pinches: (p, f) which count, at least one a row.
        goals: mean distance [mm] and mean direction [degrees] to be reached.

    Returns:
        None for hands with more joints a finger, whose postures are too many to try.
    """
    columns = _columns(target)
    if len(columns["thumb"]) != 2 or any(len(columns[f]) != 1 for f in fingers):
        return None
    grids = {f: _sweep(target, f, columns[f], FINGER_GRID) for f in fingers}
    low, high = target.lower_rad[columns["thumb"]], target.upper_rad[columns["thumb"]]
    steps = np.stack(np.meshgrid(*(np.linspace(a, b, THUMB_GRID) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1).reshape(-1, 2)
    first = _thumb(target, columns["thumb"], steps)
    total = np.zeros(3)
    for wanted, counts in zip(vectors_m, pinches, strict=True):
        chosen = [(grids[f], v) for f, v, use in zip(fingers, wanted, counts, strict=True) if use]
        costs = _costs(first, chosen, goals)[0]
        best = np.array([np.inf, 0.0, 0.0])
        for cell in np.argsort(costs)[:REFINED]:
            best = min(best, _refined(target, columns["thumb"], steps[cell], (high - low) / THUMB_GRID, chosen, goals), key=lambda x: x[0])
        total += best
    return Reach(*(total / pinches.sum()))


def _columns(hand: ScoredHand) -> dict[str, np.ndarray]:
    """Finger -> the joints that move its tip."""
    middle = 0.5 * (hand.lower_rad + hand.upper_rad)
    _, jacobian = hand.tips_and_jacobian(middle[None])
    return {f: np.flatnonzero(np.abs(jacobian[0, i]).max(axis=0) > 1e-9) for i, f in enumerate(hand.fingers)}


def _sweep(hand: ScoredHand, finger: str, columns: np.ndarray, count: int) -> Array:
    """(count, 3) places of a finger's tip along its one joint."""
    q = np.tile(hand.lower_rad, (count, 1))
    q[:, columns[0]] = np.linspace(hand.lower_rad[columns[0]], hand.upper_rad[columns[0]], count)
    return hand.tips(q)[:, hand.fingers.index(finger)]


def _thumb(hand: ScoredHand, columns: np.ndarray, values: Array) -> Array:
    """(g, 3) places of the thumb's tip at (g, 2) joints."""
    q = np.tile(hand.lower_rad, (len(values), 1))
    q[:, columns] = np.clip(values, hand.lower_rad[columns], hand.upper_rad[columns])
    return hand.tips(q)[:, hand.fingers.index("thumb")]


def _costs(thumb: Array, chosen: Sequence[tuple[Array, Array]], goals: tuple[float, float]) -> Array:
    """(3, g) least cost of each place of the thumb, and the distance [mm] and direction [degrees] there, summed over fingers."""
    out = np.zeros((3, len(thumb)))
    each = np.arange(len(thumb))
    for tips, wanted in chosen:
        vectors = tips[None] - thumb[:, None]  # (g, c, 3)
        length, size = np.sqrt(np.einsum("gci,gci->gc", vectors, vectors)), float(np.linalg.norm(wanted))
        distance = 1e3 * np.abs(length - size)
        angle = np.degrees(np.arccos(np.clip(vectors @ (wanted / size) / np.maximum(length, 1e-9), -1.0, 1.0)))
        cost = 0.5 * (distance / goals[0] + angle / goals[1])
        best = cost.argmin(axis=1)
        out += [cost[each, best], distance[each, best], angle[each, best]]
    return out


def _refined(
    hand: ScoredHand, columns: np.ndarray, centre: Array, width: Array, chosen: Sequence[tuple[Array, Array]], goals: tuple[float, float],
) -> Array:
    """(3,) as :func:`_costs`, the least near a place of the thumb's grid."""
    best = np.array([np.inf, 0.0, 0.0])
    square = np.stack(np.meshgrid(np.linspace(-1.0, 1.0, 9), np.linspace(-1.0, 1.0, 9), indexing="ij"), axis=-1).reshape(-1, 2)
    for _ in range(ROUNDS):
        values = centre + square * width
        found = _costs(_thumb(hand, columns, values), chosen, goals)
        place = int(found[0].argmin())
        if found[0, place] < best[0]:
            best = found[:, place]
        centre, width = values[place], width / 4.0
    return best
