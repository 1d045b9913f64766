# SPDX-License-Identifier: Apache-2.0
"""Scores of a shared latent space over several hands, in NumPy; every definition as an equation in docs/latents.md.

Arrays: q (m, n) joints [rad], z (m, d) latents, tips (m, k, 3) and thumb-to-finger vectors (m, f, 3) on the palm's axes [m].
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dex_core.errors import DexError
from dex_core.types import Array

SIGMA = 0.05
"""Standard deviation of the noise on each latent dimension, for continuity."""
POINTS = 16
"""Codes from one end of an interpolation to the other, both ends included."""
GAP_M = (0.005, 0.06)
"""Thumb to finger of a source pinch that counts: below it the direction has no meaning, above it is no pinch."""
GAP_TOLERANCE_M = 5e-4
PINCH_STEPS = 15


class ScoredHand(NamedTuple):
    """A hand as the scores need it.

    Attributes:
        name: of the hand.
        joints: n names, the columns of every q.
        fingers: k semantic names, the rows of every tip.
        lower_rad, upper_rad: (n,) limits that samples keep.
        tips: (m, n) -> (m, k, 3) on the palm's axes, a left hand's mirrored so that it looks like a right one's [m].
        tips_and_jacobian: the same and (m, k, 3, n) [m/rad].
    """

    name: str
    joints: tuple[str, ...]
    fingers: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    tips: Callable[[Array], Array]
    tips_and_jacobian: Callable[[Array], tuple[Array, Array]]

    def vectors(self, q: Array, fingers: Sequence[str]) -> Array:
        """(m, f, 3) from the thumb's tip to those of ``fingers``."""
        tips = self.tips(q)
        return tips[:, [self.fingers.index(f) for f in fingers]] - tips[:, None, self.fingers.index("thumb")]

    @property
    def others(self) -> tuple[str, ...]:
        """Its fingers without the thumb."""
        return tuple(f for f in self.fingers if f != "thumb")


class Codec(NamedTuple):
    """Encoder (m, n) -> (m, d) and decoder (m, d) -> (m, n) of one hand."""

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]


def shared_fingers(source: ScoredHand, target: ScoredHand) -> tuple[str, ...]:
    """Fingers besides the thumb that both have."""
    return tuple(f for f in source.others if f in target.others)


def sample_uniform(hand: ScoredHand, count: int, rng: np.random.Generator) -> Array:
    """(count, n) uniform inside the limits."""
    return rng.uniform(hand.lower_rad, hand.upper_rad, (count, len(hand.joints)))


def sample_pinches(hand: ScoredHand, count: int, gap_m: tuple[float, float], rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Random postures moved until one finger is a given gap from the thumb: the least joint motion, inside the limits.

    Args:
        hand: to move. count: postures. gap_m: the gap is uniform between these, and the same for all where they are equal.
        rng: of everything drawn.

    Returns:
        (count, n) postures, (count,) row in ``hand.others`` of the finger that pinches, (count,) gaps [m].

    Raises:
        DexError: ``no_pinch`` where the hand hardly ever gets there.
    """
    found: list[tuple[Array, Array, Array]] = []
    kept = 0
    for _ in range(20):
        q, finger, gap = sample_uniform(hand, count, rng), rng.integers(0, len(hand.others), count), rng.uniform(*gap_m, count)
        q, error = _to_gap(hand, q, finger, gap)
        good = error <= GAP_TOLERANCE_M
        found.append((q[good], finger[good], gap[good]))
        kept += int(good.sum())
        if kept >= count:
            q, finger, gap = (np.concatenate(part)[:count] for part in zip(*found, strict=True))
            return q, finger, gap
    raise DexError(f"hand {hand.name!r}: {kept} of {20 * count} random postures can be brought to a gap of {gap_m} m", code="no_pinch")


def _to_gap(hand: ScoredHand, q: Array, finger: Array, gap_m: Array) -> tuple[Array, Array]:
    """Newton's steps on the one distance, in the direction of least joint motion; joints stop at their limits."""
    rows = np.array([hand.fingers.index(f) for f in hand.others])[finger]
    thumb, each = hand.fingers.index("thumb"), np.arange(len(q))
    for _ in range(PINCH_STEPS):
        tips, jacobian = hand.tips_and_jacobian(q)
        vector = tips[each, rows] - tips[:, thumb]
        length = np.maximum(np.linalg.norm(vector, axis=1), 1e-9)
        slope = np.einsum("mi,min->mn", vector / length[:, None], jacobian[each, rows] - jacobian[:, thumb])
        error = length - gap_m
        pushed = -error[:, None] * slope
        slope = np.where(((q <= hand.lower_rad) & (pushed < 0.0)) | ((q >= hand.upper_rad) & (pushed > 0.0)), 0.0, slope)
        step = -(error / (np.sum(slope**2, axis=1) + 1e-7))[:, None] * slope
        q = np.clip(q + np.clip(step, -0.2, 0.2), hand.lower_rad, hand.upper_rad)
    tips = hand.tips(q)
    return q, np.abs(np.linalg.norm(tips[each, rows] - tips[:, thumb], axis=1) - gap_m)


def reconstruction(hand: ScoredHand, codec: Codec, q: Array) -> dict[str, float]:
    """Joints and tips of D(E(q)) beside those of q: root mean squares as the paper's columns, and means."""
    back = codec.decode(codec.encode(q))
    tip = hand.tips(back) - hand.tips(q)
    return {
        "joint_rmse_rad": float(np.sqrt(np.mean((back - q) ** 2))), "tip_rmse_mm": 1e3 * float(np.sqrt(np.mean(tip**2))),
        "joint_mean_rad": float(np.abs(back - q).mean()), "tip_mean_mm": 1e3 * float(np.linalg.norm(tip, axis=-1).mean()),
    }


def continuity(hand: ScoredHand, codec: Codec, q: Array, rng: np.random.Generator) -> dict[str, float]:
    """How far joints and tips move when every latent dimension gets noise of ``SIGMA``; and the latent's own spread."""
    z = codec.encode(q)
    still, moved = codec.decode(z), codec.decode(z + SIGMA * rng.standard_normal(z.shape))
    return {
        "continuity_joint_rad": float(np.linalg.norm(moved - still, axis=1).mean()),
        "continuity_tip_mm": 1e3 * float(np.linalg.norm(hand.tips(moved) - hand.tips(still), axis=-1).mean()),
        "latent_std": float(z.std(axis=0).mean()),
    }


def interpolation(hand: ScoredHand, codec: Codec, q_from: Array, q_to: Array) -> dict[str, float]:
    """Mean second and third difference of the tips over ``POINTS`` codes from E(q_from) to E(q_to)."""
    z = codec.encode(q_from), codec.encode(q_to)
    share = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    codes = (1.0 - share) * z[0][:, None] + share * z[1][:, None]  # (m, points, d)
    joints = codec.decode(codes.reshape(-1, codes.shape[-1]))
    tips = hand.tips(joints).reshape(len(q_from), POINTS, len(hand.fingers), 3)
    return {
        f"interpolation_{name}_mm": 1e3 * float(np.linalg.norm(np.diff(tips, n=order, axis=1), axis=-1).mean())
        for name, order in (("accel", 2), ("jerk", 3))
    }


class PairErrors(NamedTuple):
    """Thumb-to-finger vectors of a source hand beside those of the target that was decoded from it: all (m, f).

    Attributes:
        gap_m: of the source. distance_m: difference of the lengths. direction_deg: angle between the vectors.
    """

    gap_m: Array
    distance_m: Array
    direction_deg: Array


def pair_errors(source_m: Array, target_m: Array, rotation: Array | None = None) -> PairErrors:
    """Errors of (m, f, 3) target vectors against the source's.

    Args:
        source_m: on the source's palm axes.
        target_m: on the target's palm axes.
        rotation: (3, 3) applied to the target's before the comparison: ``target @ rotation``.
    """
    turned = target_m if rotation is None else target_m @ rotation
    lengths = [np.linalg.norm(v, axis=-1) for v in (source_m, turned)]
    cross = np.linalg.norm(np.cross(source_m, turned), axis=-1)
    return PairErrors(lengths[0], np.abs(lengths[1] - lengths[0]), np.degrees(np.arctan2(cross, np.sum(source_m * turned, axis=-1))))


def is_pinch(gap_m: Array, limits_m: tuple[float, float] = GAP_M) -> np.ndarray:
    """Which source vectors count as pinches."""
    return (gap_m >= limits_m[0]) & (gap_m <= limits_m[1])


def best_rotation(source_m: Array, target_m: Array, weights: Array) -> Array:
    """(3, 3) R for ``target @ R`` nearest to the source's directions in the weighted least squares (Kabsch).

    Args:
        source_m, target_m: (m, f, 3).
        weights: (m, f).
    """
    a, b = (v.reshape(-1, 3) / np.maximum(np.linalg.norm(v.reshape(-1, 3), axis=1, keepdims=True), 1e-9) for v in (source_m, target_m))
    left, _, right = np.linalg.svd((b * weights.reshape(-1, 1)).T @ a)
    return left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
