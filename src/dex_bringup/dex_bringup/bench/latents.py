# SPDX-License-Identifier: Apache-2.0
"""Scores of the shared latent space, ours beside the released one and beside what the hands could do; definitions in docs/latents.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dex_bringup.bench import latents_table as table
from dex_bringup.bench.latents_decode import measure_decode
from dex_bringup.bench.latents_figures import BOTH, bundle_figures, hand_figures, leap_figures, pair_figures
from dex_bringup.bench.latents_hands import FREE, Space, coded_hand, load_space, scored_hand
from dex_bringup.bench.latents_measure import PINCH_GAP_M, Drawn, Key, Pair, draw, measure_hand, measure_pair, measure_space, paper_columns
from dex_bringup.bench.latents_references import References, reference_figures
from dex_bringup.bench.report import Goal, Report
from dex_core.errors import DexError
from dex_core.retarget.latent_scores import GAP_M, POINTS, SIGMA, ScoredHand, sample_uniform

HANDS = ("xhand1", "ability", "inspire", "dexh13", "leap")
ONE_MOTOR = ("ability", "inspire")
"""Hands whose fingers have one motor each: six numbers say everything, so their tips can be exact."""
SHARE_RECONSTRUCTION, SHARE_PINCH, TIMES_ORACLE, TIP_MM, DECODE_MS = 0.25, 0.5, 1.3, 1.0, 1.0


class Sizes(NamedTuple):
    """How much is measured: samples of a hand, pinches and starts of the oracle, postures for the goals' reach, rounds of a timing."""

    samples: int = 4000
    oracle: int = 60
    starts: int = 64
    reach: int = 80
    rounds: int = 300


QUICK = Sizes(120, 3, 4, 2, 20)


@dataclass(frozen=True)
class LatentReport(Report):
    """A report whose table is laid out by hand and by pair."""

    def as_table(self) -> str:
        """For people; every figure is in the JSON."""
        return table.text(self.figures, self.goals)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--bundle", default="hand_latents", help="latent space, name under models/ or path (default %(default)s)")
    parser.add_argument("--released", metavar="FILE", help="XL-VLA's released checkpoint (.pt), or a bundle made of it; none: only ours is measured")
    parser.add_argument("--hands", nargs="+", default=list(HANDS), metavar="HAND", help="which (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all samples (default %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables between the markers of this page, too")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the samples, too few to judge the goals by")


def run(options: argparse.Namespace, say: Callable[[str], None]) -> Report:
    """Both spaces on the same samples, in this process; right hands, and left ones for ours."""
    sizes, hands = QUICK if options.quick else Sizes(), tuple(options.hands)
    if options.markdown:
        table.check_page(options.markdown)
    with tempfile.TemporaryDirectory(prefix="dex_latents_") as scratch:
        say(f"loads {options.bundle}" + (f" and {options.released}" if options.released else ""))
        ours = load_space(options.bundle, "right", hands)
        released = load_space(_released(options.released, Path(scratch)), "right", hands, free=True) if options.released else None
    names = tuple(h for h in hands if h in ours.hands)
    figures: dict[str, Any] = {
        "samples": sizes.samples, "seed": options.seed, "sigma": SIGMA, "interpolation_points": POINTS, "pinch_gap_mm": 1e3 * PINCH_GAP_M,
        "pinch_from_mm": 1e3 * GAP_M[0], "pinch_to_mm": 1e3 * GAP_M[1], **bundle_figures("ours", ours), "hands": ", ".join(names),
    }
    figures |= _right(names, ours, released, sizes, options.seed, say)
    figures |= leap_figures(figures, names) | _left(options.bundle, hands, sizes, options.seed, say)
    figures |= measure_decode(ours.bundle, names, sizes.rounds)
    report = LatentReport("latents", figures, _goals(names, figures))
    if options.markdown:
        table.write_markdown(options.markdown, report.figures, report.goals)
    return report


def _right(names: tuple[str, ...], ours: Space, released: Space | None, sizes: Sizes, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that both spaces are compared by, and the references."""
    say(f"right hands: {sizes.samples} samples of each kind and hand")
    samples = draw(_common(names, "right", ours, released), sizes.samples, GAP_M, seed)
    alone, pairs = measure_space(ours, samples, GAP_M, seed)
    theirs_alone, theirs = measure_space(released, samples, GAP_M, seed) if released is not None else ({}, {})
    figures = _paper(alone, pairs, theirs_alone, theirs) | hand_figures(alone, theirs_alone) | pair_figures(pairs, theirs)
    if released is not None:
        figures |= bundle_figures("released", released) | _own_protocol(released, sizes.samples, seed)
    say(f"what the hands could do: {sizes.oracle} pinches of each pair and table, {sizes.starts} starts")
    references = References({n: ours.hands[n].hand for n in names}, sizes.oracle, sizes.starts, sizes.reach, seed)
    return figures | reference_figures(references, pairs, theirs, say)


def _released(source: str, scratch: Path) -> Path | str:
    """The bundle itself, or one made of the checkpoint."""
    path = Path(source)
    if not path.is_file():
        return source
    try:
        from dex_learn.dexlatent import import_dexlatent
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx"):
            raise
        text = f"{path}: a checkpoint needs {error.name}: pip install -r requirements-learn.txt, or give a bundle made of it"
        raise DexError(text, code="not_installed") from error
    import_dexlatent(path, scratch / "dexlatent")
    return scratch / "dexlatent"


def _common(names: tuple[str, ...], side: str, *spaces: Space | None) -> dict[str, ScoredHand]:
    """Hands with the limits that the hardware and every space allow."""
    out = {}
    for name in names:
        hand = scored_hand(name, side)
        coded = [space.hands[name].hand for space in spaces if space is not None and name in space.hands]
        lower = np.maximum.reduce([hand.lower_rad, *(c.lower_rad for c in coded)])
        out[name] = hand._replace(lower_rad=lower, upper_rad=np.minimum.reduce([hand.upper_rad, *(c.upper_rad for c in coded)]))
    return out


def _own_protocol(released: Space, count: int, seed: int) -> dict[str, float]:
    """The released space on uniform samples within its own limits, nothing clamped, all joints free: what others measured of it."""
    names = [n for n in released.hands if f"{n}{FREE}" not in released.hands]
    hands = {name.removesuffix(FREE): coded_hand(released.bundle, name, "right", clamp=False) for name in names}
    rng = np.random.default_rng(seed)
    samples = {}
    for name, coded in hands.items():
        hands[name] = coded._replace(expand=np.eye(len(coded.hand.joints)))
        q = sample_uniform(coded.hand, count, rng)
        samples[name] = Drawn(q, q, q, np.zeros(count, dtype=int), q)
    alone = {name: measure_hand(coded, samples[name], seed) for name, coded in hands.items()}
    pairs = [measure_pair(a, b, samples[i], GAP_M) for i, a in hands.items() for j, b in hands.items() if i != j]
    errors = np.array([(*p.errors["random"], *p.errors["uniform"]) for p in pairs])
    figures = {f"own_protocol_{name}_{key}": value for name, scores in alone.items() for key, value in scores.items()}
    keys = ("random_distance_mm", "random_direction_deg", "random_direction_fitted_deg")
    figures |= {f"own_protocol_{key}": float(errors[:, i].mean()) for i, key in enumerate(keys)}
    for i, key in ((3, "pinch_distance_mm"), (4, "pinch_direction_deg")):
        figures |= {f"own_protocol_{key}_least": float(errors[:, i].min()), f"own_protocol_{key}_most": float(errors[:, i].max())}
    return figures


def _paper(
    alone: Mapping[str, Any], pairs: Mapping[Key, Pair], theirs_alone: Mapping[str, Any], theirs: Mapping[Key, Pair],
) -> dict[str, Any]:
    """The ten columns: ours on all hands, ours on the released one's, the released on palm axes and with its fitted rotations."""
    tables = {"ours": paper_columns(alone, pairs)}
    shared = [name for name in alone if name in theirs_alone]
    if shared:
        def kept(found: Mapping[Key, Pair]) -> dict[Key, Pair]:
            return {key: pair for key, pair in found.items() if set(key) <= set(shared)}

        scores = {name: theirs_alone[name] for name in shared}
        tables["ours_same_hands"] = paper_columns({name: alone[name] for name in shared}, kept(pairs))
        tables |= {"released": paper_columns(scores, kept(theirs)), "released_fitted": paper_columns(scores, kept(theirs), fitted=True)}
    return {f"paper_{who}_{column}": value for who, columns in tables.items() for column, value in columns.items()}


def _left(source: str, hands: tuple[str, ...], sizes: Sizes, seed: int, say: Callable[[str], None]) -> dict[str, float]:
    """Ours on the left hands: hand by hand, and averages over pairs."""
    say("left hands")
    try:
        space = load_space(source, "left", hands)
    except DexError as error:
        if error.code != "space_mismatch":
            raise
        return {}
    names = tuple(h for h in hands if h in space.hands)
    alone, pairs = measure_space(space, draw(_common(names, "left", space), sizes.samples, GAP_M, seed), GAP_M, seed)
    figures = {f"left_{key}": value for key, value in hand_figures(alone, {}).items()}
    for kind in BOTH if pairs else ():
        for row, error in enumerate(("distance_mm", "direction_deg")):
            figures[f"left_average_{kind}_ours_{error}"] = float(np.mean([p.errors[kind][row] for p in pairs.values()]))
    return figures


def _goals(names: tuple[str, ...], figures: Mapping[str, Any]) -> list[Goal]:
    goals = [
        Goal(f"{h}_{kind}_share_of_released", at_most=SHARE_RECONSTRUCTION) for h in names for kind in ("tip_mean", "joint_mean")
        if f"{h}_released_tip_mean_mm" in figures
    ]
    goals += [Goal(f"{h}_ours_tip_mean_mm", at_most=TIP_MM, unit="mm") for h in ONE_MOTOR if h in names]
    goals += [
        Goal(f"{a}_to_{b}_uniform_{error}_share_of_released", at_most=SHARE_PINCH)
        for a in names for b in names for error in ("distance", "direction")
        if f"{a}_to_{b}_uniform_released_distance_mm" in figures
    ]
    if len(names) > 1:
        goals += [Goal(f"average_uniform_{error}_times_oracle", at_most=TIMES_ORACLE) for error in ("distance", "direction")]
    goals += [Goal(key, at_most=1.0) for key in figures if key.startswith("leap_") and key.endswith("_share_of_worst_other")]
    return [*goals, Goal("decode_two_hands_ms", at_most=DECODE_MS, unit="ms")]
