# SPDX-License-Identifier: Apache-2.0
"""The bench of the latent space: hands as the kinematics have them, references that are limits, and a report that can miss its goals."""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dex_bringup.bench import latents, latents_table
from dex_bringup.bench.latents_hands import CodedHand, coded_hand, load_space, scored_hand
from dex_bringup.bench.latents_measure import Drawn, draw, measure_pair
from dex_bringup.bench.latents_oracle import goals_in_reach, one_finger, whole_hand
from dex_core.bundle import load_bundle
from dex_core.config import load_cell
from dex_core.errors import DexError
from dex_core.retarget import TargetHand
from dex_core.retarget.latent_scores import GAP_M, Codec, sample_pinches, sample_uniform, shared_fingers

pytest.importorskip("onnx", reason="the fixture space is written with onnx: .venv/bin/pip install -r requirements-learn.txt")

from dex_core.bundle.testing import write_latent_fixture  # noqa: E402

ALL = ("xhand1", "ability", "inspire", "dexh13", "leap")


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two exact spaces of Inspire and Ability, which agree on nothing across hands."""
    root = tmp_path_factory.mktemp("spaces")
    inspire, ability = (load_cell("xarm_bimanual", left_hand=h, right_hand=h) for h in ("inspire", "ability"))
    for name, seed in (("one", 0), ("two", 1)):
        write_latent_fixture(root / name, inspire, seed=seed, others=[ability])
    return root / "one", root / "two"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("side", ["right", "left"])
def test_tips_are_the_kinematics_on_the_palms_axes(name: str, side: str) -> None:
    hand, target = scored_hand(name, side), TargetHand.load(name, side)
    q = sample_uniform(hand, 5, np.random.default_rng(0))
    columns = [hand.joints.index(joint) for joint in target.kinematics.names]
    expected = np.array([target.in_palm(target.kinematics.fingertips(row)) for row in q[:, columns]])
    np.testing.assert_allclose(hand.tips(q), expected * ([1, -1, 1] if side == "left" else [1, 1, 1]), atol=1e-12)
    tips, jacobian = hand.tips_and_jacobian(q)
    step = 1e-6 * np.random.default_rng(1).standard_normal(q.shape)
    np.testing.assert_allclose(hand.tips(q + step) - tips, np.einsum("mkin,mn->mki", jacobian, step), atol=1e-10)


def test_free_followers_that_follow_change_nothing() -> None:
    hand, free = scored_hand("dexh13", "right"), scored_hand("dexh13_free", "right")
    q = sample_uniform(hand, 20, np.random.default_rng(2))
    assert len(free.joints) == 16
    filled = np.stack([q[:, hand.joints.index(j if j in hand.joints else j.replace("_3", "_2"))] for j in free.joints], axis=1)
    np.testing.assert_allclose(free.tips(filled), hand.tips(q), atol=1e-12)


def test_samples_of_a_hand_do_not_depend_on_the_others() -> None:
    one, two = scored_hand("inspire", "right"), scored_hand("leap", "right")
    alone, both = draw({"inspire": one}, 10, GAP_M, 3)["inspire"], draw({"leap": two, "inspire": one}, 10, GAP_M, 3)["inspire"]
    for a, b in zip(alone, both, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_oracle_finds_what_can_be_reached() -> None:
    hand, target = scored_hand("inspire", "right"), TargetHand.load("inspire", "right")
    q, row, gap = sample_pinches(hand, 4, GAP_M, np.random.default_rng(4))
    vectors = hand.vectors(q, hand.others)
    alone = one_finger(target, [hand.others[i] for i in row], vectors[np.arange(4), row], 8)
    assert alone.distance_m.max() < 1e-4 and alone.direction_deg.max() < 0.3
    np.testing.assert_allclose(alone.gap_m, gap, atol=1e-3)
    whole = whole_hand(target, hand.others, vectors, np.ones((4, 4)), 8)
    assert whole.distance_m.max() < 1e-4
    far = one_finger(target, ["index"], np.array([[0.0, 0.0, 1.0]]), 2)
    assert far.distance_m[0] > 0.8


def test_goals_are_in_reach_of_the_same_hand_and_out_of_reach_of_none() -> None:
    hand = scored_hand("inspire", "right")
    q, _, _ = sample_pinches(hand, 3, GAP_M, np.random.default_rng(5))
    vectors = hand.vectors(q, hand.others)
    pinches = np.ones((3, 4), dtype=bool)
    found = goals_in_reach(hand, hand.others, vectors, pinches, (4.0, 8.0))
    assert found is not None and found.value < 0.05 and found.distance_mm < 0.3
    far = goals_in_reach(hand, hand.others, vectors + 0.3, pinches, (4.0, 8.0))
    assert far is not None and far.value > 5.0
    assert goals_in_reach(scored_hand("xhand1", "right"), ("index",), vectors[:, :1], pinches[:, :1], (4.0, 8.0)) is None


def test_a_target_that_turns_everything_is_found_by_the_fitted_rotation() -> None:
    """The same hand with its palm turned: wrong on palm axes, right after the rotation; distances do not change."""
    hand = scored_hand("inspire", "right")
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = hand._replace(tips=lambda q: hand.tips(q) @ turn.T)
    codec, eye = Codec(lambda q: q, lambda z: z), np.eye(6)
    q = sample_uniform(hand, 60, np.random.default_rng(6))
    samples = Drawn(q, q, q, np.zeros(60, dtype=int), q)
    pair = measure_pair(CodedHand(hand, codec, eye), CodedHand(turned, codec, eye), samples, GAP_M)
    for distance, palm, fitted in pair.errors.values():
        assert distance < 1e-9 and fitted < 1e-5 and palm > 30.0
    assert pair.turn_deg == pytest.approx(90.0) and set(pair.by_finger) == set(hand.others)


def options(bundle: Path, released: Path | None = None, **more: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    latents.add_arguments(parser)
    words = ["--bundle", str(bundle), "--quick", *(["--released", str(released)] if released else [])]
    return argparse.Namespace(**{**vars(parser.parse_args(words)), **more})


@pytest.fixture(scope="module")
def report(spaces: tuple[Path, Path]) -> latents.LatentReport:
    return latents.run(options(*spaces), lambda _text: None)


def test_exact_spaces_reconstruct_and_spaces_that_agree_on_nothing_do_not_transfer(report: latents.LatentReport) -> None:
    f = report.figures
    assert f["hands"] == "ability, inspire" or f["hands"] == "inspire, ability"
    assert f["inspire_ours_tip_mean_mm"] < 1e-2 and f["left_ability_ours_joint_mean_rad"] < 1e-4 and f["own_protocol_inspire_joint_rmse_rad"] < 1e-4
    assert f["inspire_to_ability_uniform_ours_distance_mm"] > 5.0 and f["average_uniform_distance_times_oracle"] > 1.3
    assert f["paper_ours_recon_tip_e3_m"] < 1e-2 < f["paper_ours_continuity_tip_e3_m"] and f["interpolation_points"] == 16
    assert f["inspire_to_ability_uniform_oracle_distance_mm"] <= f["inspire_to_ability_uniform_ours_there_distance_mm"]
    assert 0.0 < f["onnxruntime_two_hands_ms"] < f["decode_two_hands_ms"]
    share = f["inspire_to_ability_uniform_ours_distance_mm"] / f["inspire_to_ability_uniform_released_distance_mm"]
    assert f["inspire_to_ability_uniform_distance_share_of_released"] == pytest.approx(share)
    assert f["inspire_to_ability_uniform_released_direction_deg"] == min(
        f["inspire_to_ability_uniform_released_direction_palm_deg"], f["inspire_to_ability_uniform_released_direction_fitted_deg"])


def test_the_report_names_what_it_misses_and_is_json(report: latents.LatentReport) -> None:
    missed = {text.split()[0] for text in report.missed}
    assert "average_uniform_distance_times_oracle" in missed and "inspire_ours_tip_mean_mm" not in missed
    json.dumps(report.as_json(), allow_nan=False)
    table = report.as_table()
    assert "MISSED average_uniform_distance_times_oracle" in table and "inspire to ability" in table and "gap of 20 mm" in table


def test_without_the_released_one_only_ours_is_measured(spaces: tuple[Path, Path]) -> None:
    report = latents.run(options(spaces[0], hands=["inspire"]), lambda _text: None)
    assert not any("released" in name for name in report.figures) and report.figures["hands"] == "inspire"
    assert {g.figure for g in report.goals} == {"inspire_ours_tip_mean_mm", "decode_two_hands_ms"} and "inspire" in report.as_table()


def test_a_checkpoint_without_torch_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert latents._released("hand_latents", tmp_path) == "hand_latents"
    (tmp_path / "a.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "dex_learn.dexlatent", raising=False)
    with pytest.raises(DexError, match="needs torch.*requirements-learn.txt"):
        latents._released(str(tmp_path / "a.pt"), tmp_path)


def test_the_page_keeps_what_is_not_between_the_markers(report: latents.LatentReport, tmp_path: Path) -> None:
    page = tmp_path / "latents.md"
    page.write_text(f"before\n\n{latents_table.BEGIN}\nold\n{latents_table.END}\nafter\n", encoding="utf-8")
    latents_table.write_markdown(page, report.figures, report.goals)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n\n") and text.endswith("\nafter\n") and "old" not in text and "| inspire to ability |" in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("| pair |") or line.startswith("| inspire to")]
    assert len(set(widths)) == 1
    with pytest.raises(DexError, match="needs one line"):
        latents_table.write_markdown(tmp_path / "none.md", report.figures, report.goals)


def test_spaces_that_cannot_be_scored_are_refused(spaces: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DexError, match="none of"):
        load_space(spaces[0], "right", ("leap",))
    write_latent_fixture(tmp_path / "chunks", load_cell("xarm_bimanual"), frames=4)
    with pytest.raises(DexError, match="one latent a frame"):
        coded_hand(load_bundle(tmp_path / "chunks"), "inspire", "right")


def test_decoded_joints_keep_the_hardwares_limits(spaces: tuple[Path, Path]) -> None:
    coded = load_space(spaces[0], "right", ("ability",)).hands["ability"]
    q = coded.codec.decode(10.0 * np.random.default_rng(7).standard_normal((50, load_bundle(spaces[0]).manifest.spaces.latent.dim)))
    assert (q >= coded.hand.lower_rad).all() and (q <= coded.hand.upper_rad).all()
    assert shared_fingers(coded.hand, scored_hand("leap", "right")) == ("index", "middle", "ring")
