# SPDX-License-Identifier: Apache-2.0
"""Fingertips in torch: those of the kinematics, mirrored for left hands, with the gradient they ought to have."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_core.config import FINGERS  # noqa: E402
from dex_core.config.robot import Coupling  # noqa: E402
from dex_core.errors import ConfigError, ShapeError  # noqa: E402
from dex_core.kinematics import KinematicTree, load_hand  # noqa: E402
from dex_learn.latent.hand import HANDS, FingerChains, LatentHand, common_pinch, inner_limits, pad_joints, pinches_of  # noqa: E402


def _random(hands: list[LatentHand], count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.uniform(h.low, h.high, (count, len(h.low))).astype(np.float32) for h in hands]


@pytest.mark.parametrize("side", ["right", "left"])
def test_fingertips_are_those_of_the_kinematics(side: str) -> None:
    """All five hands in one stack; couplings, palm axes and the mirror are inside."""
    hands = [LatentHand.load(name, side) for name in HANDS]
    poses = _random(hands)
    q = torch.stack([pad_joints(hands, [p[b] for p in poses], 0.0) for b in range(6)], dim=1)
    tips = FingerChains(hands)(q).numpy()
    for k, hand in enumerate(hands):
        kinematics = load_hand(hand.robot.name, side)
        rows = [FINGERS.index(f) for f in kinematics.fingers]
        for b in range(6):
            wanted = hand.target.in_palm(kinematics.fingertips(poses[k][b].astype(float)))
            wanted = wanted * (1.0, -1.0 if side == "left" else 1.0, 1.0)
            np.testing.assert_allclose(tips[k, rows, b], wanted, atol=1e-5)


def test_padding_is_not_read() -> None:
    hands = [LatentHand.load("inspire", "right"), LatentHand.load("leap", "right")]
    q = torch.stack([pad_joints(hands, [p[b] for p in _random(hands)], 0.0) for b in range(6)], dim=1)
    other = q.clone()
    other[0, :, 6:] = 5.0
    chains = FingerChains(hands)
    assert torch.equal(chains(q), chains(other))


def test_forces_pull_joints_as_the_gradient_says() -> None:
    hands = [LatentHand.load("dexh13", "left"), LatentHand.load("ability", "right")]
    q = torch.stack([pad_joints(hands, [p[b] for p in _random(hands)], 0.0) for b in range(6)], dim=1).requires_grad_(True)
    chains = FingerChains(hands)
    here = torch.tensor(np.stack([[True, *h.present] for h in hands]), dtype=torch.float32)[:, :, None, None]
    force = torch.randn((2, 5, 6, 3), generator=torch.Generator().manual_seed(0)) * here
    tips, torque = chains.towards(q, lambda _: force)
    (tips * force).sum().backward()
    assert torch.allclose(torque, q.grad, atol=1e-6) and float(torque.detach().abs().max()) > 1e-3
    assert torch.equal(tips, chains(q)) and torch.equal(pinches_of(tips), chains.pinches(q))


def test_the_common_pinch_is_in_front_of_the_palm() -> None:
    """On the thumb's side, before the palm and towards the fingertips; a span within a hand's size."""
    for name in HANDS:
        x, y, z = common_pinch(name, "right")[1]
        assert 0.0 < x < 0.15 and 0.0 < y < 0.1 and 0.05 < z < 0.2, name


def test_a_hand_says_which_fingers_it_has() -> None:
    assert LatentHand.load("leap", "right").present.tolist() == [True, True, True, False]
    assert LatentHand.load("xhand", "left").name == "left_xhand1"


def test_left_leap_has_its_own_limits() -> None:
    left, right = LatentHand.load("leap", "left"), LatentHand.load("leap", "right")
    thumb = left.joints.index("12")
    assert left.low[thumb] == pytest.approx(-2.094) and right.high[thumb] == pytest.approx(2.094)


def test_float32_limits_are_inside_the_float64_ones() -> None:
    low, high = inner_limits([-0.1, 0.3], [0.7, 1.1])
    assert low.dtype == np.float32 and (low.astype(float) >= [-0.1, 0.3]).all() and (high.astype(float) <= [0.7, 1.1]).all()
    with pytest.raises(ShapeError, match="lower < upper"):
        inner_limits([1.0], [0.0])


def test_a_hand_on_a_four_bar_linkage_is_refused() -> None:
    hand = LatentHand.load("ability", "right")
    follower = next(name for name in hand.target.kinematics.tree.joints if name not in hand.joints)
    tree = hand.target.kinematics.tree
    coupled = {follower: Coupling(joint=hand.joints[-1], four_bar_m=(0.01, 0.03, 0.01, 0.02, 0.0))}
    from dex_core.config import read_description

    hand.target.kinematics.tree = KinematicTree(read_description(hand.robot.urdf, "right"), tree.names, coupled)
    with pytest.raises(ConfigError, match="four-bar"):
        FingerChains([hand])
