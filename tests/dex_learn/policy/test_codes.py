# SPDX-License-Identifier: Apache-2.0
"""Hand codes: padded joints there and back and inside the limits, retargeting between equal and between different hands."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.bundle import load_bundle  # noqa: E402
from dex_core.bundle.testing import write_latent_fixture  # noqa: E402
from dex_core.config import load_cell, load_robot  # noqa: E402
from dex_core.errors import DexError  # noqa: E402
from dex_core.retarget import TargetHand  # noqa: E402
from dex_core.retarget.keypoints import in_palm  # noqa: E402
from dex_core.retarget.pinch import pinch_vectors  # noqa: E402
from dex_learn.policy.codes import PADDED, PaddedCode, RetargetCode, make_codes, source_keypoints  # noqa: E402

HANDS = ("ability", "inspire", "xhand1", "dexh13", "leap")


def spread(hand: str, side: str, n: int) -> np.ndarray:
    robot = load_robot(hand).for_side(side)
    limits = [robot.limits[name] for name in robot.actuated]
    return np.random.default_rng(1).uniform([x.lower_rad for x in limits], [x.upper_rad for x in limits], (n, len(limits)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("hand", HANDS)
def test_padded_joints_there_and_back(hand: str, side: str) -> None:
    code, q = PaddedCode(load_robot(hand).for_side(side)), spread(hand, side, 20)
    z = code.encode(q)
    assert z.shape == (20, PADDED) and np.abs(z).max() <= 1.0 and not z[:, q.shape[1] :].any()
    assert np.allclose(code.decode(z), q) and code.used.sum() == q.shape[1]
    wild = code.decode(100.0 * np.random.default_rng(0).normal(size=(9, PADDED)))
    assert (wild >= code.decode(-np.ones((1, PADDED)))).all() and (wild <= code.decode(np.ones((1, PADDED)))).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_keypoints_of_the_source_span_its_own_palm(side: str) -> None:
    hand, q = TargetHand.load("xhand1", side), spread("xhand1", side, 1)[0]
    points = source_keypoints(hand, q)
    assert np.allclose(in_palm(points[None], side)[0], hand.in_palm(points - points[0]), atol=1e-9)
    with pytest.raises(DexError, match="little"):
        source_keypoints(TargetHand.load("leap", side), spread("leap", side, 1)[0])


def test_the_source_itself_is_left_alone() -> None:
    code, q = RetargetCode("xhand1", "xhand", "right"), spread("xhand1", "right", 5)
    assert np.allclose(code.decode(code.encode(q)), q)


def test_a_pinch_is_carried_over() -> None:
    source, target = TargetHand.load("xhand1", "right"), TargetHand.load("dexh13", "right")
    pinch = source.kinematics.clip(np.array([1.2, 0.6, 0.6, 0.0, 0.9, 0.5, 0.9, 0.5, 0.9, 0.5, 0.9, 0.5]))
    track = np.linspace(source.rest_rad, pinch, 40)
    code = RetargetCode("xhand1", "dexh13", "right")
    padded = PaddedCode(load_robot("xhand1").for_side("right"))
    joints = code.decode(padded.encode(track))
    wanted, got = pinch_vectors(source, pinch, ["index"]), pinch_vectors(target, joints[-1], ["index"])
    assert np.linalg.norm(wanted - got) < 0.01
    first = code.encode(joints[:2])  # of another hand nothing is known but that it is open
    assert np.allclose(first, padded.encode(np.tile(source.rest_rad, (2, 1))))


def test_common_latents_are_what_the_pivot_would_have_said(tmp_path: Path) -> None:
    cells = [load_cell("xarm_bimanual", left_hand=hand, right_hand=hand) for hand in ("inspire", "xhand1")]
    write_latent_fixture(tmp_path / "space", cells[0], others=cells[1:])
    space = load_bundle(tmp_path / "space")
    own, common = (make_codes(kind, ["inspire", "xhand1"], ["left"], space) for kind in ("latents", "common"))
    q = spread("inspire", "left", 6)
    z, said = own["left_inspire"].encode(q), common["left_inspire"].encode(q)
    pivot = own["left_xhand1"]
    assert np.abs(z - said).max() > 1e-3  # the fixture's hands lie in different directions
    assert np.allclose(pivot.encode(pivot.decode(said)), said, atol=1e-4) and np.allclose(pivot.decode(said), pivot.decode(z), atol=1e-4)
    q = spread("xhand1", "left", 6)
    assert np.allclose(common["left_xhand1"].encode(q), own["left_xhand1"].encode(q), atol=1e-4)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(DexError, match="allowed: latents, common, joints, retarget"):
        make_codes("tokens", ["inspire"], ["left"])
    with pytest.raises(DexError, match="latent space"):
        make_codes("latents", ["inspire"], ["left"])
