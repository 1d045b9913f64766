# SPDX-License-Identifier: Apache-2.0
"""The contest: what is seen, going on after a stop, means and the table."""
from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_learn.policy.compare import DEMONSTRATED, HANDS, demonstrated, run_contest, summary, table  # noqa: E402
from dex_learn.policy.layout import OF_TASK  # noqa: E402


def rate(successes: int) -> dict[str, float]:
    return {"episodes": 20, "successes": successes, "success_rate": successes / 20}


def test_some_hands_are_unseen_in_every_task_and_one_is_never_shown() -> None:
    shown = {task: {hand for t, hand in DEMONSTRATED if t == task} for task in OF_TASK}
    assert all("xhand1" in hands and len(set(HANDS) - hands) == 2 for hands in shown.values())
    assert not any("leap" in hands for hands in shown.values())
    assert {"ability", "dexh13"} == shown["push_cans"] ^ shown["reorganize_lemons"]
    assert demonstrated("joints") == DEMONSTRATED and {hand for _, hand in demonstrated("retarget")} == {"xhand1"}


def test_a_stopped_contest_goes_on(tmp_path: Path) -> None:
    path, played = tmp_path / "scores.json", []

    def play(kind: str, task: str, hand: str) -> dict[str, float]:
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append((kind, task, hand))
        return rate(10)

    with pytest.raises(KeyboardInterrupt):
        run_contest(path, play)
    assert sum(len(h) for t in json.loads(path.read_text()).values() for h in t.values()) == 3
    again: list[tuple[str, str, str]] = []
    results = run_contest(path, lambda *c: again.append(c) or rate(20))
    assert not set(again) & set(played) and len(again) + 3 == 3 * 2 * len(HANDS)
    assert json.loads(path.read_text()) == results


def test_means_count_seen_and_unseen_alike(tmp_path: Path) -> None:
    def play(kind: str, task: str, hand: str) -> dict[str, float]:
        return rate((20 if (task, hand) in DEMONSTRATED else 15) if kind == "latents" else 5)

    found = summary(run_contest(tmp_path / "s.json", play))
    assert found["latents_seen_mean"] == 1.0 and found["latents_unseen_mean"] == 0.75 and found["latents_unseen_over_seen"] == 0.75
    assert found["latents_push_cans_mean"] == pytest.approx((3 * 20 + 2 * 15) / 100)
    assert found["latents_above_best_baseline"] == pytest.approx(0.9 - 0.25) and found["joints_unseen_mean"] == 0.25


def test_nothing_seen_is_no_number() -> None:
    found = summary({"latents": {"push_cans": {"leap": rate(20)}}})
    assert math.isnan(found["latents_seen_mean"]) and math.isnan(found["latents_unseen_over_seen"])


def test_the_table_marks_what_was_not_demonstrated() -> None:
    text = table({"latents": {"push_cans": {"inspire": rate(19), "leap": rate(4)}}})
    line = text.splitlines()[-1]
    assert "19/20 |" in line and "4/20 * |" in line and line.endswith("0.57 |") or line.endswith("0.58 |")
    assert line.count(" - ") == 3
