# SPDX-License-Identifier: Apache-2.0
"""The comparison as a benchmark: figures of what was played, goals, and what is missing is said."""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_bringup.bench import cross_hand  # noqa: E402
from dex_core.errors import DexError  # noqa: E402


def options(work: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cell", default="xarm_bimanual")
    cross_hand.add_arguments(parser)
    return parser.parse_args(["--work", str(work), "--latents", str(work), "--seeds", "2"])


def test_without_graphs_it_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(DexError, match="dex learn policy all"):
        cross_hand.run(options(tmp_path), lambda text: None)


def test_goals_are_held_against_what_was_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dex_learn.policy.contest as contest

    played = []

    def player(shop: object, settings: object):  # noqa: ANN202
        def play(kind: str, task: str, hand: str) -> dict[str, float]:
            played.append((kind, task, hand))
            good = 2 if kind == "latents" else 1
            return {"episodes": 2, "successes": good, "success_rate": good / 2}

        return play

    monkeypatch.setattr(contest, "contest_player", player)
    said: list[str] = []
    report = cross_hand.run(options(tmp_path), said.append)
    assert len(played) == 30 and not report.missed and report.figures["latents_mean"] == 1.0
    assert report.figures["results"]["joints push_cans leap"] == "1/2" and "| latents | push_cans |" in said[0]
    json.dumps(report.as_json())
    cross_hand.run(options(tmp_path), said.append)
    assert len(played) == 30  # nothing is played twice
