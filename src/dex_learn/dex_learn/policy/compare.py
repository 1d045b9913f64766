# SPDX-License-Identifier: Apache-2.0
"""One latent policy for all hands against the same network on padded joints and against retargeting from one hand: scores and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dex_learn.policy.layout import OF_TASK

HANDS = ("xhand1", "inspire", "ability", "dexh13", "leap")
SOURCE = "xhand1"
KINDS = ("latents", "joints", "retarget")
DEMONSTRATED = (
    ("push_cans", "xhand1"), ("push_cans", "inspire"), ("push_cans", "ability"),
    ("reorganize_lemons", "xhand1"), ("reorganize_lemons", "dexh13"), ("reorganize_lemons", "inspire"),
)
"""(task, hand) with demonstrations. XHand is in both tasks, because retargeting starts from it, and Inspire is; Ability and DexH13 are known from one
task and unseen in the other; LEAP is never shown at all."""
Scores = dict[str, Any]
Play = Callable[[str, str, str], Scores]


def demonstrated(kind: str) -> tuple[tuple[str, str], ...]:
    """The combinations that a kind of policy is trained on: all, or of retargeting those of its source."""
    return tuple(c for c in DEMONSTRATED if kind != "retarget" or c[1] == SOURCE)


def run_contest(path: Path, play: Play, kinds: Sequence[str] = KINDS, hands: Sequence[str] = HANDS, tasks: Sequence[str] = tuple(OF_TASK)) -> Scores:
    """Plays every kind x task x hand that ``path`` does not hold yet and writes it after each; stop and start as you like.

    Args:
        path: JSON file of the results.
        play: (kind, task, hand) -> scores of those episodes.

    Returns:
        kind -> task -> hand -> scores.
    """
    results: Scores = json.loads(path.read_text()) if path.exists() else {}
    for task in tasks:
        for hand in hands:
            for kind in kinds:
                cell = results.setdefault(kind, {}).setdefault(task, {})
                if hand not in cell:
                    cell[hand] = play(kind, task, hand)
                    partial = path.with_suffix(".part")
                    partial.write_text(json.dumps(results, indent=1) + "\n")
                    partial.rename(path)
    return results


def summary(results: Mapping[str, Any]) -> dict[str, float]:
    """Figures by name: ``<kind>_<task>_mean``, means over the combinations with and without demonstrations of the latent policy, their ratio.

    Seen and unseen are counted alike for all kinds (as ``DEMONSTRATED`` says), so the kinds meet on the same combinations.
    """
    out: dict[str, float] = {}
    for kind, by_task in results.items():
        rates = {(task, hand): float(s["success_rate"]) for task, by_hand in by_task.items() for hand, s in by_hand.items()}
        for task in by_task:
            out[f"{kind}_{task}_mean"] = _mean([r for (t, _), r in rates.items() if t == task])
        seen, unseen = ([r for c, r in rates.items() if (c in DEMONSTRATED) == there] for there in (True, False))
        out[f"{kind}_mean"] = _mean(list(rates.values()))
        out[f"{kind}_seen_mean"], out[f"{kind}_unseen_mean"] = _mean(seen), _mean(unseen)
        out[f"{kind}_unseen_over_seen"] = out[f"{kind}_unseen_mean"] / out[f"{kind}_seen_mean"] if seen and out[f"{kind}_seen_mean"] else float("nan")
    others = [out[f"{kind}_mean"] for kind in results if kind != "latents"]
    if "latents" in results and others:
        out["latents_above_best_baseline"] = out["latents_mean"] - max(others)
        unseen = [out[f"{kind}_unseen_mean"] for kind in results if kind != "latents"]
        out["latents_above_best_baseline_unseen"] = out["latents_unseen_mean"] - max(unseen)
    return out


def table(results: Mapping[str, Any], hands: Sequence[str] = HANDS) -> str:
    """Markdown: successes of episodes per kind, task and hand; combinations without demonstrations carry a star."""
    lines = ["| policy | task | " + " | ".join(hands) + " | mean |", "|---" * (len(hands) + 3) + "|"]
    for kind, by_task in results.items():
        for task, by_hand in by_task.items():
            cells = [_cell(task, hand, by_hand.get(hand)) for hand in hands]
            mean = _mean([float(s["success_rate"]) for s in by_hand.values()])
            lines.append(f"| {kind} | {task} | " + " | ".join(cells) + f" | {mean:.2f} |")
    return "\n".join(lines) + "\n"


def _cell(task: str, hand: str, scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "-"
    return f"{scores['successes']}/{scores['episodes']}" + ("" if (task, hand) in DEMONSTRATED else " *")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
