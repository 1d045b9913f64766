# SPDX-License-Identifier: Apache-2.0
"""The benches of the hand IK measure what they name, and say so where a peer is not installed."""
from __future__ import annotations

import argparse

import numpy as np
import pytest

from dex_bringup.bench import chunk_ik, hand_ik, ik_cold_start
from dex_core.kinematics.hand_ik import load_hand_model


def silent(_text: str) -> None:
    """Says nothing."""


def test_without_the_peers_their_goals_are_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_ik, "_why_not", lambda label: f"not measured: no {label}")
    report = hand_ik.run(argparse.Namespace(hands=["inspire"], side="right", quick=True), silent)
    assert report.figures["inspire_vector"] == "not measured: no vector"
    missed = {text.split()[0] for text in report.missed}
    assert missed >= {"inspire_ours_warm_times_faster_than_vector", "inspire_ours_cold_times_faster_than_position"}
    assert report.figures["inspire_ours_warm_within_01mm_percent"] == 100.0 and report.figures["inspire_numpy_cold_within_01mm_percent"] == 100.0


def test_tracks_are_smooth_and_inside_the_limits() -> None:
    hand = load_hand_model("leap", "right")
    joints = hand_ik.track(hand, 3)
    assert joints.shape == (hand_ik.FRAMES, 16) and np.abs(np.diff(joints, axis=0)).max() < 0.25
    assert (joints >= hand.lower_rad).all() and (joints <= hand.upper_rad).all()
    assert np.ptp(joints, axis=0).min() > 0.3


def test_chunks_and_a_fresh_process_are_measured() -> None:
    figures = chunk_ik.run(argparse.Namespace(hands=["inspire"], chunks=2), silent).figures
    assert figures["inspire_ours_within_1mm_percent"] == 100.0 and figures["inspire_ours_p50_ms"] > 0.0
    report = ik_cold_start.run(argparse.Namespace(hand="inspire", repeats=1), silent)
    assert report.figures["ours_p50_s"] > 0.0 and report.figures["ours_memory_mib"] > 5.0
