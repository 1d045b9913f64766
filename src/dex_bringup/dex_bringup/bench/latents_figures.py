# SPDX-License-Identifier: Apache-2.0
"""Scores of one or two latent spaces as flat figures: name -> number, unit in the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dex_bringup.bench.latents_hands import FREE, Space
from dex_bringup.bench.latents_measure import Key, Pair

BOTH = ("uniform", "pinched")
"""Samples of the two tables of pinches."""
SHARES = ("tip_mean", "joint_mean", "tip_rmse", "joint_rmse")
_ERRORS = ("distance_mm", "direction_palm_deg", "direction_fitted_deg")


def share(ours: float, other: float) -> float:
    """``ours`` by ``other``; infinite where the other is nothing, which misses every goal."""
    return ours / other if other > 0.0 else float("inf")


def bundle_figures(who: str, space: Space) -> dict[str, Any]:
    """Which bundle it was."""
    return {f"{who}_bundle": f"{space.bundle.manifest.name} {space.bundle.manifest.version}", f"{who}_hash": space.bundle.hash}


def hand_figures(ours: Mapping[str, Mapping[str, float]], theirs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Every score of every hand, and ours by the better of the released one's two ways to hold the hand."""
    figures = {f"{name}_ours_{key}": value for name, scores in ours.items() for key, value in scores.items()}
    for name in ours:
        found = [scores for other, scores in theirs.items() if other.removesuffix(FREE) == name]
        if not found:
            continue
        for key in found[0]:
            values = [scores[key] for scores in found]
            figures[f"{name}_released_{key}"] = min(values)
        if len(found) > 1:
            figures |= {f"{other}_released_{key}": v for other, scores in theirs.items() if other == f"{name}{FREE}" for key, v in scores.items()}
        for key in SHARES:
            full = next(k for k in found[0] if k.startswith(key))
            figures[f"{name}_{key}_share_of_released"] = share(figures[f"{name}_ours_{full}"], figures[f"{name}_released_{full}"])
    return figures


def pair_figures(ours: Mapping[Key, Pair], theirs: Mapping[Key, Pair]) -> dict[str, float]:
    """Both tables of pinches: ours on palm axes; the released one on palm axes and after its best rotation, the better one counts."""
    figures: dict[str, float] = {}
    for key, pair in ours.items():
        name = "_to_".join(key)
        found = [other for (a, b), other in theirs.items() if (a.removesuffix(FREE), b.removesuffix(FREE)) == key]
        figures |= {f"{name}_{kind}_count": pair.count[i] for i, kind in enumerate(BOTH)}
        for kind in BOTH:
            stem = f"{name}_{kind}"
            distance, direction, _ = pair.errors[kind]
            figures |= {f"{stem}_ours_distance_mm": distance, f"{stem}_ours_direction_deg": direction}
            if not found:
                continue
            best = [min(other.errors[kind][row] for other in found) for row in range(3)]
            figures |= {f"{stem}_released_{error}": value for error, value in zip(_ERRORS, best, strict=True)}
            figures[f"{stem}_released_direction_deg"] = min(best[1:])
            figures[f"{stem}_distance_share_of_released"] = share(distance, best[0])
            figures[f"{stem}_direction_share_of_released"] = share(direction, min(best[1:]))
        if found:
            figures[f"{name}_released_turn_deg"] = found[0].turn_deg
    shared = {key: pair for key, pair in ours.items() if key in theirs} if theirs else ours
    return figures | _averages(figures, ours) | _by_finger("ours", shared) | _by_finger("released", theirs)


def _averages(figures: Mapping[str, float], pairs: Mapping[Key, Pair]) -> dict[str, float]:
    out = {}
    for kind in BOTH:
        for who in ("ours", "released"):
            for error in ("distance_mm", "direction_deg"):
                values = [figures[k] for a, b in pairs if (k := f"{a}_to_{b}_{kind}_{who}_{error}") in figures]
                if values:
                    out[f"average_{kind}_{who}_{error}"] = float(np.mean(values))
        shared = [(a, b) for a, b in pairs if f"{a}_to_{b}_{kind}_released_distance_mm" in figures]
        for error in ("distance_mm", "direction_deg") if shared else ():
            out[f"average_{kind}_ours_same_pairs_{error}"] = float(np.mean([figures[f"{a}_to_{b}_{kind}_ours_{error}"] for a, b in shared]))
    return out


def _by_finger(who: str, pairs: Mapping[Key, Pair]) -> dict[str, float]:
    """Pinched samples by the finger that meets the thumb: means over the ordered pairs of hands that have it, the same for both spaces."""
    out = {}
    for finger in ("index", "middle", "ring", "little"):
        found = [p.by_finger[finger] for key, p in pairs.items() if finger in p.by_finger and not any(h.endswith(FREE) for h in key)]
        if found:
            distance, palm, fitted = np.nanmean(found, axis=0)
            direction = palm if who == "ours" else min(palm, fitted)
            out |= {f"thumb_{finger}_{who}_distance_mm": float(distance), f"thumb_{finger}_{who}_direction_deg": float(direction)}
    return out


def leap_figures(figures: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """LEAP's errors by the worst of the other hands': reconstruction beside hands of many joints, pinches beside all."""
    if "leap" not in names or len(names) < 3:
        return {}
    out = {}
    many = [h for h in ("xhand1", "dexh13") if h in names]
    for key in ("tip_mean_mm", "joint_mean_rad"):
        if many:
            out[f"leap_{key}_share_of_worst_other"] = figures[f"leap_ours_{key}"] / max(figures[f"{h}_ours_{key}"] for h in many)
    for error in ("distance_mm", "direction_deg"):
        means = {h: _of_hand(figures, h, names, error) for h in names}
        out[f"leap_pinch_{error}_share_of_worst_other"] = means.pop("leap") / max(means.values())
    return out


def _of_hand(figures: Mapping[str, Any], hand: str, names: tuple[str, ...], error: str) -> float:
    """Mean of all pairs that decode to ``hand``."""
    return float(np.mean([figures[f"{other}_to_{hand}_uniform_ours_{error}"] for other in names if other != hand]))
