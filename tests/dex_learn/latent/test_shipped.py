# SPDX-License-Identifier: Apache-2.0
"""The shipped latent space: loads, and reconstructs and pinches on fresh samples as its scores say."""
from __future__ import annotations

import json

import numpy as np
import pytest

from dex_core.bundle import load_bundle
from dex_core.bundle.hashes import sha256_bytes
from dex_core.bundle.load import Bundle
from dex_core.config import find_share, read_description
from dex_core.decode.latent import LatentDecoder
from dex_core.retarget import TargetHand
from dex_core.retarget.pinch import pinch_vectors

HANDS = ("ability", "inspire", "xhand1", "dexh13", "leap")
COUNT = 150


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_share("models", "hand_latents"))


def _poses(decoder: LatentDecoder, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(decoder.lower_rad, decoder.upper_rad, (COUNT, len(decoder.joints)))


def _tips(hand: TargetHand, q: np.ndarray) -> np.ndarray:
    return np.array([hand.kinematics.fingertips(row) for row in q])


def test_all_ten_embodiments_are_there_and_made_for_these_descriptions(bundle: Bundle) -> None:
    assert set(bundle.embodiments) == {f"{side}_{hand}" for side in ("left", "right") for hand in HANDS}
    assert (bundle.manifest.spaces.latent.dim, bundle.manifest.spaces.latent.unit) == (32, "frame")
    for e in bundle.embodiments.values():
        assert e.urdf_sha256 == sha256_bytes(read_description(e.urdf).encode("utf-8")), e.name


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", HANDS)
def test_fresh_postures_come_back_as_the_scores_say(bundle: Bundle, name: str, side: str) -> None:
    decoder, hand = LatentDecoder(bundle, f"{side}_{name}"), TargetHand.load(name, side)
    q = _poses(decoder, 11)
    decoded = decoder.decode(decoder.encode(q))
    said = json.loads(bundle.contents["scores.json"])["scores"][side]["hands"][f"{side}_{name}"]
    off = 1e3 * np.linalg.norm(_tips(hand, decoded.position_rad) - _tips(hand, q), axis=-1)
    assert off.mean() < 1.35 * said["tip_mean_mm"]
    assert np.abs(decoded.position_rad - q).mean() < 1.35 * said["joint_mean_rad"]
    assert decoded.flagged.mean() <= 0.05


@pytest.mark.parametrize("name", HANDS)
def test_open_and_closed_hands_come_back(bundle: Bundle, name: str) -> None:
    decoder = LatentDecoder(bundle, f"right_{name}")
    q = np.stack([decoder.lower_rad, decoder.upper_rad])
    worst_rad = 0.1
    assert np.abs(decoder.decode(decoder.encode(q)).position_rad - q).max() < worst_rad


@pytest.mark.parametrize(("source", "target"), [("inspire", "xhand1"), ("xhand1", "leap"), ("dexh13", "leap")])
def test_a_pinch_is_the_same_pinch_on_another_hand(bundle: Bundle, source: str, target: str) -> None:
    one, two = LatentDecoder(bundle, f"right_{source}"), LatentDecoder(bundle, f"right_{target}")
    hands = TargetHand.load(source, "right"), TargetHand.load(target, "right")
    fingers = [f for f in hands[0].fingers if f in hands[1].fingers and f != "thumb"]
    q = _poses(one, 12)
    reached = two.decode(one.encode(q)).position_rad
    wanted, got = (np.array([pinch_vectors(h, row, fingers) for row in rows]) for h, rows in zip(hands, (q, reached), strict=True))
    lengths = np.linalg.norm(wanted, axis=-1)
    near = (lengths > 0.005) & (lengths < 0.06)
    said = json.loads(bundle.contents["scores.json"])["scores"]["right"]["pinch_distance_mm"][f"right_{source}"][f"right_{target}"]
    assert near.sum() > 20 and 1e3 * np.abs(np.linalg.norm(got, axis=-1) - lengths)[near].mean() < 1.6 * said + 0.1


@pytest.mark.parametrize("name", HANDS)
def test_a_latent_is_the_mirrored_posture_on_the_other_side(bundle: Bundle, name: str) -> None:
    """A right hand's latents, decoded by the left hand: its fingertips, mirrored, where the right hand has them."""
    right, left = LatentDecoder(bundle, f"right_{name}"), LatentDecoder(bundle, f"left_{name}")
    hands = TargetHand.load(name, "right"), TargetHand.load(name, "left")
    q = _poses(right, 13)
    mirrored = left.decode(right.encode(q)).position_rad
    wanted, got = (h.in_palm(_tips(h, rows)) for h, rows in zip(hands, (q, mirrored), strict=True))
    off = 1e3 * np.linalg.norm((got * (1.0, -1.0, 1.0))[:, 1:] - got[:, :1] * (1.0, -1.0, 1.0) - (wanted[:, 1:] - wanted[:, :1]), axis=-1)
    assert off.mean() < 8.0
