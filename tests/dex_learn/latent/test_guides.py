# SPDX-License-Identifier: Apache-2.0
"""Guides: postures that answer other hands' pinches in their place, bent as in the pinch all hands share."""
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="dex_learn needs torch: .venv/bin/pip install torch==2.13.0")

from dex_learn.latent import losses  # noqa: E402
from dex_learn.latent.guides import make_guides  # noqa: E402
from dex_learn.latent.hand import LatentHand  # noqa: E402
from dex_learn.latent.losses import Weights  # noqa: E402
from dex_learn.latent.net import LatentNets, Widths  # noqa: E402
from dex_learn.latent.sampling import common_posture  # noqa: E402


def test_guides_show_the_speakers_pinches_bent_as_in_the_common_pinch() -> None:
    """LEAP can bend its fingers to one point in two ways; its guides know only one of them."""
    leap = LatentNets([LatentHand.load("leap", "right")], Widths(8, 8))
    xhand = LatentNets([LatentHand.load("xhand1", "right")], Widths(8, 8))
    guides = make_guides(leap, xhand, 20, Weights(), seed=1)
    batch = losses.batch_of(xhand, guides.u)
    reached = losses.batch_of(leap, guides.wanted[:, 0]).pinches
    off = (reached.norm(dim=-1) - batch.pinches.norm(dim=-1))[0, :, :3].abs()
    assert float(off.median()) < 2e-3 and float(off[:, 0].max()) < 0.02
    assert float((guides.wanted[0, 0] - common_posture(leap)[0]).abs().mean()) < 0.5
    assert guides.u.abs().max() <= 1.0 and guides.wanted.abs().max() <= 1.0 and guides.mask.tolist() == [[1.0]]


def test_no_hand_guides_itself() -> None:
    pair = LatentNets([LatentHand.load("inspire", "right"), LatentHand.load("ability", "right")], Widths(8, 8))
    assert make_guides(pair, pair, 4, Weights(), seed=1).mask.tolist() == [[0.0, 1.0], [1.0, 0.0]]
