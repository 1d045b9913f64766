# SPDX-License-Identifier: Apache-2.0
"""Every score of one latent space on given samples: hand by hand, and for each ordered pair of hands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dex_bringup.bench.latents_hands import FREE, CodedHand, Space
from dex_core.retarget.latent_scores import (
    PairErrors,
    ScoredHand,
    best_rotation,
    continuity,
    interpolation,
    is_pinch,
    pair_errors,
    reconstruction,
    sample_pinches,
    sample_uniform,
    shared_fingers,
)
from dex_core.types import Array

PINCH_GAP_M = 0.02
"""Thumb to finger of the pinch poses of the paper's pinch columns; the paper does not say."""
EXPONENT = 12.0
"""Of exp(-12 |vector| / m), the weight of a vector in the fitted rotation, as in the training of the released space."""
PAPER_UNITS = {
    "recon_joint_e2_rad": 1e2, "recon_tip_e3_m": 1.0, "pinch_direction_deg": 1.0, "pinch_distance_e3_m": 1.0, "random_direction_deg": 1.0,
    "random_distance_e3_m": 1.0, "continuity_joint_rad": 1.0, "continuity_tip_e3_m": 1.0, "interpolation_accel_e4_m": 10.0,
    "interpolation_jerk_e4_m": 10.0,
}
"""Columns of the paper's table -> the factor from what is measured here (mm, rad, degrees)."""
Key = tuple[str, str]


class Drawn(NamedTuple):
    """(m, n) samples of one hand: uniform; pinched with a gap of ``GAP_M`` and of ``PINCH_GAP_M``, and the finger row that pinches;
    and those the rotation is fitted on."""

    uniform: Array
    pinched: Array
    posed: Array
    posing: Array
    fitting: Array


class Pair(NamedTuple):
    """Means over samples and fingers of one ordered pair of hands [mm, degrees]; keys ``palm`` and ``fitted`` say on which axes.

    Attributes:
        errors: (distance, direction on palm axes, direction after the fitted rotation) of ``random``, ``posed``, ``uniform``, ``pinched``.
        by_finger: finger -> the same for ``pinched``.
        count: pinches of 5 to 60 mm among the uniform and among the pinched samples.
        vectors: sample set -> (source, target) vectors (m, f, 3), for the comparison with an oracle.
        rotation: (3, 3) the fitted one.
    """

    errors: dict[str, tuple[float, float, float]]
    by_finger: dict[str, tuple[float, float, float]]
    count: tuple[int, int]
    vectors: dict[str, tuple[Array, Array]]
    rotation: Array

    @property
    def turn_deg(self) -> float:
        """Angle of the fitted rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1.0) / 2.0, -1.0, 1.0))))


def draw(hands: Mapping[str, ScoredHand], count: int, gap_m: tuple[float, float], seed: int) -> dict[str, Drawn]:
    """Samples of every hand; those of one hand do not depend on which others there are."""
    out = {}
    for name, hand in hands.items():
        rng = np.random.default_rng([seed, *name.encode()])
        uniform = sample_uniform(hand, count, rng)
        pinched, _, _ = sample_pinches(hand, count, gap_m, rng)
        posed, posing, _ = sample_pinches(hand, count, (PINCH_GAP_M, PINCH_GAP_M), rng)
        fitting = np.concatenate([sample_uniform(hand, count // 2, rng), sample_pinches(hand, count // 2, (0.0, 0.02), rng)[0]])
        out[name] = Drawn(uniform, pinched, posed, posing, fitting)
    return out


def measure_hand(coded: CodedHand, samples: Drawn, seed: int) -> dict[str, float]:
    """Reconstruction, continuity and interpolation of one hand (rad, mm; see latent_scores)."""
    hand, codec, expand = coded
    q, half = samples.uniform @ expand.T, len(samples.uniform) // 2
    return {
        **reconstruction(hand, codec, q), **continuity(hand, codec, q, np.random.default_rng(seed)),
        **interpolation(hand, codec, q[:half], q[half : 2 * half]),
    }


def measure_pair(source: CodedHand, target: CodedHand, samples: Drawn, gap_m: tuple[float, float]) -> Pair:
    """Every sample of the source encoded by the source and decoded by the target."""
    fingers = shared_fingers(source.hand, target.hand)
    rotation = _fitted(source, target, samples.fitting, fingers)
    vectors = {kind: _vectors(source, target, getattr(samples, kind), fingers) for kind in ("uniform", "pinched", "posed")}
    pinches = {kind: is_pinch(np.linalg.norm(vectors[kind][0], axis=-1), gap_m) for kind in ("uniform", "pinched")}
    rows = np.array([fingers.index(f) if f in fingers else -1 for f in source.hand.others])[samples.posing]
    masks = {
        "random": np.ones(vectors["uniform"][0].shape[:2], dtype=bool), "posed": rows[:, None] == np.arange(len(fingers))[None, :], **pinches,
    }
    errors = {kind: _means(vectors["uniform" if kind == "random" else kind], mask, rotation) for kind, mask in masks.items()}
    by_finger = {
        finger: _means(vectors["pinched"], pinches["pinched"] & (np.arange(len(fingers)) == i), rotation) for i, finger in enumerate(fingers)
    }
    return Pair(errors, by_finger, (int(pinches["uniform"].sum()), int(pinches["pinched"].sum())), vectors, rotation)


def _vectors(source: CodedHand, target: CodedHand, q: Array, fingers: tuple[str, ...]) -> tuple[Array, Array]:
    own = q @ source.expand.T
    return source.hand.vectors(own, fingers), target.hand.vectors(target.codec.decode(source.codec.encode(own)), fingers)


def _fitted(source: CodedHand, target: CodedHand, q: Array, fingers: tuple[str, ...]) -> Array:
    wanted, got = _vectors(source, target, q, fingers)
    return best_rotation(wanted, got, np.exp(-EXPONENT * np.linalg.norm(wanted, axis=-1)))


def _means(vectors: tuple[Array, Array], mask: np.ndarray, rotation: Array) -> tuple[float, float, float]:
    if not mask.any():
        return float("nan"), float("nan"), float("nan")
    plain, turned = pair_errors(*vectors), pair_errors(*vectors, rotation)
    return 1e3 * float(plain.distance_m[mask].mean()), float(plain.direction_deg[mask].mean()), float(turned.direction_deg[mask].mean())


def measure_space(
    space: Space, samples: Mapping[str, Drawn], gap_m: tuple[float, float], seed: int,
) -> tuple[dict[str, dict[str, float]], dict[Key, Pair]]:
    """(hand -> its scores, (source, target) -> its errors) of all hands, those with free followers under their own names."""
    alone = {name: measure_hand(coded, samples[name.removesuffix(FREE)], seed) for name, coded in space.hands.items()}
    pairs = {
        (a, b): measure_pair(one, other, samples[a.removesuffix(FREE)], gap_m)
        for a, one in space.hands.items() for b, other in space.hands.items() if a.removesuffix(FREE) != b.removesuffix(FREE)
    }
    return alone, pairs


def at(pair: Pair, kind: str, places: np.ndarray, *, fitted: bool = False) -> PairErrors:
    """(p,) errors at p places (sample, finger) of a sample set, on palm axes or after the fitted rotation."""
    source, target = (v[places[:, 0], places[:, 1]] for v in pair.vectors[kind])
    return pair_errors(source, target, pair.rotation if fitted else None)


def paper_columns(alone: Mapping[str, Mapping[str, float]], pairs: Mapping[Key, Pair], *, fitted: bool = False) -> dict[str, float]:
    """The ten columns of the paper's ablation table in its units: means over hands and over ordered pairs."""
    def hands(key: str) -> float:
        return float(np.mean([scores[key] for scores in alone.values()]))

    def over_pairs(kind: str, row: int) -> float:
        return float(np.mean([pair.errors[kind][row] for pair in pairs.values()])) if pairs else float("nan")

    axes = 2 if fitted else 1
    values = (
        hands("joint_rmse_rad"), hands("tip_rmse_mm"), over_pairs("posed", axes), over_pairs("posed", 0), over_pairs("random", axes),
        over_pairs("random", 0), hands("continuity_joint_rad"), hands("continuity_tip_mm"), hands("interpolation_accel_mm"),
        hands("interpolation_jerk_mm"),
    )
    return {name: factor * value for (name, factor), value in zip(PAPER_UNITS.items(), values, strict=True)}
