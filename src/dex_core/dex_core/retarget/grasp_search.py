# SPDX-License-Identifier: Apache-2.0
"""A ball between thumb and index of a hand whose tips cannot meet level over a table: searched over both fingers' joints, wherever they touch it."""
from __future__ import annotations

import numpy as np

from dex_core.retarget.grasp_ball import BALL_M, Ball, Capsules, fit_ball, nearest
from dex_core.retarget.retargeter import kronecker
from dex_core.retarget.target import TargetHand
from dex_core.types import Array

SAMPLES = 900
X_M, Y_M, Z_M = (0.04, 0.13), (-0.06, 0.10), (0.07, 0.20)
"""Where the ball may be on the palm's axes, thumb's side positive."""
STEP_M, NEAR_M = 0.01, 0.004


def search_hold(hand: TargetHand, capsules: Capsules, lowest_m: float) -> tuple[Array, Ball] | None:
    """Joints (n,) and the ball whose two contacts face each other best with nothing further than ``lowest_m`` below its middle; None: there is none.

    The other fingers take the index's joints, which asks for fingers of one kind. Deterministic.
    """
    columns = {f: list(hand.kinematics.tree.columns_of(tip)) for f, tip in zip(hand.fingers, hand.kinematics.tips, strict=True)}
    if any(len(columns[f]) != len(columns["index"]) for f in hand.fingers if f != "thumb"):
        return None
    samples = {finger: _samples(hand, capsules, finger, columns) for finger in ("thumb", "index")}
    side, best = (1.0 if hand.side == "right" else -1.0), None
    for z in np.arange(*Z_M, STEP_M):
        x, y = np.meshgrid(np.arange(*X_M, STEP_M), side * np.arange(*Y_M, STEP_M), indexing="ij")
        centres = np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)
        thumb, index = (_touching(samples[finger], centres, z + lowest_m) for finger in ("thumb", "index"))
        for at, centre in enumerate(centres):
            if thumb[at] and index[at]:
                facing = -np.array([n for _, n in thumb[at]]) @ np.array([n for _, n in index[at]]).T
                i, j = np.unravel_index(int(np.argmax(facing)), facing.shape)
                if best is None or facing[i, j] > best[0] + 1e-9:
                    best = (float(facing[i, j]), samples["thumb"][thumb[at][i][0]][0], samples["index"][index[at][j][0]][0], centre)
    if best is None:
        return None
    q = best[2].copy()
    q[columns["thumb"]] = best[1][columns["thumb"]]
    return q, fit_ball(capsules.at(q), best[3])


def _samples(
    hand: TargetHand, capsules: Capsules, finger: str, columns: dict[str, list[int]]
) -> list[tuple[Array, tuple[Array, Array, Array], float]]:
    """(joints, capsules of the finger, how far it reaches) of postures spread evenly over the finger's joints."""
    lower, upper, found = hand.kinematics.lower_rad, hand.kinematics.upper_rad, []
    others = [f for f in hand.fingers if f != "thumb"] if finger == "index" else [finger]
    for share in kronecker(len(columns[finger]), SAMPLES):
        q = hand.rest_rad.copy()
        for other in others:
            q[columns[other]] = lower[columns[other]] + share * (upper - lower)[columns[other]]
        first, last, radius = part = getattr(capsules.at(q), finger)
        found.append((q, part, float((np.maximum(first[:, 2], last[:, 2]) + radius).max())))
    return found


def _touching(samples: list[tuple[Array, tuple[Array, Array, Array], float]], centres: Array, limit_m: float) -> list[list[tuple[int, Array]]]:
    """For every centre the samples whose finger touches a ball there and stays above the limit, with the direction of the contact."""
    found: list[list[tuple[int, Array]]] = [[] for _ in centres]
    for row, (_, part, reach) in enumerate(samples):
        if reach <= limit_m:
            distance, towards = nearest(part, centres)
            for at in np.flatnonzero(np.abs(distance - BALL_M / 2) < NEAR_M):
                found[at].append((row, towards[at]))
    return found
