# SPDX-License-Identifier: Apache-2.0
"""The scores of a latent space give what their equations say, on a hand whose tips are known by heart."""
from __future__ import annotations

import numpy as np
import pytest

from dex_core.errors import DexError
from dex_core.retarget import latent_scores as scores
from dex_core.retarget.latent_scores import Codec, ScoredHand

IDENTITY = Codec(lambda q: q, lambda z: z)


def sliding_hand(lower=0.0, upper=0.1) -> ScoredHand:
    """Thumb fixed at the origin, index along x by joint a and y by joint b, middle along z by joint c [m]."""
    def tips(q):
        zero = np.zeros(len(q))
        return np.stack([np.stack([zero, zero, zero], -1), np.stack([q[:, 0], q[:, 1], zero], -1), np.stack([zero, zero, q[:, 2]], -1)], axis=1)

    def both(q):
        jacobian = np.zeros((len(q), 3, 3, 3))
        jacobian[:, 1, 0, 0] = jacobian[:, 1, 1, 1] = jacobian[:, 2, 2, 2] = 1.0
        return tips(q), jacobian

    return ScoredHand("sliding", ("a", "b", "c"), ("thumb", "index", "middle"), np.full(3, lower), np.full(3, upper), tips, both)


def test_reconstruction_of_a_known_error() -> None:
    q = scores.sample_uniform(sliding_hand(), 50, np.random.default_rng(0))
    exact = scores.reconstruction(sliding_hand(), IDENTITY, q)
    assert exact == dict.fromkeys(("joint_rmse_rad", "tip_rmse_mm", "joint_mean_rad", "tip_mean_mm"), 0.0)
    off = Codec(lambda q: q, lambda z: z + [0.003, 0.004, 0.0])
    found = scores.reconstruction(sliding_hand(), off, q)
    assert found["joint_mean_rad"] == pytest.approx(0.007 / 3) and found["joint_rmse_rad"] == pytest.approx(0.005 / np.sqrt(3.0))
    assert found["tip_mean_mm"] == pytest.approx(5.0 / 3)  # the index is 5 mm off, the others 0
    assert found["tip_rmse_mm"] == pytest.approx(5.0 / 3)  # 25 mm^2 over 9 coordinates


def test_continuity_is_the_mean_motion_under_noise() -> None:
    q = scores.sample_uniform(sliding_hand(), 4000, np.random.default_rng(1))
    found = scores.continuity(sliding_hand(), IDENTITY, q, np.random.default_rng(2))
    assert found["continuity_joint_rad"] == pytest.approx(scores.SIGMA * 2.0 * np.sqrt(2.0 / np.pi), rel=0.03)  # mean of |N(0, I_3)|
    assert found["latent_std"] == pytest.approx(0.1 / np.sqrt(12.0), rel=0.03)
    frozen = scores.continuity(sliding_hand(), Codec(lambda q: q, lambda z: np.zeros_like(z)), q, np.random.default_rng(2))
    assert frozen["continuity_joint_rad"] == frozen["continuity_tip_mm"] == 0.0


def test_interpolation_has_the_differences_of_its_curve() -> None:
    zero, one = np.zeros((4, 3)), np.tile([1.0, 0.0, 0.0], (4, 1))
    straight = scores.interpolation(sliding_hand(), IDENTITY, zero, one)
    assert max(straight.values()) < 1e-9
    cubed = scores.interpolation(sliding_hand(), Codec(lambda q: q, lambda z: z**3), zero, one)
    step = 1.0 / (scores.POINTS - 1)
    assert cubed["interpolation_jerk_mm"] == pytest.approx(1e3 * 6.0 * step**3 / 3)  # one tip of three moves


def test_pair_errors_of_known_vectors() -> None:
    source = np.array([[[0.02, 0.0, 0.0], [0.0, 0.03, 0.0]]])
    target = np.array([[[0.0, 0.05, 0.0], [0.0, 0.02, 0.0]]])
    errors = scores.pair_errors(source, target)
    np.testing.assert_allclose(errors.distance_m, [[0.03, 0.01]])
    np.testing.assert_allclose(errors.direction_deg, [[90.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(errors.gap_m, [[0.02, 0.03]])
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # y -> -x as rows
    np.testing.assert_allclose(scores.pair_errors(source, target, turn).direction_deg, [[180.0, 90.0]], atol=1e-6)
    assert scores.is_pinch(np.array([0.004, 0.005, 0.06, 0.061])).tolist() == [False, True, True, False]


def test_the_best_rotation_is_found_and_is_no_mirror() -> None:
    rng = np.random.default_rng(3)
    wanted = rng.standard_normal((40, 3, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    found = scores.best_rotation(wanted, 2.0 * wanted @ turn.T, np.ones((40, 3)))
    np.testing.assert_allclose(found, turn, atol=1e-9)
    mirrored = scores.best_rotation(wanted, wanted * [1.0, -1.0, 1.0], np.ones((40, 3)))
    assert np.linalg.det(mirrored) == pytest.approx(1.0)


def test_pinches_have_their_gap_and_keep_the_limits() -> None:
    hand = sliding_hand()
    q, finger, gap = scores.sample_pinches(hand, 300, (0.01, 0.05), np.random.default_rng(4))
    assert q.shape == (300, 3) and (q >= hand.lower_rad).all() and (q <= hand.upper_rad).all() and set(finger) == {0, 1}
    lengths = np.linalg.norm(hand.vectors(q, hand.others), axis=-1)[np.arange(300), finger]
    assert np.abs(lengths - gap).max() <= scores.GAP_TOLERANCE_M and np.ptp(gap) > 0.03
    with pytest.raises(DexError, match="sliding.*gap"):
        scores.sample_pinches(sliding_hand(0.09, 0.1), 50, (0.01, 0.02), np.random.default_rng(5))


def test_fingers_both_have() -> None:
    hand = sliding_hand()
    other = hand._replace(fingers=("thumb", "middle", "ring"))
    assert scores.shared_fingers(hand, other) == ("middle",) and scores.shared_fingers(hand, hand) == ("index", "middle")
