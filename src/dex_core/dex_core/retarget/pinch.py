# SPDX-License-Identifier: Apache-2.0
"""The best a hand can do to hold its fingertips to its thumb as another hand does."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dex_core.errors import DexError
from dex_core.retarget.compiled import make_problem
from dex_core.retarget.retargeter import REST_WEIGHT, spread_starts
from dex_core.retarget.target import TargetHand
from dex_core.types import Array, frozen_array

STARTS = 64


class Pinched(NamedTuple):
    """Joints (n,) [rad] of the target hand, the ``fingers`` compared, their wanted and reached (k, 3) vectors from the thumb's tip on the
    palm's axes [m], and (k,) how far apart those are [m]."""

    position_rad: Array
    fingers: tuple[str, ...]
    wanted_m: Array
    reached_m: Array
    residual_m: Array


def pinch_vectors(hand: TargetHand, q: ArrayLike, fingers: Sequence[str]) -> Array:
    """(k, 3) thumb tip to each finger's tip on the palm's axes [m]."""
    tips = hand.kinematics.fingertips(q)
    thumb = tips[hand.fingers.index("thumb")]
    return hand.in_palm(np.array([tips[hand.fingers.index(finger)] - thumb for finger in fingers]))


def closest_pinch(hand: TargetHand, fingers: Sequence[str], vectors_m: ArrayLike, *, starts: int = STARTS) -> Pinched:
    """Joints whose (k, 3) thumb-to-finger vectors, on the palm's axes [m], are nearest to ``vectors_m``, searched from many postures.

    Args:
        hand: to move.
        fingers: k names, not the thumb.
        vectors_m: (k, 3).
        starts: postures besides the open hand; deterministic.
    """
    chosen, allowed = tuple(fingers), [f for f in hand.fingers if f != "thumb"]
    if not chosen or len(set(chosen)) != len(chosen) or any(f not in allowed for f in chosen):
        raise DexError(f"fingers {list(chosen)}: each of {allowed} at most once, at least one", code="joint_names")
    wanted = frozen_array(vectors_m, (len(chosen), 3), "thumb-to-finger vectors")
    thumb = hand.fingers.index("thumb")
    problem = make_problem(hand.kinematics, hand.kinematics.tips, [(hand.fingers.index(f), thumb) for f in chosen], hand.free)
    rest, weights = hand.rest_rad, np.ones(len(chosen))
    hold = np.full(rest.size, 1e-3 * REST_WEIGHT)
    best = problem.search(hand.in_root(wanted), weights, rest, hold, spread_starts(hand, starts), hand.groups).position_rad
    reached = pinch_vectors(hand, best, chosen)
    return Pinched(best, chosen, wanted, reached, np.linalg.norm(reached - wanted, axis=1))


def pinch_oracle(
    source: TargetHand, q_source: ArrayLike, target: TargetHand, *, fingers: Sequence[str] | None = None, scale: float = 1.0, starts: int = STARTS
) -> Pinched:
    """The best ``target`` can do to hold its fingertips to its thumb as ``source`` does: :func:`closest_pinch` of its vectors.

    Args:
        source: the hand that pinches; may be of the other side, whose vectors are then mirrored.
        q_source: (n,) its joints [rad].
        target: the hand to move.
        fingers: which to compare; None: all that both have, but the thumb.
        scale: of the vectors, source to target.
        starts: postures besides the open hand.
    """
    shared = [f for f in source.fingers if f in target.fingers and f != "thumb"]
    chosen = tuple(shared if fingers is None else fingers)
    if not chosen or any(f not in shared for f in chosen):
        raise DexError(f"fingers {list(chosen)}: at least one of {shared}, which both hands have", code="joint_names")
    wanted = scale * pinch_vectors(source, q_source, chosen)
    if source.side != target.side:
        wanted[:, 1] *= -1.0
    return closest_pinch(target, chosen, wanted, starts=starts)
